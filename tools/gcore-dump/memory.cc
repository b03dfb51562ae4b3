#include "tools/gcore-dump/memory.h"

#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <set>
#include <span>

#include "tools/common/program.h"
#include "tools/gcore-dump/scratch.h"
#include "writer/base/sparse_file.h"

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
  const auto found = std::ranges::find(backings_, region.block, &Backing::block);
  return found != backings_.end() ? &*found : nullptr;
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
  for (const RamRegion& region : memory.regions_)
    if (!memory.backing_of(region)) memory.backings_.push_back(find_backing(qmp, region, task));
  for (Backing& backing : memory.backings_) memory.check_file(backing);
  const std::set<std::string> virtio_mem = memory.find_virtio_mem(qmp);
  for (Backing& backing : memory.backings_)
    if (!virtio_mem.contains(backing.block)) memory.open_process(backing, task);
  for (const Backing& backing : memory.backings_) {
    if (backing.is_direct() || backing.device) continue;
    uint64_t total = 0;
    for (const RamRegion& region : memory.regions_)
      if (region.block == backing.block) total += region.size;
    memory.notes_.push_back("memory \"" + backing.block + "\" (" + human_size(total) +
                            ") is copied through QEMU, which is slower: " + backing.why_not + "; " +
                            (backing.remedy.empty() ? kShare : backing.remedy));
  }
  return memory;
}

/// A file that is too small is of no use.
void Memory::check_file(Backing& backing) const {
  uint64_t end = 0;
  for (const RamRegion& region : regions_)
    if (region.block == backing.block) end = std::max(end, backing.start + region.offset + region.size);
  struct stat facts;
  if (!backing.file || (fstat(backing.file.get(), &facts) == 0 && static_cast<uint64_t>(facts.st_size) >= end)) return;
  backing.file.reset();
  backing.why_not = backing.name + " is smaller than the memory that it should hold";
  backing.host.reset();  // QEMU, too, would run into its end
}

/// Without a file: QEMU's own memory.
void Memory::open_process(Backing& backing, int task) {
  if (backing.file || !backing.host) return;
  uint64_t first = UINT64_MAX, end = 0;
  for (const RamRegion& region : regions_)
    if (region.block == backing.block) {
      first = std::min(first, region.offset);
      end = std::max(end, region.offset + region.size);
    }
  if (auto opened = ProcessMemory::open(task, *backing.host + first, end - first)) {
    backing.process = std::move(*opened);
  } else {
    backing.why_not += ", and " + opened.error();
  }
}

/// The blocks of virtio-mem devices. Of a virtio-mem device's memory the guest uses the blocks that are plugged, which
/// QMP does not name. Those that are not are holes in a shared file, which is noted, and QEMU's dump-guest-memory
/// leaves them out.
std::set<std::string> Memory::find_virtio_mem(Qmp& qmp) {
  std::set<std::string> blocks;
  const auto answer = qmp.execute("query-memory-devices");
  const llvm::json::Array* devices = answer ? answer->getAsArray() : nullptr;
  for (const llvm::json::Value& device : devices ? *devices : llvm::json::Array()) {
    const llvm::json::Object* facts = device.getAsObject();
    const llvm::json::Object* data = facts ? facts->getObject("data") : nullptr;
    if (!data || facts->getString("type").value_or("") != "virtio-mem") continue;
    const uint64_t plugged = static_cast<uint64_t>(data->getInteger("size").value_or(0));
    const uint64_t all = static_cast<uint64_t>(data->getInteger("max-size").value_or(0));
    const std::string object = data->getString("memdev").value_or("").str();
    for (const Backing& backing : backings_) {
      if (!object.ends_with("/" + backing.block)) continue;
      blocks.insert(backing.block);
      if (plugged < all && backing.file)
        notes_.push_back("memory \"" + backing.block + "\" of a virtio-mem device is in the dump with all of its " +
                         human_size(all) + ": of these the guest uses " + human_size(plugged) +
                         ", and the rest is zeros");
    }
  }
  return blocks;
}

std::expected<bool, std::string> Memory::is_current(Qmp& qmp) const {
  const auto text = qmp.human(kShowLayout);
  if (!text) return std::unexpected(text.error().text);
  return *text == layout_;
}

std::vector<Readable> Memory::readable() {
  std::vector<Readable> all;
  for (const RamRegion& region : regions_) {
    const Backing* backing = backing_of(region);
    if (backing->file) {
      all.push_back({.fd = backing->file.get(), .start = backing->start + region.offset, .size = region.size});
    } else if (backing->process) {
      all.push_back({.process = &*backing->process, .start = *backing->host + region.offset, .size = region.size});
    }
  }
  return all;
}

