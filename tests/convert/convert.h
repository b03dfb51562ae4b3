#pragma once

#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "reader/dump/dump.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"

namespace gcore::tests {

inline constexpr ExitStatus kDone{0, 0}, kFailed{1, 0}, kUsage{2, 0};

/// Runs gcore-convert to its end.
inline Completed convert(std::vector<std::string> arguments, const std::string& input = "") {
  arguments.insert(arguments.begin(), program("gcore-convert"));
  return run(std::move(arguments), 60s, input);
}

inline std::unique_ptr<reader::Dump> open_dump(const std::string& path) {
  auto dump = reader::Dump::open(path);
  if (!dump) throw std::runtime_error(dump.error().text);
  return std::move(*dump);
}

inline std::string bytes_at(const reader::Dump& dump, uint64_t address, size_t size) {
  std::string bytes(size, '?');
  const auto got = dump.read(reader::PhysAddr(address), std::as_writable_bytes(std::span(bytes.data(), size)));
  bytes.resize(got.bytes);
  return bytes;
}

}  // namespace gcore::tests
