#include "reader/guest/linux/kallsyms.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "reader/dump/vmcoreinfo.h"
#include "reader/guest/linux/mapped_image.h"
#include "writer/format/endian.h"

namespace gcore::reader::linux_guest {
namespace {

using translate::Mapping;

constexpr size_t kTokens = 256, kSymbolsAMarker = 256;
constexpr size_t kMaxTokenTable = 16 << 10;
/// Markers and sequence numbers before token_table: of some 5 million bytes of names at most.
constexpr size_t kMaxBefore = 48 << 20;
/// Bytes that 256 names take: two at least for each, 512 at most.
constexpr uint32_t kMinBlock = 2 * kSymbolsAMarker, kMaxBlock = 514 * kSymbolsAMarker;

constexpr uint64_t align(uint64_t value, uint64_t to) { return (value + to - 1) & ~(to - 1); }

Expected<KallsymsTables> by_vmcoreinfo(const KernelMemory& memory, const GuestSystem& guest) {
  const Vmcoreinfo info(guest.vmcoreinfo);
  const auto names = info.symbol("kallsyms_names"), count = info.symbol("kallsyms_num_syms");
  const auto table = info.symbol("kallsyms_token_table"), index = info.symbol("kallsyms_token_index");
  const auto offsets = info.symbol("kallsyms_offsets"), base = info.symbol("kallsyms_relative_base");
  const auto plain = info.symbol("kallsyms_addresses");
  if (!names || !count || !table || !index || (!offsets && !plain))
    return std::unexpected(Error{Error::Kind::not_present, "VMCOREINFO does not name them"});
  const auto number = memory.u32(VirtAddr(*count));
  if (!number)
    return std::unexpected(
        Error{Error::Kind::not_present,
              fmt::format("VMCOREINFO has kallsyms_num_syms at {:#x}, which cannot be read", *count)});
  if (*number == 0 || *number > kMaxSymbols)
    return std::unexpected(
        Error{Error::Kind::malformed, fmt::format("kallsyms_num_syms at {:#x} is {}", *count, *number)});
  KallsymsTables tables{*number, VirtAddr(*names), VirtAddr(*table), VirtAddr(*index), VirtAddr(0)};
  tables.addresses = VirtAddr(offsets.value_or(plain.value_or(0)));
  if (base) tables.relative_base = VirtAddr(*base);
  if (!offsets)
    tables.encodings = {AddressEncoding::plain};
  else if (base)
    tables.encodings = {AddressEncoding::base_or_absolute, AddressEncoding::base};
  else
    tables.encodings = {AddressEncoding::self_relative};
  tables.source = "kallsyms of the kernel, by VMCOREINFO";
  return tables;
}

/// Looks through the image, a stretch that is contiguous in physical memory after the other.
class Searcher {
 public:
  Searcher(const KernelMemory& memory, const GuestSystem& guest) : memory_(memory), guest_(guest) {}

  std::optional<KallsymsTables> find() {
    const auto& translator = memory_.space().translator();
    MappedImage image = kernel_image(memory_.machine(), translator, guest_.image_address);
    // They are read-only data; in a kernel that has not got so far as to protect that, anything.
    std::ranges::stable_sort(image, {}, [](const Mapping& piece) {
      return (piece.permissions.write ? 1 : 0) + (piece.permissions.execute ? 2 : 0);
    });
    for (const Mapping& piece : image)
      if (auto tables = find_in(piece)) return tables;
    return std::nullopt;
  }

 private:
  std::optional<KallsymsTables> find_in(const Mapping& piece) {
    static constexpr std::string_view kDigits("0\0001\0002\0003\0004\0005\0006\0007\0008\0009", 20);
    bytes_.resize(piece.size);
    bytes_.resize(memory_.dump().read(piece.physical, bytes_).bytes);
    start_ = piece.start;
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data()), bytes_.size());
    size_t candidates = 64;
    for (size_t at = text.find(kDigits); at != std::string_view::npos && candidates-- > 0;
         at = text.find(kDigits, at + 1))
      if (auto tables = tables_at(at)) return tables;
    return std::nullopt;
  }

