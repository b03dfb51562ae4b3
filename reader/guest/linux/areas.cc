// The areas of a process's address space: a list (before 6.1) or a maple tree (6.1 and later) of vm_area_struct.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "reader/guest/linux/kernel_parts.h"

namespace gcore::reader::linux_guest {
namespace {

constexpr size_t kMaxAreas = 1 << 20, kMaxTreeNodes = 1 << 18, kMaxDepth = 16;
constexpr size_t kMaxPath = 4096, kMaxName = 256, kMaxComponents = 256;
// include/linux/mm.h
constexpr uint64_t kRead = 1, kWrite = 2, kExecute = 4, kMayShare = 0x80;
// include/linux/maple_tree.h: a pointer to a node has its type in bits 6:3, and nodes are aligned to 256 bytes.
// That of the root has bit 1 set as well, those in nodes have not (lib/maple_tree.c: mte_mk_root).
constexpr uint64_t kNodeMask = 0xff;
constexpr unsigned kLeaf64 = 1, kRange64 = 2, kArange64 = 3;

class AreaReader {
 public:
  AreaReader(const Kernel& kernel, const Task& task)
      : kernel_(kernel), types_(*kernel.types()), memory_(kernel.memory()), mm_(task.mm) {}

  Expected<std::vector<MemoryArea>> read() {
    if (const auto tree = types_.member("mm_struct", "mm_mt.ma_root"))
      read_tree(memory_.pointer(mm_ + tree->offset));
    else if (const auto list = types_.member("mm_struct", "mmap"))
      read_list(memory_.pointer(mm_ + list->offset));
    else
      return fail("the kernel's types have neither mm_struct.mm_mt nor mm_struct.mmap");
    if (areas_.empty() && !problem_.empty()) return fail(problem_);
    std::ranges::stable_sort(areas_, {}, &MemoryArea::start);
    return std::move(areas_);
  }

 private:
  std::unexpected<Error> fail(const std::string& why) const {
    return std::unexpected(
        Error{Error::Kind::not_present, fmt::format("cannot read the address space at {:#x}: {}", mm_.value, why)});
  }

  std::optional<uint64_t> number(VirtAddr object, std::string_view type,
                                 std::initializer_list<std::string_view> paths) const {
    for (const std::string_view path : paths)
      if (const auto member = types_.member(type, path))
        return member->size <= 8 ? memory_.number(object + member->offset, member->size) : std::nullopt;
    return std::nullopt;
  }
  std::optional<VirtAddr> pointer(VirtAddr object, std::string_view type, std::string_view path) const {
    const auto value = number(object, type, {path});
    return value && memory_.is_kernel_address(VirtAddr(*value)) ? std::optional(VirtAddr(*value)) : std::nullopt;
  }

  void read_list(std::optional<VirtAddr> area) {
    while (area && *area != VirtAddr(0) && areas_.size() < kMaxAreas) {
      const size_t before = areas_.size();
      add(*area);
      // Ascending, or it is a circle.
      if (areas_.size() == before || (before > 0 && areas_[before].start <= areas_[before - 1].start)) return;
      area = pointer(*area, "vm_area_struct", "vm_next");
    }
  }

  static bool is_root_node(uint64_t entry) { return (entry & 3) == 2 && entry > 4096; }

  void read_tree(std::optional<VirtAddr> root) {
    if (!root) {
      problem_ = "the root of its tree cannot be read";
    } else if (is_root_node(root->value)) {
      read_node(root->value, UINT64_MAX, 0);
    } else if (root->value != 0 && (root->value & 3) == 0) {
      add(*root);
    }
  }

  void read_node(uint64_t entry, uint64_t max, size_t depth) {
    if (depth > kMaxDepth || ++nodes_ > kMaxTreeNodes) return;
    const unsigned type = static_cast<unsigned>(entry >> 3 & 0xf);
    const VirtAddr node(entry & ~kNodeMask);
    if (!memory_.is_kernel_address(node) || (type != kLeaf64 && type != kRange64 && type != kArange64)) return;
    const std::string_view name = type == kArange64 ? "maple_arange_64" : "maple_range_64";
    const auto pivots = types_.member(name, "pivot"), slots = types_.member(name, "slot");
    if (!pivots || !slots || slots->size > 256) {
      problem_ = fmt::format("the kernel's types have no {}", name);
      return;
    }
    const size_t count = slots->size / 8, pivot_count = pivots->size / 8;
    for (size_t i = 0; i < count && areas_.size() < kMaxAreas; ++i) {
      // The last slot has no pivot: it reaches to the node's own end, as does one whose pivot is 0.
      uint64_t end = i < pivot_count ? memory_.u64(node + pivots->offset + i * 8).value_or(0) : max;
      if (i > 0 && end == 0) end = max;
      const uint64_t slot = memory_.u64(node + slots->offset + i * 8).value_or(0);
      if (slot != 0 && (slot & 3) == 0) {
        if (type == kLeaf64)
          add(VirtAddr(slot));
        else
          read_node(slot, end, depth + 1);
      }
      if (end >= max) return;
    }
  }

