#include "reader/guest/linux/module_list.h"

#include <vector>

#include "reader/guest/linux/mapped_image.h"
#include "writer/format/endian.h"

namespace gcore::reader::linux_guest {
namespace {

using translate::Mapping;

/// Places that are looked at more closely: hostile memory may be full of them.
constexpr size_t kMaxCandidates = 1 << 16;

bool is_in(const MappedImage& image, uint64_t address) {
  return address - image.front().start.value < image.back().start.value + image.back().size - image.front().start.value;
}

}  // namespace

std::optional<VirtAddr> find_list(const KernelMemory& memory, const GuestSystem& guest, const Names& names,
                                  const AcceptList& accept) {
  if (names.all().empty()) return std::nullopt;
  const auto& translator = memory.space().translator();
  const MappedImage image =
      kernel_image(memory.machine(), translator, guest.image_address.value_or(names.all()[0].address));
  if (image.empty()) return std::nullopt;
  const auto order = memory.dump().byte_order();
  size_t candidates = 0;
  std::vector<std::byte> bytes;
  for (const Mapping& piece : image) {
    if (!piece.permissions.write) continue;
    bytes.resize(piece.size);
    bytes.resize(memory.dump().read(piece.physical, bytes).bytes);
    for (size_t at = 0; at + 16 <= bytes.size(); at += 8) {
      const auto next = format::load<uint64_t>(&bytes[at], order), prev = format::load<uint64_t>(&bytes[at + 8], order);
      if (next >> 56 != 0xff || prev >> 56 != 0xff || next % 8 != 0 || prev % 8 != 0) continue;
      if (is_in(image, next) || is_in(image, prev)) continue;
      if (++candidates > kMaxCandidates) return std::nullopt;
      const VirtAddr head = piece.start + at;
      if (memory.pointer(VirtAddr(next) + 8) == head && memory.pointer(VirtAddr(prev)) == head &&
          accept(VirtAddr(next)))
        return head;
    }
  }
  return std::nullopt;
}

std::optional<VirtAddr> find_module_list(const KernelMemory& memory, const GuestSystem& guest, const Names& names,
                                         const Types& types) {
  const auto link = types.offset("module", "list"), self = types.offset("module", "mkobj.mod"),
             state = types.offset("module", "state");
  if (!link || !self || !state) return std::nullopt;
  return find_list(memory, guest, names, [&](VirtAddr first) {
    const VirtAddr module(first.value - *link);
    return memory.pointer(module + *self) == module && memory.u32(module + *state).value_or(4) < 4;
  });
}

}  // namespace gcore::reader::linux_guest