writer::MemoryRange Memory::range_in_file(const RamRegion& region, const Backing& backing) const {
  return {.address = region.address,
          .size = region.size,
          .fd = backing.file.get(),
          .fd_offset = backing.start + region.offset};
}

std::expected<std::vector<writer::MemoryRange>, std::string> Memory::ranges(Qmp& qmp, Private how,
                                                                            const CaptureLimits& to) {
  std::vector<writer::MemoryRange> ranges;
  std::vector<RamRegion> aside;
  uint64_t run_start = 0, run_size = 0;  // neighbours that have to be captured
  const auto end_run = [&]() -> std::expected<void, std::string> {
    if (run_size == 0) return {};
    auto done = capture_run(qmp, run_start, run_size, to);
    run_size = 0;
    return done;
  };
  for (const RamRegion& region : regions_) {
    const Backing* backing = backing_of(region);
    if (run_size > 0 && (backing->is_direct() || run_start + run_size != region.address))
      if (auto done = end_run(); !done) return std::unexpected(done.error());
    if (backing->file) {
      ranges.push_back(range_in_file(region, *backing));
    } else if (backing->process && how == Private::aside) {
      aside.push_back(region);
    } else if (backing->process) {
      ranges.push_back({.address = region.address, .size = region.size});
    } else {
      if (run_size == 0) run_start = region.address;
      run_size += region.size;
    }
  }
  if (auto done = end_run(); !done) return std::unexpected(done.error());
  if (auto done = copy_aside(aside, to); !done) return std::unexpected(done.error());
  ranges.insert(ranges.end(), copied_.begin(), copied_.end());
  return ranges;
}

std::expected<void, std::string> Memory::copy_aside(const std::vector<RamRegion>& regions, const CaptureLimits& to) {
  uint64_t size = 0;
  for (const RamRegion& region : regions) size += region.size;
  if (size == 0) return {};
  auto file = scratch_file(size, to.directory);
  if (!file) return std::unexpected(file.error());
  aside_ = std::move(*file);
  if (ftruncate(aside_.get(), static_cast<off_t>(size)) != 0) return std::unexpected(std::strerror(errno));
  uint64_t offset = 0;
  for (const RamRegion& region : regions) {
    if (auto done = copy_region(region, aside_.get(), offset, to); !done) return done;
    copied_.push_back(
        {.address = region.address, .size = region.size, .fd = aside_.get(), .fd_offset = offset, .is_copy = true});
    offset += region.size;
  }
  return {};
}

std::expected<void, std::string> Memory::copy_region(const RamRegion& region, int fd, uint64_t offset,
                                                     const CaptureLimits& to) {
  constexpr uint64_t kBlock = 256 << 10;
  const Backing& backing = *backing_of(region);
  const ProcessMemory& process = *backing.process;
  std::vector<char> block(kBlock);
  for (uint64_t done = 0; done < region.size;) {
    if (std::chrono::steady_clock::now() > to.deadline) return std::unexpected(kDeadlineCame);
    pollfd told{to.give_up, POLLIN, 0};
    if (poll(&told, 1, 0) > 0) return std::unexpected("told to end");
    const uint64_t from = *backing.host + region.offset + done;
    if (const uint64_t holes = process.untouched(from, region.size - done); holes > 0) {
      done += holes;
      continue;
    }
    const size_t wanted = static_cast<size_t>(std::min(kBlock, region.size - done));
    const size_t got = process.read(from, block.data(), wanted);
    if (got == 0) return std::unexpected("cannot read QEMU's process at " + hex(from) + ": " + std::strerror(errno));
    const auto bytes = std::as_bytes(std::span(block)).first(got);
    if (const int problem = base::write_sparse(fd, bytes, offset + done); problem != 0)
      return std::unexpected("cannot write a copy of it to a temporary file in " + to.directory + ": " +
                             std::strerror(problem));
    done += got;
  }
  return {};
}

size_t Memory::read(uint64_t address, void* to, size_t size) const {
  for (const RamRegion& region : regions_) {
    if (address < region.address || address - region.address >= region.size) continue;
    const Backing* backing = backing_of(region);
    if (!backing->process) return 0;
    const uint64_t at = address - region.address;
    return backing->process->read(*backing->host + region.offset + at, to,
                                  static_cast<size_t>(std::min<uint64_t>(size, region.size - at)));
  }
  return 0;
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
      copied_.push_back({.address = segment.address.value,
                         .size = segment.memory_size,
                         .fd = captured->file.get(),
                         .fd_offset = segment.offset.value,
                         .is_copy = true});
    }
    captures_.push_back(std::move(*captured));
  }
  if (covered < size)
    notes_.push_back("left out, as QEMU's dump-guest-memory does: " + human_size(size - covered) + " of the " +
                     human_size(size) + " at " + hex(address) + " (memory that a virtio-mem device has not plugged)");
  return {};
}

}  // namespace gcore::tools::qemu
