#include "reader/guest/qnx/qnx_kernel.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "writer/format/endian.h"
#include "writer/format/machine.h"

namespace gcore::reader {
namespace {

constexpr size_t kMaxEntries = 65535;  // of a vector; its count has 16 bits
constexpr size_t kMaxName = 128;
constexpr uint64_t kIndirect = 0x8000;  // in an offset: a pointer stands there
constexpr uint64_t kMaxRing = 1 << 20;
constexpr size_t kMaxThreads = 1 << 15,
                 kMaxLooked = 1 << 20;  // of all processes: threads, and entries of their vectors
constexpr size_t kMaxCpusTried = 16;
constexpr uint64_t kOldEntries = 8, kOldCount = 0;  // in a vector of a 6.x kernel

std::unexpected<Error> none(std::string why) {
  return std::unexpected(Error{Error::Kind::not_present, std::move(why)});
}

std::unexpected<Error> no_system_page() {
  return none(
      "this dump does not name a QNX system page, without which processes cannot be found; "
      "--root and `monitor as` look through a page table that you know");
}

}  // namespace

/// Where things are in a 32-bit or a 64-bit kernel.
struct QnxKernel::Layout {
  size_t pointer;
  uint64_t private_kdebug_info;
  uint64_t info_kdebug_private, info_kdump_private;
  uint64_t vector, vector_version, thread_registers, pid, name, threads, memory;  // in kdebug_private
  uint64_t page_directory;                                                        // in kdump_private
  uint64_t entries, count;                                                        // in a vector, 7.x

