#include "reader/guest/linux/symbols/debug_sections.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>

#include "reader/guest/linux/symbols/elf_sections.h"
#include "reader/source/packed_bytes.h"
#include "writer/format/endian.h"

namespace gcore::reader::linux_guest {
namespace {

constexpr uint32_t kNobits = 8, kZlib = 1, kZstd = 2;
constexpr uint64_t kAlloc = 2, kCompressed = 0x800;
constexpr uint64_t kMaxRatio = 1032;  // zlib's best, of one section
// Of all sections: debug information packs to a third or so.
constexpr uint64_t kLeastRoom = 64 << 20, kTotalRatio = 32, kMaxTotal = uint64_t{4} << 30;
constexpr std::string_view kOldPrefix = ".zdebug_", kOldMark = "ZLIB";
constexpr size_t kOldHeader = 12;  // the mark, and the size with its highest byte first

class Unpacker {
 public:
  Unpacker(std::vector<std::byte> file, const ElfSections& sections)
      : sections_(sections), order_(sections.order()), wide_(sections.is_64_bit()) {
    result_.bytes = std::move(file);
    room_ = std::min(kMaxTotal, kLeastRoom + kTotalRatio * result_.bytes.size());
  }

  DebugSections run() {
    const size_t own = result_.bytes.size();
    for (const auto& section : sections_.list()) {
      if ((section.flags & kAlloc) != 0 || section.type == kNobits) continue;
      const bool is_old = section.name.starts_with(kOldPrefix);
      if (!is_old && (section.flags & kCompressed) == 0) continue;
      if (section.offset > own || section.size > own - section.offset) continue;
      replace(section, is_old && (section.flags & kCompressed) == 0);
    }
    rename();
    return std::move(result_);
  }

 private:
  struct Header {
    size_t size;  // of the header itself
    Packing how;
    uint64_t unpacked, alignment;
  };

  std::byte* at(uint64_t offset) { return result_.bytes.data() + offset; }

  Expected<Header> header_of(const ElfSections::Section& section, bool is_old) {
    const auto fail = [](std::string why) { return std::unexpected(Error{Error::Kind::malformed, std::move(why)}); };
    const std::byte* start = at(section.offset);
    if (is_old) {
      if (section.size < kOldHeader || std::memcmp(start, kOldMark.data(), kOldMark.size()) != 0)
        return fail("it has no header");
      return Header{kOldHeader, Packing::zlib, format::load<uint64_t>(start + 4, format::ByteOrder::big), 1};
    }
    const size_t size = wide_ ? 24 : 12;
    if (section.size < size) return fail("it has no header");
    const auto kind = format::load<uint32_t>(start, order_);
    if (kind != kZlib && kind != kZstd)
      return fail(fmt::format("it is compressed in a way that is not known ({})", kind));
    return Header{size, kind == kZlib ? Packing::zlib : Packing::zstd,
                  wide_ ? format::load<uint64_t>(start + 8, order_) : format::load<uint32_t>(start + 4, order_),
                  wide_ ? format::load<uint64_t>(start + 16, order_) : format::load<uint32_t>(start + 8, order_)};
  }

  Expected<std::vector<std::byte>> unpacked(const ElfSections::Section& section, const Header& header) {
    const uint64_t packed = section.size - header.size;
    if (header.unpacked > packed * kMaxRatio + 4096 || header.unpacked > room_)
      return std::unexpected(Error{Error::Kind::malformed,
                                   fmt::format("it claims to unpack from {} bytes to {}", packed, header.unpacked)});
    room_ -= header.unpacked;  // whether it does or not: many sections may be the same bytes
    auto bytes = unpack_bytes(header.how, std::span(result_.bytes).subspan(section.offset + header.size, packed),
                              header.unpacked);
    if (bytes && bytes->size() != header.unpacked)
      return std::unexpected(Error{Error::Kind::malformed, fmt::format("it unpacks to {} bytes in place of {}",
                                                                       bytes->size(), header.unpacked)});
    return bytes;
  }

  void replace(const ElfSections::Section& section, bool is_old) {
    const auto header = header_of(section, is_old);
    const auto bytes = header ? unpacked(section, *header) : std::unexpected(header.error());
    write_word(section, 8, section.flags & ~kCompressed);
    if (!bytes) {
      format::store(at(section.header_at + 4), kNobits, order_);
      result_.problems.push_back(
          fmt::format("its section {} cannot be unpacked: {}", section.name, bytes.error().text));
      return;
    }
    write_word(section, wide_ ? 24 : 16, append(*bytes));
    write_word(section, wide_ ? 32 : 20, bytes->size());
    write_word(section, wide_ ? 48 : 32, header->alignment);
    if (is_old) renamed_.push_back(&section);
  }

  uint64_t append(std::span<const std::byte> bytes) {
    result_.bytes.resize((result_.bytes.size() + 15) / 16 * 16);
    const uint64_t place = result_.bytes.size();
    result_.bytes.insert(result_.bytes.end(), bytes.begin(), bytes.end());
    return place;
  }

  /// A field of the section's header that is as wide as an address.
  void write_word(const ElfSections::Section& section, uint64_t field, uint64_t value) {
    if (wide_)
      format::store(at(section.header_at + field), value, order_);
    else
      format::store(at(section.header_at + field), static_cast<uint32_t>(value), order_);
  }

  /// .zdebug_info becomes .debug_info, in a table of names that is the old one and more.
  void rename() {
    const auto* names = sections_.names();
    if (renamed_.empty() || names == nullptr || names->offset > result_.bytes.size() ||
        names->size > result_.bytes.size() - names->offset)
      return;
    const auto old = std::span(result_.bytes).subspan(names->offset, names->size);
    std::vector<std::byte> table(old.begin(), old.end());
    table.push_back(std::byte{0});
    for (const auto* section : renamed_) {
      format::store(at(section->header_at), static_cast<uint32_t>(table.size()), order_);
      const std::string name = "." + section->name.substr(2);
      const auto text = std::as_bytes(std::span(name.c_str(), name.size() + 1));
      table.insert(table.end(), text.begin(), text.end());
    }
    write_word(*names, wide_ ? 24 : 16, append(table));
    write_word(*names, wide_ ? 32 : 20, table.size());
  }

  const ElfSections& sections_;
  const format::ByteOrder order_;
  const bool wide_;
  DebugSections result_;
  uint64_t room_;
  std::vector<const ElfSections::Section*> renamed_;
};

}  // namespace

DebugSections unpack_debug_sections(std::vector<std::byte> file) {
  const auto sections = ElfSections::read([&](uint64_t offset, std::span<std::byte> into) -> size_t {
    if (offset >= file.size()) return 0;
    const size_t count = std::min<uint64_t>(into.size(), file.size() - offset);
    std::memcpy(into.data(), file.data() + offset, count);
    return count;
  });
  if (!sections) return {.bytes = std::move(file)};
  return Unpacker(std::move(file), *sections).run();
}

}  // namespace gcore::reader::linux_guest
