// block/bdev.c: a pseudo file system, "bdev", has an inode for each disk and each partition; block/blk-mq.h: a disk's
// queue has sets of tags, and a tag names the request that uses it, or used it last.
#include "reader/guest/linux/disks.h"

#include <algorithm>
#include <set>

#include "reader/guest/linux/file_systems.h"

namespace gcore::reader::linux_guest {
namespace {

constexpr size_t kMaxDisks = 1024, kMaxInodes = 1 << 16, kMaxName = 32;
constexpr uint64_t kMaxQueues = 4096, kMaxTags = 10240;  // block/blk-mq.h: BLK_MQ_MAX_DEPTH
constexpr size_t kMaxTagsInAll = 1 << 18;
constexpr uint64_t kInFlight = 1;  // MQ_RQ_IN_FLIGHT

struct Layout {
  uint64_t inodes = 0, link = 0, inode_at = 0, disk = 0, name = 0, queue = 0;
  uint64_t tag_set = 0, queues = 0, tags = 0, tag_count = 0, requests = 0;
  uint64_t request_queue = 0, tag = 0, state = 0, start = 0;

  static std::optional<Layout> of(const Kernel& kernel) {
    Layout found;
    const auto learn = [&](uint64_t& value, std::string_view type, std::string_view path) {
      const auto offset = kernel.offset(type, path);
      value = offset.value_or(0);
      return offset.has_value();
    };
    const bool all = learn(found.inodes, "super_block", "s_inodes") && learn(found.link, "inode", "i_sb_list") &&
                     learn(found.inode_at, "bdev_inode", "vfs_inode") &&
                     learn(found.disk, "bdev_inode", "bdev.bd_disk") && learn(found.name, "gendisk", "disk_name") &&
                     learn(found.queue, "gendisk", "queue") && learn(found.tag_set, "request_queue", "tag_set") &&
                     learn(found.queues, "blk_mq_tag_set", "nr_hw_queues") &&
                     learn(found.tags, "blk_mq_tag_set", "tags") && learn(found.tag_count, "blk_mq_tags", "nr_tags") &&
                     learn(found.requests, "blk_mq_tags", "rqs") && learn(found.request_queue, "request", "q") &&
                     learn(found.tag, "request", "tag") && learn(found.state, "request", "state") &&
                     learn(found.start, "request", "start_time_ns");
    return all ? std::optional(found) : std::nullopt;
  }
};

class DiskReader {
 public:
  DiskReader(const Kernel& kernel, const Layout& layout) : memory_(kernel.memory()), layout_(layout) {}

  std::vector<Disk> read(VirtAddr super_block) {
    const VirtAddr head = super_block + layout_.inodes;
    auto link = memory_.pointer(head);
    for (size_t n = 0; link && *link != head && n < kMaxInodes; ++n, link = memory_.pointer(*link)) {
      const VirtAddr device(link->value - layout_.link - layout_.inode_at);
      const auto disk = memory_.pointer(device + layout_.disk);
      if (disk && *disk != VirtAddr(0) && seen_.insert(disk->value).second && seen_.size() <= kMaxDisks)
        read_disk(*disk);
    }
    return std::move(disks_);
  }

 private:
  void read_disk(VirtAddr disk) {
    const auto name = memory_.text(disk + layout_.name, kMaxName);
    const auto queue = memory_.pointer(disk + layout_.queue);
    if (!name || name->empty() || !queue || !memory_.is_kernel_address(*queue)) return;
    disks_.push_back({.name = *name});
    const auto set = memory_.pointer(*queue + layout_.tag_set);
    if (!set || !memory_.is_kernel_address(*set)) return;  // no queue of requests
    const auto queues = memory_.u32(*set + layout_.queues);
    const auto tags = memory_.pointer(*set + layout_.tags);
    if (!queues || !tags) return;
    std::set<uint64_t> looked_at;  // queues may share their tags
    for (uint64_t i = 0; i < std::min<uint64_t>(*queues, kMaxQueues) && tags_read_ < kMaxTagsInAll; ++i)
      if (const auto one = memory_.pointer(*tags + i * 8); one && looked_at.insert(one->value).second)
        read_tags(*one, *queue, disks_.back());
  }

  void read_tags(VirtAddr tags, VirtAddr queue, Disk& disk) {
    const auto count = memory_.u32(tags + layout_.tag_count);
    const auto requests = memory_.pointer(tags + layout_.requests);
    if (!count || !requests) return;
    for (uint64_t i = 0; i < std::min<uint64_t>(*count, kMaxTags) && tags_read_ < kMaxTagsInAll; ++i, ++tags_read_) {
      const auto request = memory_.pointer(*requests + i * 8);
      if (!request || !memory_.is_kernel_address(*request)) continue;
      if (memory_.pointer(*request + layout_.request_queue) != queue || memory_.u32(*request + layout_.tag) != i ||
          memory_.u32(*request + layout_.state) != kInFlight)
        continue;
      ++disk.in_flight;
      if (const auto start = memory_.u64(*request + layout_.start); start && *start != 0)
        disk.oldest_ns = std::min(disk.oldest_ns.value_or(*start), *start);
    }
  }

  const KernelMemory& memory_;
  const Layout& layout_;
  std::set<uint64_t> seen_;  // disks
  size_t tags_read_ = 0;
  std::vector<Disk> disks_;
};

}  // namespace

std::vector<Disk> find_disks(const Kernel& kernel) {
  const auto layout = Layout::of(kernel);
  if (!layout) return {};
  const auto file_systems = find_file_systems(kernel);
  const auto devices = std::ranges::find(file_systems, std::string_view("bdev"), &FileSystem::type);
  if (devices == file_systems.end()) return {};
  return DiskReader(kernel, *layout).read(devices->super_block);
}

}  // namespace gcore::reader::linux_guest