  static const Layout& of(format::Machine machine) {
    static constexpr Layout k32{4, 16, 20, 36, 16, 20, 24, 28, 30, 34, 40, 8, 4, 8};
    static constexpr Layout k64{8, 160, 40, 72, 32, 40, 44, 48, 50, 54, 60, 16, 8, 16};
    return format::machine_info(machine).word_bytes == 4 ? k32 : k64;
  }
};

Expected<QnxKernel> QnxKernel::find(const Guest& guest, size_t cpu) { return find(guest, cpu, GuestSearch::thorough); }

Expected<QnxKernel> QnxKernel::find(const Guest& guest) {
  const size_t count = std::min(guest.dump().cpus().size(), kMaxCpusTried), first = guest.dump().faulting_cpu();
  auto found = find(guest, first, GuestSearch::quick);
  for (size_t cpu = 0; cpu < count && !(found && found->processes()); ++cpu) {
    if (cpu == first) continue;
    auto other = find(guest, cpu, GuestSearch::quick);
    if (other && (!found || other->processes())) found = std::move(other);
  }
  return found;
}

Expected<QnxKernel> QnxKernel::find(const Guest& guest, size_t cpu, GuestSearch search) {
  const auto& facts = guest.dump().kdump_facts();
  if (!facts || !facts->syspage) return no_system_page();
  auto space = guest.space_of_cpu(cpu, search);
  if (!space) return std::unexpected(space.error());
  QnxKernel kernel(guest.dump(), *std::move(space), Layout::of(guest.dump().machine()));
  if (const auto opened = kernel.open(facts->syspage->address); !opened) return std::unexpected(opened.error());
  return kernel;
}

std::optional<uint64_t> QnxKernel::number_of(std::span<const std::byte> bytes) const {
  uint64_t value = 0;
  const bool big = dump_->byte_order() == format::ByteOrder::big;
  for (size_t i = 0; i < bytes.size(); ++i)
    value = value << 8 | static_cast<uint64_t>(bytes[big ? i : bytes.size() - 1 - i]);
  return value;
}

std::optional<uint64_t> QnxKernel::number(uint64_t address, size_t size) const {
  std::array<std::byte, 8> bytes{};
  const auto into = std::span(bytes).first(size);
  return space_.read(VirtAddr(address), into).bytes == size ? number_of(into) : std::nullopt;
}

std::optional<uint64_t> QnxKernel::physical_number(PhysAddr address, size_t size) const {
  std::array<std::byte, 8> bytes{};
  const auto into = std::span(bytes).first(size);
  return dump_->read(address, into).bytes == size ? number_of(into) : std::nullopt;
}

std::optional<uint64_t> QnxKernel::pointer(std::optional<uint64_t> address) const {
  return address ? number(*address, layout_->pointer) : std::nullopt;
}

Expected<void> QnxKernel::open(PhysAddr page) {
  const auto type = physical_number(page + 4, 2), offset = physical_number(page + 8, 2),
             size = physical_number(page + 10, 2);
  if (type != format::machine_info(dump_->machine()).system_page_type || !offset || !size || *offset == 0 ||
      *size < layout_->private_kdebug_info + layout_->pointer)
    return no_system_page();
  const auto info = physical_number(page + (*offset + layout_->private_kdebug_info), layout_->pointer);
  const auto debug = info ? pointer(*info + layout_->info_kdebug_private) : std::nullopt;
  const auto dump = info ? pointer(*info + layout_->info_kdump_private) : std::nullopt;
  if (!debug || !dump) return none("the kernel's kdebug_info cannot be read");
  debug_ = *debug;
  private_ = *dump;
  return {};
}

std::optional<uint64_t> QnxKernel::field(uint64_t base, uint64_t offset_at) const {
  const auto offset = number(debug_ + offset_at, 2);
  if (!offset) return std::nullopt;
  if ((*offset & kIndirect) != 0) return pointer(base + (*offset & ~kIndirect));
  return base + *offset;
}

/// The pointers of a vector; 0 for an entry that is free.
std::vector<uint64_t> QnxKernel::vector_entries(uint64_t vector) const {
  const bool old = layout_->pointer == 4 && number(debug_ + layout_->vector_version, 2) == 0;
  const auto entries = pointer(vector + (old ? kOldEntries : layout_->entries));
  const auto count = number(vector + (old ? kOldCount : layout_->count), 2);
  std::vector<uint64_t> all;
  if (!entries || !count) return all;
  std::vector<std::byte> bytes(std::min<uint64_t>(*count, kMaxEntries) * layout_->pointer);
  bytes.resize(space_.read(VirtAddr(*entries), bytes).bytes);
  for (size_t at = 0; at + layout_->pointer <= bytes.size(); at += layout_->pointer) {
    const uint64_t entry = *number_of(std::span(bytes).subspan(at, layout_->pointer));
    all.push_back((entry & 1) != 0 ? 0 : entry);
  }
  return all;
}

std::string QnxKernel::text(uint64_t address) const {
  std::string bytes(kMaxName, '\0');
  bytes.resize(space_.read(VirtAddr(address), std::as_writable_bytes(std::span(bytes))).bytes);
  bytes.resize(std::min(bytes.find('\0'), bytes.size()));
  for (char& c : bytes)
    if (c < 0x20 || c > 0x7e) c = '?';
  return bytes;
}

Expected<std::vector<QnxProcess>> QnxKernel::processes() const {
  const auto vector = pointer(debug_ + layout_->vector);
  if (!vector) return none("the kernel's process vector cannot be read");
  std::vector<QnxProcess> all;
  for (const uint64_t entry : vector_entries(*vector)) {
    if (entry == 0) continue;
    const auto pid_at = field(entry, layout_->pid);
    const auto pid = pid_at ? number(*pid_at, 4) : std::nullopt;
    if (!pid) continue;
    const auto name = pointer(field(entry, layout_->name));
    all.push_back({static_cast<uint32_t>(*pid), name ? text(*name) : "", VirtAddr(entry)});
  }
  return all;
}

std::vector<uint64_t> QnxKernel::thread_entries(const QnxProcess& process) const {
  const auto threads = field(process.address.value, layout_->threads);
  return threads ? vector_entries(*threads) : std::vector<uint64_t>{};
}

std::vector<uint64_t> QnxKernel::threads(const QnxProcess& process) const {
  const auto all = thread_entries(process);
  std::vector<uint64_t> ids;
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i] != 0) ids.push_back(i + 1);
  return ids;
}

std::expected<PhysAddr, std::string> QnxKernel::root_of(const QnxProcess& process) const {
  const auto memory = pointer(field(process.address.value, layout_->memory));
  const auto offset = number(private_ + layout_->page_directory, 2);
  const auto table = memory && offset ? pointer(*memory + *offset) : std::nullopt;
  if (!table) return std::unexpected("it is not there");
  const auto there = space_.translate(VirtAddr(*table));
  if (!there) return std::unexpected(there.error().text);
  return there->address;
}