  uint16_t u16(size_t at) const { return format::load<uint16_t>(&bytes_[at], memory_.dump().byte_order()); }
  uint32_t u32(size_t at) const { return format::load<uint32_t>(&bytes_[at], memory_.dump().byte_order()); }
  uint64_t u64(size_t at) const { return format::load<uint64_t>(&bytes_[at], memory_.dump().byte_order()); }

  /// `zero` is where the token of the character 0 stands: number 48 of them. The last is followed by token_index, which
  /// says where the first one is.
  std::optional<KallsymsTables> tables_at(size_t zero) {
    size_t end = zero;
    for (size_t token = '0'; token < kTokens; ++token) {
      while (end < bytes_.size() && bytes_[end] != std::byte{0}) ++end;
      if (++end >= bytes_.size() || end - zero > kMaxTokenTable) return std::nullopt;
    }
    for (const size_t alignment : {size_t{8}, size_t{4}, size_t{2}}) {
      const size_t index = align(start_.value + end, alignment) - start_.value;
      if (index + 2 * kTokens > bytes_.size() || zero < u16(index + 2 * '0')) continue;
      const size_t begin = zero - u16(index + 2 * '0');
      if (!is_index(index, begin)) continue;
      if (auto tables = by_markers(begin, index)) return tables;
    }
    return std::nullopt;
  }

  bool is_index(size_t index, size_t table) const {
    size_t at = table;
    for (size_t token = 0; token < kTokens; ++token) {
      if (u16(index + 2 * token) != at - table) return false;
      while (at < index && bytes_[at] != std::byte{0}) ++at;
      if (++at > index) return false;
    }
    return true;
  }

  /// The markers stand before token_table, with or without sequence numbers between: u32s that begin with 0 and ascend.
  std::optional<KallsymsTables> by_markers(size_t token_table, size_t token_index) {
    const size_t lowest = token_table > kMaxBefore ? token_table - kMaxBefore : 0;
    size_t at = ((start_.value + token_table) & ~uint64_t{3}) - start_.value;
    for (; at >= lowest + 8; at -= 4) {
      const size_t marker = at - 4;
      if (u32(marker) != 0 || marker + 8 > token_table) continue;
      // One marker: fewer names than any kernel has.
      const uint32_t first = u32(marker + 4);
      if (first < kMinBlock || first > kMaxBlock) continue;
      size_t count = 2;
      while (marker + 4 * count + 4 <= token_table &&
             u32(marker + 4 * count) - u32(marker + 4 * count - 4) >= kMinBlock &&
             u32(marker + 4 * count) - u32(marker + 4 * count - 4) <= kMaxBlock)
        ++count;
      if (auto tables = by_names(marker, count, token_table, token_index)) return tables;
    }
    return std::nullopt;
  }

  /// The names end where the markers begin, and num_syms stands before the names.
  std::optional<KallsymsTables> by_names(size_t markers, size_t count, size_t token_table, size_t token_index) {
    // Sequence numbers may look like more markers: `count` is an upper bound, unless there are none.
    const size_t few = std::min<size_t>(count, kMaxSymbols / kSymbolsAMarker);
    for (size_t n = few; n >= 2 && n + 4 > few; --n) {
      const uint32_t last = u32(markers + 4 * (n - 1));
      if (last > markers) continue;
      const size_t highest = markers - last, lowest = highest > kMaxBlock ? highest - kMaxBlock : 0;
      for (size_t names = ((start_.value + highest) & ~uint64_t{3}) - start_.value; names >= lowest + 8; names -= 4) {
        for (const size_t before : {size_t{8}, size_t{4}}) {
          const uint32_t symbols = u32(names - before);
          if (symbols <= kSymbolsAMarker * (n - 1) || symbols > kSymbolsAMarker * n) continue;
          if (before == 8 && u32(names - 4) != 0) continue;
          if (!names_fit(names, markers)) continue;
          return with_addresses(symbols, names, names - before, token_table, token_index);
        }
      }
    }
    return std::nullopt;
  }

