#include "tools/gcore-convert/dump_guest.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "reader/guest/linux/kernel.h"

namespace gcore::tools::convert {
namespace {

constexpr uint64_t kPage = 4096;

std::string plural(uint64_t count, const char* one) {
  return std::to_string(count) + " " + one + (count == 1 ? "" : "s");
}

std::optional<writer::Reason::Kind> reason_kind(std::string_view name) {
  using Kind = writer::Reason::Kind;
  for (const auto& [known, kind] : {std::pair("api", Kind::api), std::pair("signal", Kind::signal),
                                    std::pair("watchdog", Kind::watchdog), std::pair("panic", Kind::panic)})
    if (name == known) return kind;
  return std::nullopt;
}

std::optional<writer::Consistency> consistency(std::string_view name) {
  using writer::Consistency;
  for (const auto& [known, value] :
       {std::pair("paused", Consistency::paused), std::pair("snapshot", Consistency::snapshot),
        std::pair("torn", Consistency::torn)})
    if (name == known) return value;
  return std::nullopt;
}

/// What the dump says of how it was taken.
writer::EarlierDump what_it_says(const reader::DumpInfo& info) {
  const auto time = [](const std::optional<uint64_t>& count) -> std::optional<std::chrono::nanoseconds> {
    if (!count || *count > INT64_MAX) return std::nullopt;
    return std::chrono::nanoseconds(*count);
  };
  return {.requested = time(info.requested_ns),
          .paused = time(info.pause_ns),
          .has_reason = reason_kind(info.reason_kind).has_value(),
          .consistency = consistency(info.consistency),
          .defects = info.source_defects};
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
}

/// By their numbers, with those that were left out. Where the numbers are of no use: as they come.
void DumpGuest::collect_cpus() {
  for (const reader::Cpu& cpu : dump_.cpus()) cpus_.emplace_back(cpu.number, &cpu);
  for (const uint32_t number : dump_.info().left_out) cpus_.emplace_back(number, nullptr);
  std::ranges::stable_sort(cpus_, {}, [](const auto& cpu) { return cpu.first; });
  const auto same = [](const auto& a, const auto& b) { return a.first == b.first; };
  if (!cpus_.empty() && (cpus_.back().first > UINT16_MAX || std::ranges::adjacent_find(cpus_, same) != cpus_.end())) {
    cpus_.clear();
    for (const reader::Cpu& cpu : dump_.cpus()) cpus_.emplace_back(cpus_.size(), &cpu);
  }
  for (const auto& [number, cpu] : cpus_)
    if (cpu != nullptr && cpu->index == dump_.faulting_cpu()) reason_.cpu = static_cast<uint16_t>(number);
}

void DumpGuest::find_running_threads() {
  const auto kernel = reader::linux_guest::Kernel::find(dump_, guest_.system());
  if (!kernel) return;
  for (const auto& [number, cpu] : cpus_) {
    const auto current = cpu ? (*kernel)->current_task(cpu->index) : std::nullopt;
    const auto task = current ? (*kernel)->task_at(*current) : std::nullopt;
    thread_ids_.emplace_back(task && task->pid >= 0 ? std::optional(static_cast<uint32_t>(task->pid)) : std::nullopt);
  }
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
  taken_ = what_it_says(info);
  for (std::string& defect : dump_.damage()) taken_.defects.push_back(std::move(defect));
  reason_.kind = reason_kind(info.reason_kind).value_or(writer::Reason::Kind::api);
  reason_.detail = info.reason_detail;
  taken_.found_meanwhile = [this] { return found_meanwhile(); };
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
  if (cpus_[index].second == nullptr) return false;
  registers = cpus_[index].second->registers;
  return true;
}

/// What the dump itself does not say is missing: nobody knew before.
void DumpGuest::note_unread(uint64_t address, reader::Missing why) {
  if (why != reader::Missing::damaged && why != reader::Missing::io_error) return;
  const bool is_trouble = why == reader::Missing::io_error && !dump_.trouble().empty();
  if (on_trouble_ && (is_trouble || also_damage_)) on_trouble_();
  const std::lock_guard lock(mutex_);
  const auto found = first_unread_.emplace(why, address).first;
  found->second = std::min(found->second, address);
}

std::vector<std::string> DumpGuest::found_meanwhile() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> found;
  for (const auto& [why, address] : first_unread_) {
    char where[64];
    std::snprintf(where, sizeof where, ", at guest-physical 0x%" PRIx64 " first", address);
    found.push_back((why == reader::Missing::damaged ? "its compressed data is damaged: memory cannot be unpacked"
                                                     : "its file cannot be read everywhere") +
                    std::string(where));
  }
  return found;
}

/// Zeros where no segment has the byte (the rest of a page). A page with a byte that a segment has and the file does
/// not is one that cannot be read.
size_t DumpGuest::read_memory(uint64_t address, void* to, size_t size) {
  auto* bytes = static_cast<std::byte*>(to);
  size_t done = 0;
  while (done < size) {
    const auto part = dump_.read(reader::PhysAddr(address + done), {bytes + done, size - done});
    done += part.bytes;
    if (done == size) break;
    note_unread(address + done, part.missing);
    if (part.missing != reader::Missing::not_in_any_segment) return done / kPage * kPage;
    const auto next = dump_.next_extent(reader::PhysAddr(address + done));
    uint64_t gap = size - done;
    if (next && next->address.value > address + done) gap = next->address.value - (address + done);
    const size_t zeros = static_cast<size_t>(std::min<uint64_t>(gap, size - done));
    std::memset(bytes + done, 0, zeros);
    done += zeros;
  }
  return done;
}

/// Holes, and frames of zeros: they need not be unpacked to be found.
writer::Guest::Stretch DumpGuest::known_memory(uint64_t address, uint64_t limit) {
  const auto extent = dump_.next_extent(reader::PhysAddr(address));
  if (!extent) return {limit, false};
  const bool zero = extent->kind == reader::Dump::Extent::Kind::zero && extent->address.value == address;
  // Where zeros start or end within a page, that page is read.
  const uint64_t end = zero ? extent->size / kPage * kPage
                            : (extent->address.value - address + extent->size + kPage - 1) / kPage * kPage;
  if (end == 0) return {std::min(kPage, limit), false};
  return {std::min(end, limit), zero};
}

}  // namespace gcore::tools::convert
