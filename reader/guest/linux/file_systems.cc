#include "reader/guest/linux/file_systems.h"

#include <algorithm>
#include <optional>

#include "reader/guest/linux/module_list.h"

namespace gcore::reader::linux_guest {
namespace {

constexpr size_t kMaxFileSystems = 4096, kMaxName = 64;

/// Where a super_block has what is read of it.
struct Layout {
  uint64_t link = 0, type = 0, type_name = 0, device = 0, frozen = 0, frozen_size = 0, size = 0;

  static std::optional<Layout> of(const Types& types) {
    const auto link = types.offset("super_block", "s_list"), type = types.offset("super_block", "s_type"),
               name = types.offset("file_system_type", "name"), device = types.offset("super_block", "s_id"),
               size = types.size_of("super_block");
    const auto frozen = types.member("super_block", "s_writers.frozen");
    if (!link || !type || !name || !device || !frozen || !size || frozen->size > 8) return std::nullopt;
    return Layout{*link, *type, *name, *device, frozen->offset, frozen->size, *size};
  }
};

bool is_name(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; });
}

class SuperBlocks {
 public:
  SuperBlocks(const KernelMemory& memory, const Layout& layout) : memory_(memory), layout_(layout) {}

  std::optional<FileSystem> at(VirtAddr link) const {
    FileSystem found{.super_block = VirtAddr(link.value - layout_.link), .size = layout_.size};
    const auto type = memory_.pointer(found.super_block + layout_.type);
    const auto name = type ? memory_.pointer(*type + layout_.type_name) : std::nullopt;
    const auto text = name ? memory_.text(*name, kMaxName) : std::nullopt;
    const auto device = memory_.text(found.super_block + layout_.device, kMaxName);
    if (!text || !is_name(*text) || !device || !is_name(*device)) return std::nullopt;
    found.type = *text;
    found.device = *device;
    found.frozen = memory_.number(found.super_block + layout_.frozen, layout_.frozen_size).value_or(0) != 0;
    return found;
  }

  std::vector<FileSystem> all(VirtAddr head) const {
    std::vector<FileSystem> found;
    auto link = memory_.pointer(head);
    for (size_t n = 0; link && *link != head && n < kMaxFileSystems; ++n, link = memory_.pointer(*link))
      if (auto one = at(*link)) found.push_back(*std::move(one));
    return found;
  }

 private:
  const KernelMemory& memory_;
  const Layout& layout_;
};

}  // namespace

std::vector<FileSystem> find_file_systems(const Kernel& kernel) {
  const auto layout = kernel.types() ? Layout::of(*kernel.types()) : std::nullopt;
  if (!layout || !kernel.names()) return {};
  const SuperBlocks blocks(kernel.memory(), *layout);
  auto head = kernel.address_of("super_blocks");
  if (!head)
    head = find_list(kernel.memory(), kernel.guest(), *kernel.names(),
                     [&](VirtAddr first) { return blocks.at(first).has_value(); });
  return head ? blocks.all(*head) : std::vector<FileSystem>{};
}

}  // namespace gcore::reader::linux_guest
