// How the programs open a dump.
#pragma once

#include <fcntl.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "reader/dump/dump.h"
#include "tools/common/program.h"
#include "tools/common/progress.h"

namespace gcore::tools {

/// For files that are nothing but memory.
inline const Option kRawMemory{
    "raw-memory", "MACHINE[,ADDR]",
    "DUMP is memory without any header, from ADDR on (default: 0;\naarch64: 0x40000000) of an "
    "x86_64 or aarch64 machine"};

/// The option's argument.
inline reader::Expected<std::optional<reader::RawMemory>> parse_raw_memory(const Program& program) {
  const auto text = program.value(kRawMemory.name);
  if (!text) return std::nullopt;
  const auto wrong = [&](const std::string& why) {
    return std::unexpected(reader::Error{reader::Error::Kind::usage, "--raw-memory: " + why});
  };
  const size_t comma = text->find(',');
  const std::string machine = text->substr(0, comma);
  reader::RawMemory raw;
  if (machine == "aarch64") {
    raw = {format::Machine::aarch64, reader::PhysAddr(0x40000000)};
  } else if (machine != "x86_64") {
    return wrong("the machine is x86_64 or aarch64, not '" + printable(machine) + "'");
  }
  if (comma != std::string::npos) {
    const auto address = parse_number(std::string_view(*text).substr(comma + 1));
    if (!address) return wrong(address.error());
    raw.address = reader::PhysAddr(*address);
  }
  return raw;
}

/// Dump::open, with a progress line where one is wanted, since a large gzip file takes minutes to go through. `fd`: the
/// file if it is open already, which stays the caller's; -1: it is opened by its path.
inline reader::Expected<std::unique_ptr<reader::Dump>> open_dump(const Program& program, const std::string& path,
                                                                 int fd = -1) {
  std::optional<Progress> progress;
  uint64_t last = 0;
  reader::OpenOptions options;
  auto raw = parse_raw_memory(program);
  if (!raw) return std::unexpected(raw.error());
  options.raw = *raw;
  options.progress = [&, wanted = progress_wanted(program)](uint64_t done, uint64_t total) {
    if (!progress)
      progress.emplace(program, "opening " + (path == "-" ? "standard input" : printable(path)), total, wanted);
    const uint64_t before = std::exchange(last, done);
    if (done > before) progress->add(done - before);  // it may begin anew, if it has to be unpacked after all
  };
  const int own = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
  return own >= 0 ? reader::Dump::open_descriptor(own, path, options) : reader::Dump::open(path, options);
}

/// Ends a program whose open_dump() failed.
inline int fail_to_open(const Program& program, const reader::Error& error) {
  return error.kind == reader::Error::Kind::usage ? program.usage_error(error.text)
                                                  : program.fail(printable(error.text));
}

}  // namespace gcore::tools
