#include "tools/gcore-convert/dump_guest.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>

namespace gcore::tools::convert {
namespace {

constexpr uint64_t kPage = 4096;

std::string plural(uint64_t count, const char* one) {
  return std::to_string(count) + " " + one + (count == 1 ? "" : "s");
}

writer::Reason::Kind reason_kind(std::string_view name) {
  using Kind = writer::Reason::Kind;
  if (name == "signal") return Kind::signal;
  if (name == "watchdog") return Kind::watchdog;
  return name == "panic" ? Kind::panic : Kind::api;
}

bool has_unreadable(const reader::Dump& dump, const reader::Segment& segment) {
  const reader::PhysAddr last = segment.address + (segment.memory_size - 1);
  return std::ranges::any_of(dump.info().missing, [&](const reader::DumpInfo::Range& range) {
    return range.first <= last && range.last >= segment.address;
  });
}

}  // namespace

DumpGuest::DumpGuest(const reader::Dump& dump, int fd, std::vector<ChosenRange> chosen)
    : dump_(dump), chosen_(std::move(chosen)) {
  reason_.signal = dump.signal();
  collect_cpus();
  read_info();
  collect_ranges(fd);
  choose_ranges();
  if (const uint64_t missing = missing_bytes())
    notes_.push_back(plural(missing, "byte") + " of memory are not in " + dump_.path() + " and become zeros");
}

/// By their numbers, so that those that were left out are missing again, and the others keep theirs. Where the numbers
/// are of no use: as they come.
void DumpGuest::collect_cpus() {
  const auto cpus = dump_.cpus();
  size_t count = cpus.size() + dump_.info().left_out.size();
  if (count > UINT16_MAX) count = cpus.size();
  by_number_.assign(count, nullptr);
  for (const reader::Cpu& cpu : cpus) {
    if (cpu.number < count && by_number_[cpu.number] == nullptr) {
      by_number_[cpu.number] = &cpu;
      continue;
    }
    by_number_.clear();
    for (const reader::Cpu& any : cpus) by_number_.push_back(&any);
    break;
  }
  for (size_t number = 0; number < by_number_.size(); ++number)
    if (by_number_[number] != nullptr && by_number_[number]->index == dump_.faulting_cpu())
      reason_.cpu = static_cast<uint16_t>(number);
}

/// Bytes of memory that the dump does not hold, though it says that the guest has them; without those that its writer
/// could not read, which the converted dump lists too.
uint64_t DumpGuest::missing_bytes() const {
  uint64_t missing = 0;
  for (const writer::MemoryRange& range : ranges_) {
    const uint64_t last = range.address + (range.size - 1);
    for (uint64_t at = range.address;;) {
      const auto extent = dump_.next_extent(reader::PhysAddr(at));
      if (!extent || extent->address.value > last) break;
      const uint64_t size = std::min(extent->size, last - extent->address.value + 1);
      if (extent->kind == reader::Dump::Extent::Kind::missing && extent->why != reader::Missing::unreadable)
        missing += size;
      if (extent->address.value + (size - 1) == last) break;
      at = extent->address.value + size;
    }
  }
  return missing;
}

/// Cuts the ranges down to what was chosen.
void DumpGuest::choose_ranges() {
  if (chosen_.empty()) return;
  std::vector<writer::MemoryRange> kept;
  for (const writer::MemoryRange& range : ranges_) {
    const uint64_t range_last = range.address + (range.size - 1);
    for (const ChosenRange& chosen : chosen_) {
      const uint64_t first = std::max(range.address, chosen.first), last = std::min(range_last, chosen.last);
      if (first > last) continue;
      writer::MemoryRange part = range;
      part.address = first;
      part.size = last - first + 1;
      part.fd_offset += first - range.address;
      kept.push_back(part);
    }
  }
  ranges_ = std::move(kept);
}

/// What the dump's own writer noted about it.
void DumpGuest::read_info() {
  const reader::DumpInfo& info = dump_.info();
  name_ = info.vm;
  program_ = info.program;
  reason_.kind = reason_kind(info.reason_kind);
  reason_.detail = info.reason_detail;
}

/// Segments as whole pages that do not overlap. One that is so already, and stands in the file as a whole, is read from
/// the file, where holes stay holes; the others go through the reader, which knows which of two segments counts.
void DumpGuest::collect_ranges(int fd) {
  uint64_t padded = 0;
  for (const reader::Segment& segment : dump_.segments()) {
    const uint64_t start = segment.address.value & ~(kPage - 1);
    const uint64_t last = (segment.address.value + (segment.memory_size - 1)) | (kPage - 1);
    padded += (last - start + 1) - segment.memory_size;
    const bool in_file = fd >= 0 && start == segment.address.value && segment.file_size == segment.memory_size &&
                         segment.memory_size % kPage == 0 && !has_unreadable(dump_, segment);
    if (!ranges_.empty()) {
      writer::MemoryRange& before = ranges_.back();
      const uint64_t before_last = before.address + (before.size - 1);
      if (before_last >= start) {
        before.size = std::max(before_last, last) - before.address + 1;
        before.fd = -1;
        continue;
      }
    }
    writer::MemoryRange range{.address = start, .size = last - start + 1};
    if (range.size == 0) continue;  // all of 2^64 bytes: no such guest
    if (in_file) {
      range.fd = fd;
      range.fd_offset = segment.offset.value;
    }
    ranges_.push_back(range);
  }
  if (padded > 0)
    notes_.push_back("segments that are not whole pages are filled up with zeros (" + plural(padded, "byte") + ")");
}

bool DumpGuest::read_cpu(size_t index, format::RegisterFile& registers) {
  if (by_number_[index] == nullptr) return false;
  registers = by_number_[index]->registers;
  return true;
}

/// Zeros where no segment has the byte (the rest of a page), and where the segment has it and the file does not.
size_t DumpGuest::read_memory(uint64_t address, void* to, size_t size) {
  auto* bytes = static_cast<std::byte*>(to);
  size_t done = 0;
  while (done < size) {
    const auto part = dump_.read(reader::PhysAddr(address + done), {bytes + done, size - done});
    done += part.bytes;
    if (done == size) break;
    if (part.missing == reader::Missing::io_error || part.missing == reader::Missing::unreadable)
      return done / kPage * kPage;
    // Up to where there is something again, or the end of the page when that is not known.
    const auto next = dump_.next_extent(reader::PhysAddr(address + done));
    uint64_t gap = size - done;
    if (next && next->address.value > address + done) {
      gap = next->address.value - (address + done);
    } else if (next) {
      gap = next->size;
    }
    const size_t zeros = static_cast<size_t>(std::min<uint64_t>(gap, size - done));
    std::memset(bytes + done, 0, zeros);
    done += zeros;
  }
  return done;
}

}  // namespace gcore::tools::convert
