// LiME's images (version 1), which AVML writes too: for each range of memory u32 magic, u32 version, u64 first address,
// u64 last address, 8 bytes reserved, and then its bytes. Little-endian. (LiME: doc/README.md)
#include <fmt/format.h>

#include <array>
#include <cstring>
#include <string_view>
#include <utility>

#include "reader/dump/foreign/foreign.h"
#include "writer/format/endian.h"

namespace gcore::reader {
namespace {

constexpr uint32_t kLime = 0x4c694d45, kAvml = 0x4c4d5641;  // "EMiL", "AVML"
constexpr size_t kHeader = 32;

std::unexpected<Error> fail(Error::Kind kind, std::string text) {
  return std::unexpected(Error{kind, std::move(text)});
}

struct Range {
  uint32_t magic, version;
  uint64_t first, last;
};

Range range_in(std::span<const std::byte, kHeader> bytes) {
  const auto order = format::ByteOrder::little;
  return {format::load<uint32_t>(&bytes[0], order), format::load<uint32_t>(&bytes[4], order),
          format::load<uint64_t>(&bytes[8], order), format::load<uint64_t>(&bytes[16], order)};
}

/// By what a Linux kernel for it has in its text; x86_64 when there is nothing of the kind, as LiME is used there most.
format::Machine machine_of(const Source& source, std::span<const ProgramHeader> headers) {
  // An aarch64 kernel's image starts with its header, "ARM\x64" at 56, at a multiple of 2 MiB (or 64 KiB).
  constexpr uint64_t kStep = 64 << 10, kMost = uint64_t{4} << 30;
  for (const ProgramHeader& header : headers) {
    if (header.address < (uint64_t{1} << 20)) return format::Machine::x86_64;  // there x86 has its first megabyte
    for (uint64_t at = 0; at + 64 <= header.file_size && at < kMost; at += kStep) {
      std::array<std::byte, 4> magic{};
      if (source.read(FileOffset(header.offset + at + 56), magic).bytes == magic.size() &&
          std::memcmp(magic.data(), "ARM\x64", magic.size()) == 0)
        return format::Machine::aarch64;
    }
  }
  return format::Machine::x86_64;
}

}  // namespace

bool is_lime(std::span<const std::byte> start) {
  if (start.size() < 4) return false;
  const auto magic = format::load<uint32_t>(start.data(), format::ByteOrder::little);
  return magic == kLime || magic == kAvml;
}

Expected<ForeignDump> open_lime(std::unique_ptr<Source> source) {
  ForeignDump dump;
  dump.format = "LiME image";
  uint64_t at = 0;
  while (at < source->size()) {
    std::array<std::byte, kHeader> bytes{};
    if (auto read = source->read_exactly(FileOffset(at), bytes, "the header of a range of memory"); !read) {
      if (dump.elf.headers.empty()) return std::unexpected(read.error());
      dump.warnings.push_back(read.error().text + "; what follows is lost");
      break;
    }
    const Range range = range_in(bytes);
    if (range.magic == kAvml || range.version == 2)
      return fail(Error::Kind::unsupported,
                  "it is an AVML image of version 2, compressed with snappy; unpack it: avml-convert FILE IMAGE.lime");
    if (range.magic != kLime || range.version != 1 || range.last < range.first || range.last == UINT64_MAX) {
      if (dump.elf.headers.empty())
        return fail(Error::Kind::malformed, fmt::format("the range of memory at offset {} makes no sense", at));
      dump.warnings.push_back(fmt::format("the range of memory at offset {} makes no sense; what follows is lost", at));
      break;
    }
    const uint64_t size = range.last - range.first + 1;
    if (dump.elf.headers.size() == kMaxProgramHeaders)
      return fail(Error::Kind::unsupported, fmt::format("it has more than {} ranges of memory", kMaxProgramHeaders));
    dump.elf.headers.push_back(load_segment(at + kHeader, range.first, size));
    if (size > UINT64_MAX - at - kHeader) break;
    at += kHeader + size;
  }
  dump.elf.machine = machine_of(*source, dump.elf.headers);
  dump.warnings.push_back("the dump has no vCPUs: a LiME image has memory only");
  dump.memory = std::move(source);
  return dump;
}

Expected<ForeignDump> open_raw(std::unique_ptr<Source> source, const RawMemory& raw) {
  if (source->size() == 0) return fail(Error::Kind::not_elf, "it is empty");
  ForeignDump dump;
  dump.format = "raw memory";
  dump.elf.machine = raw.machine;
  dump.elf.headers.push_back(load_segment(0, raw.address.value, source->size()));
  dump.warnings.push_back("the dump has no vCPUs: it is memory without any header");
  dump.memory = std::move(source);
  return dump;
}

}  // namespace gcore::reader