  void add(VirtAddr area) {
    if (!memory_.is_kernel_address(area)) return;
    constexpr std::string_view kArea = "vm_area_struct";
    const auto start = number(area, kArea, {"vm_start"}), end = number(area, kArea, {"vm_end"});
    if (!start || !end || *start >= *end) return;
    MemoryArea result{.start = VirtAddr(*start), .end = VirtAddr(*end)};
    const uint64_t flags = number(area, kArea, {"vm_flags", "__vm_flags"}).value_or(0);
    result.permissions = {(flags & kRead) != 0 ? 'r' : '-', (flags & kWrite) != 0 ? 'w' : '-',
                          (flags & kExecute) != 0 ? 'x' : '-', (flags & kMayShare) != 0 ? 's' : 'p'};
    if (const auto file = pointer(area, kArea, "vm_file")) {
      const unsigned shift = memory_.space().translator().paging().upper.page_shift;
      result.file_offset = number(area, kArea, {"vm_pgoff"}).value_or(0) << shift;
      result.file = path_of(*file);
    } else {
      result.file = special_name(area, *start, *end);
    }
    areas_.push_back(std::move(result));
  }

  std::string special_name(VirtAddr area, uint64_t start, uint64_t end) const {
    const auto own = [&](std::string_view member) { return number(mm_, "mm_struct", {member}).value_or(0); };
    if (const uint64_t brk = own("brk"), heap = own("start_brk"); heap != 0 && start <= brk && end >= heap)
      return "[heap]";
    if (const uint64_t stack = own("start_stack"); start <= stack && end >= stack) return "[stack]";
    // A special mapping (vdso, vvar) has its name with it; other areas' private data is something else.
    const auto operations = pointer(area, "vm_area_struct", "vm_ops");
    const auto data = pointer(area, "vm_area_struct", "vm_private_data");
    const auto name = operations && data ? pointer(*data, "vm_special_mapping", "name") : std::nullopt;
    const auto text = name ? memory_.text(*name, kMaxName) : std::nullopt;
    return text && text->starts_with('[') && text->ends_with(']') ? *text : "";
  }

  /// As d_path() of the kernel, but from the root of all mounts and not that of the process.
  std::string path_of(VirtAddr file) const {
    auto dentry = pointer(file, "file", "f_path.dentry"), vfs = pointer(file, "file", "f_path.mnt");
    const auto own = types_.offset("mount", "mnt");
    std::string path;
    bool deleted = false, named = false;
    for (size_t i = 0; dentry && i < kMaxComponents && path.size() < kMaxPath; ++i) {
      const auto parent = pointer(*dentry, "dentry", "d_parent");
      const auto root = vfs ? pointer(*vfs, "vfsmount", "mnt_root") : std::nullopt;
      if (dentry == root || !parent || parent == dentry) {
        // The root of this mount: on in the one that it is mounted on.
        const auto mount = vfs && own ? std::optional(VirtAddr(vfs->value - *own)) : std::nullopt;
        const auto above = mount ? pointer(*mount, "mount", "mnt_parent") : std::nullopt;
        if (!above || above == mount || dentry != root) break;
        dentry = pointer(*mount, "mount", "mnt_mountpoint");
        vfs = *above + *own;
        continue;
      }
      if (!named) {
        named = true;
        // Hashed no more: d_unhashed().
        const auto hash = types_.offset("dentry", "d_hash.pprev");
        deleted = hash && memory_.u64(*dentry + *hash) == 0;
      }
      const auto name = pointer(*dentry, "dentry", "d_name.name");
      const auto text = name ? memory_.text(*name, kMaxName) : std::nullopt;
      path = "/" + text.value_or("?") + path;
      dentry = parent;
    }
    if (path.empty() && dentry) return pathless_name(*dentry);
    return deleted ? path + " (deleted)" : path;
  }

  /// What is in no folder (shared memory, sockets) is named by its kind's own function, d_dname.
  std::string pathless_name(VirtAddr dentry) const {
    const auto name = pointer(dentry, "dentry", "d_name.name");
    const std::string text = name ? memory_.text(*name, kMaxName).value_or("") : "";
    const auto operations = pointer(dentry, "dentry", "d_op");
    const auto function = operations ? pointer(*operations, "dentry_operations", "d_dname") : std::nullopt;
    const auto place = function ? kernel_.lookup(*function) : std::nullopt;
    const std::string_view kind = place ? std::string_view(place->symbol.name) : "";
    if (kind == "simple_dname") return fmt::format("/{} (deleted)", text);  // fs/d_path.c
    if (kind == "anon_inodefs_dname") return "anon_inode:" + text;          // fs/anon_inodes.c
    if (kind != "sockfs_dname" && kind != "pipefs_dname") return text;
    const auto inode = pointer(dentry, "dentry", "d_inode");  // net/socket.c, fs/pipe.c
    return fmt::format("{}:[{}]", kind == "sockfs_dname" ? "socket" : "pipe",
                       inode ? number(*inode, "inode", {"i_ino"}).value_or(0) : 0);
  }

  const Kernel& kernel_;
  const Types& types_;
  const KernelMemory& memory_;
  VirtAddr mm_;
  std::vector<MemoryArea> areas_;
  std::string problem_;
  size_t nodes_ = 0;
};

}  // namespace

Expected<std::vector<MemoryArea>> find_areas(const Kernel& kernel, const Task& task) {
  if (task.mm == VirtAddr(0) || task.is_kernel_thread) return std::vector<MemoryArea>{};
  if (!kernel.types()) return std::unexpected(kernel.types().error());
  return AreaReader(kernel, task).read();
}

}  // namespace gcore::reader::linux_guest