  /// Whether 256 names end at the second marker.
  bool names_fit(size_t names, size_t markers) const {
    size_t at = names;
    for (size_t name = 0; name < kSymbolsAMarker; ++name) {
      if (at + 2 >= markers) return false;
      size_t length = std::to_integer<size_t>(bytes_[at++]);
      if (length & 0x80) length = (length & 0x7f) | std::to_integer<size_t>(bytes_[at++]) << 7;
      at += length;
    }
    return at - names == u32(markers + 4);
  }

  KallsymsTables with_addresses(uint32_t symbols, size_t names, size_t num_syms, size_t token_table,
                                size_t token_index) {
    KallsymsTables tables{symbols, start_ + names, start_ + token_table, start_ + token_index, VirtAddr(0)};
    tables.source = fmt::format("kallsyms of the kernel, found in its image at {:#x}", (start_ + token_table).value);
    const size_t after = align(start_.value + token_index + 2 * kTokens, 4) - start_.value;
    const size_t after8 = align(start_.value + after, 8) - start_.value;
    const size_t base_after = align(start_.value + after8 + 4 * uint64_t{symbols}, 8) - start_.value;
    const size_t offsets_size = align(4 * uint64_t{symbols}, 8);
    if (num_syms >= 8 && num_syms - 8 >= offsets_size && is_kernel(num_syms - 8)) {
      tables.relative_base = start_ + (num_syms - 8);
      tables.addresses = start_ + (num_syms - 8 - offsets_size);
      tables.encodings = {AddressEncoding::base_or_absolute, AddressEncoding::base};
      // The last of a table of plain addresses looks like a base.
      if (num_syms >= 8 * uint64_t{symbols} && is_kernel(num_syms - 16) && is_kernel(num_syms - 24)) {
        tables.addresses = start_ + (num_syms - 8 * uint64_t{symbols});
        tables.encodings = {AddressEncoding::plain};
      }
    } else if (base_after + 8 <= bytes_.size() && is_kernel(base_after)) {
      tables.relative_base = start_ + base_after;
      tables.addresses = start_ + after8;
      tables.encodings = {AddressEncoding::base_or_absolute, AddressEncoding::base};
      if (is_kernel(base_after - 8) && is_kernel(base_after - 16)) tables.encodings = {AddressEncoding::plain};
    } else if (after8 + 8 * uint64_t{symbols} <= bytes_.size() && is_kernel(after8 + 8 * uint64_t{symbols} - 8)) {
      tables.addresses = start_ + after8;
      tables.encodings = {AddressEncoding::plain};
    } else {
      tables.addresses = start_ + after;
      tables.encodings = {AddressEncoding::self_relative};
    }
    return tables;
  }

  /// Whether an address of the kernel's image stands there: near the tables, which are in it.
  bool is_kernel(size_t at) const {
    constexpr uint64_t kReach = 1 << 30;
    return at + 8 <= bytes_.size() && u64(at) - (start_.value - kReach) < 2 * kReach;
  }

  const KernelMemory& memory_;
  const GuestSystem& guest_;
  std::vector<std::byte> bytes_;
  VirtAddr start_;
};

}  // namespace

Expected<KallsymsTables> find_kallsyms(const KernelMemory& memory, const GuestSystem& guest) {
  auto tables = by_vmcoreinfo(memory, guest);
  if (tables) return tables;
  if (auto found = Searcher(memory, guest).find()) return *std::move(found);
  std::string text = "no tables of kallsyms: " + tables.error().text + ", and the kernel's image ";
  text += guest.image_address ? fmt::format("at {:#x} has none", guest.image_address->value) : "was not found";
  return std::unexpected(Error{tables.error().kind, std::move(text)});
}

}  // namespace gcore::reader::linux_guest
