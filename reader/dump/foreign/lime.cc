// LiME's images (version 1), which AVML writes too: for each range of memory a header (lime_range.h), and then its
// bytes. (LiME: doc/README.md)
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <utility>

#include "reader/dump/foreign/foreign.h"
#include "reader/dump/foreign/lime_range.h"
#include "writer/format/endian.h"

namespace gcore::reader {
namespace {

std::unexpected<Error> fail(Error::Kind kind, std::string text) {
  return std::unexpected(Error{kind, std::move(text)});
}

/// The header at `at`, where there is one that may follow `before`.
bool is_next(const Source& source, const LimeRange& before, uint64_t at) {
  std::array<std::byte, kLimeHeader> bytes{};
  if (at < kLimeHeader || source.read(FileOffset(at), bytes).bytes != bytes.size()) return false;
  const LimeRange range = lime_range(bytes);
  return range.makes_sense(before) && range.first > before.last;
}

}  // namespace

bool LeftOutZeros::is_one(const Source& source, const LimeRange& range, uint64_t end) {
  constexpr uint64_t kMost = 16 << 20;
  if (range.size() > kMost || !is_next(source, range, end)) return false;
  // Memory may look like a header. What is compressed does not.
  const uint64_t after_bytes = end + range.size();
  return range.magic != kLimeMagic || (after_bytes != source.size() && !is_next(source, range, after_bytes));
}

void LeftOutZeros::tell(std::vector<std::string>& notices) const {
  if (count_ != 0)
    notices.push_back(fmt::format("{} of memory {} no bytes ({} in all), as AVML leaves out zeros: read as zeros",
                                  count_ == 1 ? "1 range" : fmt::format("{} ranges", count_),
                                  count_ == 1 ? "has" : "have", bytes_));
}

format::Machine machine_of_kernel(const Source& source, std::span<const ProgramHeader> headers) {
  // Every PC has memory below 1 MiB, with a hole before it, which is no memory to its kernel.
  constexpr uint64_t kHole = 0xa0000, kLowEnd = 1 << 20;
  const auto is_low = [](const ProgramHeader& header) { return header.address < kLowEnd; };
  if (!headers.empty() && std::ranges::none_of(headers, is_low)) return format::Machine::aarch64;
  const auto is_below_hole = [](const ProgramHeader& header) { return header.address + header.memory_size <= kHole; };
  if (std::ranges::any_of(headers, is_below_hole)) return format::Machine::x86_64;
  // Either may be. An aarch64 kernel's image starts with its header, "ARM\x64" at 56, at a multiple of 2 MiB (or 64
  // KiB); kernels since 5.11 use that page for something else.
  constexpr uint64_t kStep = 64 << 10, kMost = uint64_t{4} << 30;
  for (const ProgramHeader& header : headers)
    for (uint64_t at = 0; at + 64 <= header.file_size && at < kMost; at += kStep) {
      std::array<std::byte, 4> magic{};
      if (source.read(FileOffset(header.offset + at + 56), magic).bytes == magic.size() &&
          std::memcmp(magic.data(), "ARM\x64", magic.size()) == 0)
        return format::Machine::aarch64;
    }
  return format::Machine::x86_64;
}

bool is_lime(std::span<const std::byte> start) {
  if (start.size() < 4) return false;
  const auto magic = format::load<uint32_t>(start.data(), format::ByteOrder::little);
  return magic == kLimeMagic || magic == kAvmlMagic;
}

Expected<ForeignDump> open_lime(std::unique_ptr<Source> source) {
  ForeignDump dump;
  dump.format = "LiME image";
  LeftOutZeros zeros;
  uint64_t at = 0;
  while (at < source->size()) {
    std::array<std::byte, kLimeHeader> bytes{};
    if (auto read = source->read_exactly(FileOffset(at), bytes, "the header of a range of memory"); !read) {
      if (dump.elf.headers.empty()) return std::unexpected(read.error());
      dump.warnings.push_back(read.error().text + "; what follows is lost");
      break;
    }
    const LimeRange range = lime_range(bytes);
    if (range.magic == kAvmlMagic && dump.elf.headers.empty()) return open_avml(std::move(source));
    if (!range.makes_sense({kLimeMagic, 1, 0, 0})) {
      if (dump.elf.headers.empty())
        return fail(Error::Kind::malformed, fmt::format("the range of memory at offset {} makes no sense", at));
      dump.warnings.push_back(fmt::format("the range of memory at offset {} makes no sense; what follows is lost", at));
      break;
    }
    const uint64_t size = range.size();
    if (dump.elf.headers.size() == kMaxProgramHeaders)
      return fail(Error::Kind::unsupported, fmt::format("it has more than {} ranges of memory", kMaxProgramHeaders));
    const auto reserved = std::span(bytes).last(kLimeReserved);
    if (std::ranges::count(reserved, std::byte{0}) == kLimeReserved &&
        LeftOutZeros::is_one(*source, range, at + kLimeHeader)) {
      // A segment has at least one byte in the file; these here are zeros, and those of p_memsz follow.
      dump.elf.headers.push_back(load_segment(at + kLimeHeader - kLimeReserved, range.first, kLimeReserved));
      dump.elf.headers.back().memory_size = size;
      zeros.add(range);
      at += kLimeHeader;
      continue;
    }
    dump.elf.headers.push_back(load_segment(at + kLimeHeader, range.first, size));
    if (size > UINT64_MAX - at - kLimeHeader) break;
    at += kLimeHeader + size;
  }
  dump.elf.machine = machine_of_kernel(*source, dump.elf.headers);
  zeros.tell(dump.notices);
  dump.notices.push_back("the dump has no vCPUs: a LiME image has memory only");
  dump.memory = std::move(source);
  return dump;
}

Expected<ForeignDump> open_raw(std::unique_ptr<Source> source, const RawMemory& raw) {
  if (source->size() == 0) return fail(Error::Kind::not_elf, "it is empty");
  ForeignDump dump;
  dump.format = "raw memory";
  dump.elf.machine = raw.machine;
  dump.elf.headers.push_back(load_segment(0, raw.address.value, source->size()));
  dump.notices.push_back("the dump has no vCPUs: it is memory without any header");
  dump.memory = std::move(source);
  return dump;
}

}  // namespace gcore::reader
