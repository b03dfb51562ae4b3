#include "tools/gcore-dump/memory.h"

#include <sys/stat.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>

#include "tools/common/program.h"

namespace gcore::tools::qemu {
namespace {

constexpr uint64_t kPage = 4096;
constexpr char kShowLayout[] = "info mtree -f";
constexpr char kShare[] = "with -object memory-backend-memfd,share=on (or -file) it is read directly";

std::string hex(uint64_t number) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%" PRIx64, number);
  return text;
}

}  // namespace

const Backing* Memory::backing_of(const RamRegion& region) const {
  for (const Backing& backing : backings_)
    if (backing.block == region.block) return backing.file.valid() ? &backing : nullptr;
  return nullptr;
}

std::expected<Memory, std::string> Memory::find(Qmp& qmp) {
  auto text = qmp.human(kShowLayout);
  if (!text) return std::unexpected(text.error().text);
  auto regions = parse_flat_view(*text);
  if (!regions) return std::unexpected("cannot make sense of QEMU's `info mtree -f`: " + regions.error());
  Memory memory;
  memory.layout_ = std::move(*text);
  for (RamRegion& region : *regions) {
    if (region.address % kPage == 0 && region.size % kPage == 0) {
      memory.regions_.push_back(std::move(region));
    } else {
      memory.notes_.push_back("left out: " + region.block + " at " + hex(region.address) +
                              ", which is not made of whole pages");
    }
  }
  const int task = qemu_task(qmp);
  for (const RamRegion& region : memory.regions_) {
    const auto same = [&](const Backing& backing) { return backing.block == region.block; };
    if (std::none_of(memory.backings_.begin(), memory.backings_.end(), same))
      memory.backings_.push_back(find_backing(qmp, region, task));
  }
  for (Backing& backing : memory.backings_) {
    uint64_t total = 0, end = 0;
    for (const RamRegion& region : memory.regions_) {
      if (region.block != backing.block) continue;
      total += region.size;
      end = std::max(end, backing.start + region.offset + region.size);
    }
    struct stat facts;
    if (backing.file.valid() &&
        (fstat(backing.file.get(), &facts) != 0 || static_cast<uint64_t>(facts.st_size) < end)) {
      backing.file.reset();
      backing.why_not = backing.name + " is smaller than the memory that it should hold";
    }
    if (!backing.file.valid() && !backing.device)
      memory.notes_.push_back("memory \"" + backing.block + "\" (" + human_size(total) +
                              ") is copied through QEMU, which is slower: " + backing.why_not + "; " +
                              (backing.remedy.empty() ? kShare : backing.remedy));
  }
  memory.note_unplugged(qmp);
  return memory;
}

/// Of a virtio-mem device's memory the guest uses the blocks that are plugged, which QMP does not name. Those that are
/// not are holes in a shared file, and QEMU's dump-guest-memory leaves them out.
void Memory::note_unplugged(Qmp& qmp) {
  const auto answer = qmp.execute("query-memory-devices");
  const llvm::json::Array* devices = answer ? answer->getAsArray() : nullptr;
  for (const llvm::json::Value& device : devices ? *devices : llvm::json::Array()) {
    const llvm::json::Object* facts = device.getAsObject();
    const llvm::json::Object* data = facts ? facts->getObject("data") : nullptr;
    if (!data || facts->getString("type").value_or("") != "virtio-mem") continue;
    const uint64_t plugged = static_cast<uint64_t>(data->getInteger("size").value_or(0));
    const uint64_t all = static_cast<uint64_t>(data->getInteger("max-size").value_or(0));
    const std::string object = data->getString("memdev").value_or("").str();
    for (const Backing& backing : backings_)
      if (plugged < all && backing.file.valid() && object.ends_with("/" + backing.block))
        notes_.push_back("memory \"" + backing.block + "\" of a virtio-mem device is in the dump with all of its " +
                         human_size(all) + ": of these the guest uses " + human_size(plugged) +
                         ", and the rest is zeros");
  }
}

std::expected<bool, std::string> Memory::is_current(Qmp& qmp) const {
  const auto text = qmp.human(kShowLayout);
  if (!text) return std::unexpected(text.error().text);
  return *text == layout_;
}

std::vector<writer::MemoryRange> Memory::shared_ranges() const {
  std::vector<writer::MemoryRange> ranges;
  for (const RamRegion& region : regions_)
    if (const Backing* backing = backing_of(region))
      ranges.push_back({.address = region.address,
                        .size = region.size,
                        .fd = backing->file.get(),
                        .fd_offset = backing->start + region.offset});
  return ranges;
}

std::expected<std::vector<writer::MemoryRange>, std::string> Memory::ranges(Qmp& qmp, const CaptureLimits& to) {
  std::vector<writer::MemoryRange> ranges;
  uint64_t run_start = 0, run_size = 0;  // neighbours that have to be captured
  const auto end_run = [&]() -> std::expected<void, std::string> {
    if (run_size == 0) return {};
    auto done = capture_run(qmp, run_start, run_size, to);
    run_size = 0;
    return done;
  };
  for (const RamRegion& region : regions_) {
    const Backing* backing = backing_of(region);
    if (run_size > 0 && (backing || run_start + run_size != region.address))
      if (auto done = end_run(); !done) return std::unexpected(done.error());
    if (backing) {
      ranges.push_back({.address = region.address,
                        .size = region.size,
                        .fd = backing->file.get(),
                        .fd_offset = backing->start + region.offset});
    } else {
      if (run_size == 0) run_start = region.address;
      run_size += region.size;
    }
  }
  if (auto done = end_run(); !done) return std::unexpected(done.error());
  ranges.insert(ranges.end(), captured_.begin(), captured_.end());
  return ranges;
}

std::expected<void, std::string> Memory::capture_run(Qmp& qmp, uint64_t address, uint64_t size,
                                                     const CaptureLimits& to) {
  auto captured = capture(qmp, address, size, to);
  const bool nothing_there = !captured && captured.error().text.find("no guest memory to dump") != std::string::npos;
  if (!captured && !nothing_there) return std::unexpected(captured.error().text);
  if (captured && captured->dump->truncated())
    return std::unexpected("QEMU's dump-guest-memory wrote a part of the " + std::to_string(size) + " bytes at " +
                           hex(address));
  uint64_t covered = 0;
  if (captured) {
    for (const reader::Segment& segment : captured->dump->segments()) {
      const bool inside = segment.address.value >= address && segment.address.value - address <= size &&
                          segment.memory_size <= size - (segment.address.value - address);
      if (!inside || segment.file_size != segment.memory_size || segment.memory_size % kPage != 0) continue;
      covered += segment.memory_size;
      captured_.push_back({.address = segment.address.value,
                           .size = segment.memory_size,
                           .fd = captured->file.get(),
                           .fd_offset = segment.offset.value});
    }
    captures_.push_back(std::move(*captured));
  }
  if (covered < size)
    notes_.push_back("left out, as QEMU's dump-guest-memory does: " + human_size(size - covered) + " of the " +
                     human_size(size) + " at " + hex(address) + " (memory that a virtio-mem device has not plugged)");
  return {};
}

}  // namespace gcore::tools::qemu
