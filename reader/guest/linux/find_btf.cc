#include "reader/guest/linux/find_btf.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>

#include "reader/guest/linux/mapped_image.h"
#include "writer/format/endian.h"

namespace gcore::reader::linux_guest {
namespace {

using translate::Mapping;

constexpr uint64_t kMaxBtf = 64 << 20, kMinFound = 64 << 10;
constexpr size_t kHeader = 24;

std::unexpected<Error> none(const KernelMemory& memory, Error::Kind kind, const std::string& why) {
  return std::unexpected(Error{kind, "no types of the kernel (BTF) in " + memory.dump().path() + ": " + why});
}

Expected<std::vector<std::byte>> read_btf(const KernelMemory& memory, VirtAddr address, uint64_t size) {
  std::vector<std::byte> bytes(size);
  const size_t got = memory.read(address, bytes);
  if (got == size) return bytes;
  return none(memory, Error::Kind::not_present,
              fmt::format("of its {} bytes at {:#x} only {} can be read", size, address.value, got));
}

/// Bytes of what begins at `at` when that is a header of BTF as the kernel's is.
std::optional<uint64_t> size_at(std::span<const std::byte> bytes, size_t at, format::ByteOrder order) {
  if (bytes.size() - at < kHeader) return std::nullopt;
  const auto field = [&](size_t offset) { return uint64_t{format::load<uint32_t>(&bytes[at + offset], order)}; };
  if (format::load<uint16_t>(&bytes[at], order) != 0xeb9f || bytes[at + 2] != std::byte{1}) return std::nullopt;
  if (field(4) != kHeader || field(8) != 0 || field(16) != field(12)) return std::nullopt;
  const uint64_t size = kHeader + field(12) + field(20);
  return size >= kMinFound && size <= kMaxBtf ? std::optional(size) : std::nullopt;
}

/// Looks through the image.
std::optional<Expected<std::vector<std::byte>>> search(const KernelMemory& memory, const Names& names) {
  const auto& translator = memory.space().translator();
  std::optional<VirtAddr> inside = names.address_of("_stext");
  if (!inside && !names.all().empty()) inside = names.all()[0].address;
  MappedImage image = kernel_image(memory.machine(), translator, inside);
  std::ranges::stable_sort(image, {}, [](const Mapping& piece) {
    return (piece.permissions.write ? 1 : 0) + (piece.permissions.execute ? 2 : 0);
  });
  const auto order = memory.dump().byte_order();
  std::byte magic[2];
  format::store<uint16_t>(magic, 0xeb9f, order);
  const std::string_view begin(reinterpret_cast<const char*>(magic), sizeof magic);
  std::vector<std::byte> bytes;
  for (const Mapping& piece : image) {
    bytes.resize(piece.size);
    bytes.resize(memory.dump().read(piece.physical, bytes).bytes);
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    for (size_t at = text.find(begin); at != std::string_view::npos; at = text.find(begin, at + 1))
      if (const auto size = size_at(bytes, at, order)) return read_btf(memory, piece.start + at, *size);
  }
  return std::nullopt;
}

}  // namespace

Expected<std::vector<std::byte>> find_btf(const KernelMemory& memory, const Names& names) {
  const auto start = names.address_of("__start_BTF"), stop = names.address_of("__stop_BTF");
  if (start && stop) {
    const uint64_t size = stop->value - start->value;
    if (size == 0 || size > kMaxBtf)
      return none(memory, Error::Kind::malformed,
                  fmt::format("__start_BTF is {:#x}, __stop_BTF {:#x}", start->value, stop->value));
    return read_btf(memory, *start, size);
  }
  if (auto found = search(memory, names)) return *std::move(found);
  return none(memory, Error::Kind::not_present, "the kernel has no __start_BTF, and nothing like it in its image");
}

}  // namespace gcore::reader::linux_guest
