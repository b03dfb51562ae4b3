// A translator over the memory of a dump. Private to the reader.
#pragma once

#include <span>
#include <utility>

#include "reader/dump/dump.h"
#include "reader/translate/translator.h"

namespace gcore::reader {

/// Refers to the dump, which must outlive it.
inline translate::Translator translator_of(const Dump& dump, translate::Paging paging) {
  return {std::move(paging), [&dump](PhysAddr address, std::span<std::byte> into) { return dump.read(address, into); },
          [&dump](PhysAddr address) { dump.expect(address); }};
}

}  // namespace gcore::reader
