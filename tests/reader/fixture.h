// What the reader's tests share.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <span>
#include <string>
#include <utility>

#include "reader/dump/dump.h"
#include "tests/support/dump_builder.h"

namespace gcore::tests {

/// Two vCPUs with an extra register, 8 KiB of memory at 0x1000 and 4 KiB at 0x10000.
inline QnxNote two_cpus() {
  QnxNote note;
  note.extra_names = {"cr3", "odd_one"};
  note.cpus = {{.pgtbl = 0x5000, .number = 0, .process = "procnto", .registers = {{"rip", 0x1111}, {"cr3", 0x5018}}},
               {.pgtbl = 0, .number = 1, .process = "", .registers = {{"rip", 0x2222}, {"ss", 0x10}, {"odd_one", 7}}}};
  return note;
}

inline DumpBuilder small_dump(const std::string& note) {
  DumpBuilder builder;
  builder.note(note)
      .memory(0x1000, std::string(4096, 'a') + std::string(4096, 'b'))
      .memory(0x10000, std::string(4096, 'c'));
  return builder;
}

inline reader::Expected<std::unique_ptr<reader::Dump>> open(const DumpBuilder& builder) {
  return reader::Dump::open_descriptor(builder.descriptor(), "x.gcore");
}

/// The opened dump; a failure to open fails the test with its text.
inline std::unique_ptr<reader::Dump> opened(const DumpBuilder& builder) {
  auto dump = open(builder);
  if (!dump) {
    ADD_FAILURE() << dump.error().text;
    return nullptr;
  }
  return std::move(*dump);
}

/// Guest memory from an address on, and why there is no more of it.
inline std::pair<std::string, reader::Missing> read(const reader::Dump& dump, uint64_t address, size_t size) {
  std::string text(size, '?');
  const auto result = dump.read(reader::PhysAddr(address), std::as_writable_bytes(std::span(text)));
  text.resize(result.bytes);
  return {text, result.missing};
}

inline std::string error_of(const DumpBuilder& builder) {
  auto dump = open(builder);
  return dump ? "(opened)" : dump.error().text;
}

}  // namespace gcore::tests