std::optional<format::RegisterFile> QnxKernel::registers_of(uint64_t thread) const {
  const auto at = field(thread, layout_->thread_registers);
  std::vector<std::byte> set(format::cpu_register_set_size(dump_->machine()));
  if (!at || space_.read(VirtAddr(*at), set).bytes != set.size()) return std::nullopt;
  format::RegisterFile file(dump_->machine());
  const auto registers = format::registers(dump_->machine());
  for (size_t slot = 0; slot < registers.size() && registers[slot].core_offset >= 0; ++slot)
    file.set_slot(slot, *number_of(std::span(set).subspan(static_cast<size_t>(registers[slot].core_offset),
                                                          registers[slot].bytes)));
  return file;
}

Expected<QnxThread> QnxKernel::thread(uint64_t pid, uint64_t id) const {
  const auto known = processes();
  if (!known) return std::unexpected(known.error());
  const auto process = std::ranges::find(*known, pid, &QnxProcess::pid);
  if (process == known->end()) return none(fmt::format("there is no process {}; `monitor pid` lists them", pid));
  const auto all = thread_entries(*process);
  if (id == 0 || id > all.size() || all[id - 1] == 0) return none(fmt::format("process {} has no thread {}", pid, id));
  const auto root = root_of(*process);
  if (!root) return none(fmt::format("the root table of process {} cannot be found: {}", pid, root.error()));
  auto registers = registers_of(all[id - 1]);
  if (!registers) return none(fmt::format("the registers of thread {}-{} cannot be read", pid, id));
  return QnxThread{*process, id, *root, *std::move(registers)};
}

Expected<QnxTasks> QnxKernel::tasks() const {
  auto known = processes();
  if (!known) return std::unexpected(known.error());
  QnxTasks tasks;
  size_t threads = 0, looked = 0, left_out = 0;
  for (QnxProcess& process : *known) {
    QnxTask task{.process = std::move(process)};
    if (const auto root = root_of(task.process)) task.root = *root;
    if (looked >= kMaxLooked || threads >= kMaxThreads) ++left_out;
    const auto entries =
        looked < kMaxLooked && threads < kMaxThreads ? thread_entries(task.process) : std::vector<uint64_t>{};
    looked += entries.size();
    for (size_t i = 0; i < entries.size() && threads < kMaxThreads; ++i) {
      if (entries[i] == 0) continue;
      task.threads.push_back({.id = i + 1, .registers = registers_of(entries[i])});
      ++threads;
    }
    tasks.list.push_back(std::move(task));
  }
  if (left_out != 0)
    tasks.problems.push_back(
        fmt::format("the threads of {} of the processes are left out: there would be more than {}", left_out, threads));
  return tasks;
}

/// The structure is the one in docs/format.md's "kernel-message ring": sizes first, then the buffer. Segment number 0
/// also says "unknown", so nothing is believed that does not fit.
Expected<std::string> qnx_messages(const Dump& dump) {
  const auto no_ring = none(
      "this dump has no kernel message ring: only a QNX kernel's own dump carries one, a dump that a VMM took does "
      "not");
  const auto& facts = dump.kdump_facts();
  if (!facts || !facts->dumpinfo) return no_ring;
  const size_t header = dump.is_64_bit() ? 44 : 40;
  std::array<std::byte, 44> raw{};
  const auto& segment = *facts->dumpinfo;
  if (segment.memory_size <= header || dump.read(segment.address, std::span(raw).first(header)).bytes != header)
    return no_ring;
  const uint32_t size = format::load<uint32_t>(&raw[header - 8], dump.byte_order());
  const uint32_t index = format::load<uint32_t>(&raw[header - 4], dump.byte_order());
  if (size == 0 || size > kMaxRing || size > segment.memory_size - header || index > size) return no_ring;
  std::string ring(size, '\0');
  if (dump.read(segment.address + header, std::as_writable_bytes(std::span(ring))).bytes != size) return no_ring;
  std::rotate(ring.begin(), ring.begin() + index % size, ring.end());
  std::erase_if(ring, [](char c) { return c == '\0' || c == '\r'; });
  const auto is_text = [](unsigned char c) { return (c >= 0x20 && c < 0x7f) || c == '\n' || c == '\t'; };
  if (ring.empty() || !std::ranges::all_of(ring, is_text)) return no_ring;
  return ring.ends_with('\n') ? ring : ring + "\n";
}

}  // namespace gcore::reader
