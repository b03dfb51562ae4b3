// How the programs open a dump.
#pragma once

#include <fcntl.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "reader/dump/dump.h"
#include "reader/source/remote/remote.h"
#include "tools/common/program.h"
#include "tools/common/progress.h"
#include "writer/format/machine.h"

namespace gcore::tools {

/// For files that are nothing but memory.
inline const Option kRawMemory{
    "raw-memory", "MACHINE[,ADDR]",
    "DUMP is memory without any header, from ADDR on (default: 0;\naarch64: 0x40000000) of an "
    "x86_64 or aarch64 machine"};

/// For guests that QEMU saved.
inline const Option kMemoryMap{
    "memory-map", "MAP",
    "of a guest that QEMU or libvirt saved: where its memory is.\nMAP is [MACHINE,]ADDR[+SIZE]=BLOCK[+OFFSET],...: "
    "its memory\nblock BLOCK, from OFFSET on, is at ADDR, and so on"};

/// For dumps that are on a server.
inline const Option kDownload{"download", "",
                              "of a DUMP by https:// or s3://: read all of it into a temporary\nfile first, for "
                              "servers that serve no ranges"};
inline const Option kNoSignRequest{"no-sign-request", "", "of s3://: without credentials, where everybody may read"};

/// The option's argument.
inline reader::Expected<std::optional<reader::RawMemory>> parse_raw_memory(const Program& program) {
  const auto text = program.value(kRawMemory.name);
  if (!text) return std::nullopt;
  const auto wrong = [&](const std::string& why) {
    return std::unexpected(reader::Error{reader::Error::Kind::usage, "--raw-memory: " + why});
  };
  const size_t comma = text->find(',');
  const std::string machine = text->substr(0, comma);
  const auto known = format::machine_of_name(machine);
  if (!known || format::machine_info(*known).word_bytes != 8)
    return wrong("the machine is x86_64 or aarch64, not '" + printable(machine) + "'");
  reader::RawMemory raw{*known, reader::PhysAddr(format::machine_info(*known).memory_start)};
  if (comma != std::string::npos) {
    const auto address = parse_number(std::string_view(*text).substr(comma + 1));
    if (!address) return wrong(address.error());
    raw.address = reader::PhysAddr(*address);
  }
  return raw;
}

/// "ADDR[+SIZE]=BLOCK[+OFFSET]". A name may have a plus sign, and an offset is what is a number behind the last one.
inline std::expected<reader::MemoryMap::Part, std::string> parse_map_part(std::string_view text) {
  reader::MemoryMap::Part part;
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos || equals + 1 == text.size())
    return std::unexpected("'" + printable(text) + "' is not ADDR[+SIZE]=BLOCK[+OFFSET]");
  const std::string_view place = text.substr(0, equals), block = text.substr(equals + 1);
  const size_t size_at = place.find('+');
  const auto address = parse_size(place.substr(0, size_at));
  if (!address) return std::unexpected(address.error());
  part.address = reader::PhysAddr(*address);
  if (size_at != std::string_view::npos) {
    const auto size = parse_size(place.substr(size_at + 1));
    if (!size) return std::unexpected(size.error());
    if (*size == 0) return std::unexpected("the part at " + printable(place) + " has no bytes");
    part.size = *size;
  }
  const size_t offset_at = block.rfind('+');
  const auto offset = offset_at != std::string_view::npos ? parse_size(block.substr(offset_at + 1))
                                                          : std::expected<uint64_t, std::string>(std::unexpected(""));
  if (offset) part.offset = *offset;
  part.block = block.substr(0, offset ? offset_at : block.size());
  return part;
}

