#ifdef GCORE_WITH_LIBKDUMPFILE

#include "reader/dump/kdump_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <string_view>
#include <utility>

#include "reader/dump/elf_file.h"
#include "writer/base/text.h"

namespace gcore::reader {
namespace {

using format::ByteOrder;

constexpr uint64_t kMaxLibraryPage = uint64_t{1} << 18;  // the largest page that libkdumpfile believes in
constexpr uint64_t kMaxBitmap = uint64_t{4} << 30;       // two bits for each page of 64 TiB

template <class... Args>
std::unexpected<Error> fail(Error::Kind kind, fmt::format_string<Args...> text, Args&&... args) {
  return std::unexpected(Error{kind, fmt::format(text, std::forward<Args>(args)...)});
}

class HeaderReader {
 public:
  explicit HeaderReader(const File& file) : file_(file) {}

  Expected<KdumpHeader> read() {
    if (auto read = file_.read_exactly(FileOffset(0), bytes_, "the kdump header"); !read)
      return std::unexpected(read.error());
    // The version is a small number in the right byte order only.
    if (u32(8) > 0xffff) header_.order = ByteOrder::big;
    if (auto checked = check_sizes(); !checked) return std::unexpected(checked.error());
    if (auto read = read_sub_header(); !read) return std::unexpected(read.error());
    if (auto found = find_machine(); !found) return std::unexpected(found.error());
    return header_;
  }

 private:
  uint32_t u32(size_t at) const { return format::load<uint32_t>(&bytes_[at], header_.order); }

  /// The size of NT_PRSTATUS, which is the first note, tells most surely: QEMU writes "x86_64" as utsname.machine also
  /// for a vCPU in a 32-bit mode, with the notes of a 32-bit machine, and "Unknown" for aarch64.
  Expected<void> find_machine() {
    std::string_view name(reinterpret_cast<const char*>(&bytes_[12 + 4 * 65]), 65);  // utsname.machine
    name = name.substr(0, name.find('\0'));
    header_.by_qemu = bytes_[12] == std::byte{0} && !name.empty();
    const uint32_t size = first_note_size();
    const auto by_note = std::ranges::find(format::machines(), size, [](const auto& one) { return one.prstatus.size; });
    const auto by_name = std::ranges::find(format::machines(), name, &format::MachineInfo::name);
    if (!header_.is_64_bit)
      header_.machine = format::Machine::x86;
    else if (by_note != format::machines().end())
      header_.machine = by_note->machine;
    else if (by_name != format::machines().end() && by_name->word_bytes == 8)
      header_.machine = by_name->machine;
    else
      return fail(Error::Kind::unsupported,
                  "it is a kdump-compressed dump of a machine \"{}\"; this reader knows x86_64, i686 and aarch64",
                  base::printable(name.substr(0, 16)));
    return {};
  }

  /// Of its descriptor; 0 when there is none.
  uint32_t first_note_size() const {
    std::array<std::byte, 12> note{};
    if (header_.notes.size == 0 || file_.read(FileOffset(header_.notes.at), note).bytes != note.size()) return 0;
    return format::load<uint32_t>(&note[4], header_.order);
  }

  /// With a sub-header and bitmaps after it: that tells it from the number of pages, which has its place in the header
  /// of the other width.
  bool sensible_block_size(size_t at) const {
    return u32(at) >= 4096 && u32(at) <= 65536 && std::has_single_bit(u32(at)) && u32(at + 4) != 0 && u32(at + 8) != 0;
  }

  /// libkdumpfile takes the header for a 32-bit one, then for a 64-bit one, each with the first byte order in which it
  /// looks sane (diskdump.c: try_header_32, try_header_64), and allocates what the bitmap is then said to have.
  bool bitmap_is_too_large(size_t at) const {
    for (const ByteOrder order : {ByteOrder::little, ByteOrder::big}) {
      const auto number = [&](size_t where) { return uint64_t{format::load<uint32_t>(&bytes_[where], order)}; };
      const uint64_t block_size = number(at), blocks = number(at + 8), pages = number(at + 12);
      const bool sane = std::has_single_bit(block_size) && block_size >= 4096 && block_size <= kMaxLibraryPage &&
                        8 * blocks * block_size >= pages;
      if (sane) return blocks * block_size > std::min(file_.size(), kMaxBitmap);
    }
    return false;
  }

  Expected<void> check_sizes() {
    header_.is_64_bit = sensible_block_size(428) || !sensible_block_size(416);
    const size_t at = header_.is_64_bit ? 428 : 416;
    constexpr uint32_t kIncomplete = 8;
    header_.incomplete = (u32(at - 4) & kIncomplete) != 0;
    header_.version = u32(8);
    header_.block_size = u32(at);
    header_.sub_header_blocks = u32(at + 4);
    header_.bitmap_blocks = u32(at + 8);
    if (!sensible_block_size(at))
      return fail(Error::Kind::malformed, "its kdump header gives a block size of {}", header_.block_size);
    const uint64_t blocks = uint64_t{1} + header_.sub_header_blocks + header_.bitmap_blocks;
    header_.descriptors = blocks * header_.block_size;
    if (header_.descriptors > file_.size())
      return fail(Error::Kind::truncated,
                  "the kdump header and its bitmaps ({} blocks of {} bytes) go past the end of the "
                  "file ({} bytes)",
                  blocks, header_.block_size, file_.size());
    if (bitmap_is_too_large(416) || bitmap_is_too_large(428))
      return fail(Error::Kind::malformed,
                  "the page bitmap of its kdump header does not fit into the file ({} bytes), or has more than 4 GiB",
                  file_.size());
    return {};
  }

  /// phys_base, dump_level, split, start_pfn, end_pfn; then the offset and size of VMCOREINFO (from version 3 on), of
  /// the notes (4) and of what was erased (5). Numbers of a 32-bit machine have 4 bytes, but for offsets.
  Expected<void> read_sub_header() {
    if (header_.version < 3) return {};
    std::array<std::byte, 80> sub{};
    if (auto read = file_.read_exactly(FileOffset(header_.block_size), sub, "the kdump sub-header"); !read) return read;
    const bool wide = header_.is_64_bit;
    const auto find = [&](KdumpArea& area, size_t at_64, size_t at_32) {
      const std::byte* from = &sub[wide ? at_64 : at_32];
      area.at = format::load<uint64_t>(from, header_.order);
      area.size =
          wide ? format::load<uint64_t>(from + 8, header_.order) : format::load<uint32_t>(from + 8, header_.order);
    };
    find(header_.vmcoreinfo, 32, 20);
    if (header_.version >= 4) find(header_.notes, 48, 32);
    if (header_.version >= 4) find(header_.erased, 64, 44);
    for (const KdumpArea& area : header_.areas())
      if (auto fits = check_area(area); !fits) return fits;
    return {};
  }

  /// libkdumpfile allocates what it reads there, whatever the size.
  static Expected<void> check_area(const KdumpArea& area) {
    if (area.size > kMaxNoteBytes)
      return fail(Error::Kind::unsupported, "{} of the kdump header has {} bytes; this reader handles up to {}",
                  area.what, area.size, kMaxNoteBytes);
    return {};
  }

  const File& file_;
  std::array<std::byte, 512> bytes_{};
  KdumpHeader header_;
};

}  // namespace

Expected<KdumpHeader> read_kdump_header(const File& file) { return HeaderReader(file).read(); }

}  // namespace gcore::reader

#endif
