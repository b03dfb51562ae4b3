// Where a Linux kernel has all of memory at virtual addresses. Private to the reader.
#pragma once

#include <cstdint>
#include <optional>

#include "reader/dump/dump.h"
#include "reader/translate/translator.h"

namespace gcore::reader {

/// GuestSystem::page_offset, by what the kernel's tables map: an offset that most of memory has, and none of it
/// contradicts. Bounded on any memory.
std::optional<uint64_t> find_direct_map(const Dump& dump, const translate::Translator& translator);

}  // namespace gcore::reader