/// The option's argument.
inline reader::Expected<std::optional<reader::MemoryMap>> parse_memory_map(const Program& program) {
  const auto text = program.value(kMemoryMap.name);
  if (!text) return std::nullopt;
  const auto wrong = [&](const std::string& why) {
    return std::unexpected(reader::Error{reader::Error::Kind::usage, "--memory-map: " + why});
  };
  reader::MemoryMap map;
  for (size_t at = 0; at <= text->size();) {
    const size_t comma = std::min(text->find(',', at), text->size());
    const std::string_view one = std::string_view(*text).substr(at, comma - at);
    if (at == 0 && one.find('=') == std::string_view::npos) {
      map.machine = format::machine_of_name(one);
      if (!map.machine || format::machine_info(*map.machine).word_bytes != 8)
        return wrong("the machine is x86_64 or aarch64, not '" + printable(one) + "'");
    } else {
      auto part = parse_map_part(one);
      if (!part) return wrong(part.error());
      map.parts.push_back(std::move(*part));
    }
    at = comma + 1;
  }
  if (map.parts.empty()) return wrong("it says of no block where it is");
  return map;
}

/// A dump by its address. Only what the user named is opened so, nothing that a dump names.
inline reader::Expected<std::unique_ptr<reader::Dump>> open_remote_dump(const Program& program, const std::string& url,
                                                                        const reader::OpenOptions& options,
                                                                        reader::RemoteOptions how) {
  how.download = program.has(kDownload.name);
  how.progress = options.progress;
  how.anonymous = program.has(kNoSignRequest.name);
  auto remote = reader::open_remote(url, how);
  if (!remote) return std::unexpected(remote.error());
  auto dump = reader::Dump::open_source(std::move(remote->source), remote->name, options);
  if (dump) return dump;
  if (const std::string trouble = remote->state->trouble(); !trouble.empty())
    return std::unexpected(reader::Error{reader::Error::Kind::io, "cannot open " + remote->name + ": " + trouble});
  return dump;
}

/// Dump::open, with a progress line where one is wanted, since a large gzip file takes minutes to go through. `fd`: the
/// file if it is open already, which stays the caller's; -1: it is opened by its path, which may be an address, and
/// `how` says how often and how long one is tried.
inline reader::Expected<std::unique_ptr<reader::Dump>> open_dump(const Program& program, const std::string& path,
                                                                 int fd = -1, const reader::RemoteOptions& how = {}) {
  std::optional<Progress> progress;
  uint64_t last = 0;
  reader::OpenOptions options;
  auto raw = parse_raw_memory(program);
  if (!raw) return std::unexpected(raw.error());
  options.raw = *raw;
  auto map = parse_memory_map(program);
  if (!map) return std::unexpected(map.error());
  options.map = *std::move(map);
  options.progress = [&, wanted = progress_wanted(program)](uint64_t done, uint64_t total) {
    if (!progress)
      progress.emplace(program, "opening " + (path == "-" ? "standard input" : printable(reader::shown_url(path))),
                       total, wanted);
    const uint64_t before = std::exchange(last, done);
    if (done > before) progress->add(done - before);  // it may begin anew, if it has to be unpacked after all
  };
  if (fd < 0 && reader::is_url(path)) return open_remote_dump(program, path, options, how);
  const auto no_address = [&](const Option& option) {
    return std::unexpected(reader::Error{reader::Error::Kind::usage,
                                         "--" + option.name + ": " + printable(path) + " is no address of a server"});
  };
  if (program.has(kDownload.name)) return no_address(kDownload);
  if (program.has(kNoSignRequest.name) && std::ranges::none_of(program.operands(), reader::is_url))
    return no_address(kNoSignRequest);
  const int own = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
  auto dump = own >= 0 ? reader::Dump::open_descriptor(own, path, options) : reader::Dump::open(path, options);
  if (!dump && own < 0 && path.find("://") != std::string::npos)
    dump.error().text += "; addresses begin with https://, http:// or s3://, in small letters";
  return dump;
}

/// Why not all of the dump could be read while the program did its work, which then failed; "" when nothing was wrong.
inline std::string trouble_of(const reader::Dump& dump) {
  const std::string trouble = dump.trouble();
  return trouble.empty() ? "" : "cannot read " + printable(dump.path()) + ": " + printable(trouble);
}

/// Ends a program whose open_dump() failed.
inline int fail_to_open(const Program& program, const reader::Error& error) {
  return error.kind == reader::Error::Kind::usage ? program.usage_error(error.text)
                                                  : program.fail(printable(error.text));
}

}  // namespace gcore::tools
