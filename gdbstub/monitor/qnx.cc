#include "gdbstub/monitor/qnx.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace gcore::gdbstub {
namespace {

constexpr size_t kMaxEntries = 65535;  // of a vector; its count has 16 bits
constexpr size_t kMaxName = 128;
constexpr uint64_t kIndirect = 0x8000;  // in an offset: a pointer stands there

/// Where things are in a 32-bit or a 64-bit kernel.
struct Layout {
  size_t pointer;
  uint64_t private_kdebug_info;
  uint64_t info_kdebug_private, info_kdump_private;
  uint64_t vector, vector_version, thread_registers, pid, name, threads, memory;  // in kdebug_private
  uint64_t page_directory;                                                        // in kdump_private
  uint64_t entries, count;                                                        // in a vector, 7.x
};
constexpr Layout k32{4, 16, 20, 36, 16, 20, 24, 28, 30, 34, 40, 8, 4, 8};
constexpr Layout k64{8, 160, 40, 72, 32, 40, 44, 48, 50, 54, 60, 16, 8, 16};
constexpr uint64_t kOldEntries = 8, kOldCount = 0;  // in a vector of a 6.x kernel

class Kernel {
 public:
  Kernel(const Target& target, size_t cpu)
      : target_(target),
        space_{.cpu = cpu, .physical = false, .root = {}},
        layout_(target.arch() == Arch::i386 ? k32 : k64) {}

  /// Finds the structures; the error is one sentence.
  std::expected<void, std::string> open();
  std::expected<std::vector<QnxProcess>, std::string> processes() const;
  std::expected<QnxThread, std::string> thread(const QnxProcess& process, uint64_t tid) const;

 private:
  std::optional<uint64_t> number(uint64_t address, size_t size, bool physical = false) const;
  std::optional<uint64_t> pointer(std::optional<uint64_t> address) const {
    return address ? number(*address, layout_.pointer) : std::nullopt;
  }
  /// The address of a field whose offset inside its structure the kernel says in kdebug_private.
  std::optional<uint64_t> field(uint64_t base, uint64_t offset_at) const;
  std::vector<uint64_t> vector_entries(uint64_t vector) const;
  std::string text(uint64_t address) const;

  const Target& target_;
  Space space_;
  Layout layout_;
  uint64_t debug_ = 0, dump_ = 0;  // kdebug_private, kdump_private
};

std::optional<uint64_t> Kernel::number(uint64_t address, size_t size, bool physical) const {
  std::byte bytes[8] = {};
  Space space = space_;
  space.physical = physical;
  if (target_.read(space, address, std::span(bytes, size)) != size) return std::nullopt;
  uint64_t value = 0;
  for (size_t i = 0; i < size; ++i)
    value = value << 8 | static_cast<uint64_t>(bytes[target_.big_endian() ? i : size - 1 - i]);
  return value;
}

std::expected<void, std::string> Kernel::open() {
  const auto none = std::unexpected(
      "this dump does not name a QNX system page, without which processes cannot be found; "
      "`monitor as` looks through a page table that you know");
  const auto page = target_.system_page();
  if (!page) return none;
  constexpr uint64_t kTypes[] = {0x100, 0x101, 0};  // by Arch
  const auto type = number(*page + 4, 2, true), offset = number(*page + 8, 2, true), size = number(*page + 10, 2, true);
  if (type != kTypes[static_cast<size_t>(target_.arch())] || !offset || !size || *offset == 0 ||
      *size < layout_.private_kdebug_info + layout_.pointer)
    return none;
  const auto info = number(*page + *offset + layout_.private_kdebug_info, layout_.pointer, true);
  const auto debug = info ? pointer(*info + layout_.info_kdebug_private) : std::nullopt;
  const auto dump = info ? pointer(*info + layout_.info_kdump_private) : std::nullopt;
  if (!debug || !dump) return std::unexpected("the kernel's kdebug_info cannot be read");
  debug_ = *debug;
  dump_ = *dump;
  return {};
}

std::optional<uint64_t> Kernel::field(uint64_t base, uint64_t offset_at) const {
  const auto offset = number(debug_ + offset_at, 2);
  if (!offset) return std::nullopt;
  if ((*offset & kIndirect) != 0) return pointer(base + (*offset & ~kIndirect));
  return base + *offset;
}

/// The pointers of a vector; 0 for an entry that is free.
std::vector<uint64_t> Kernel::vector_entries(uint64_t vector) const {
  const bool old = layout_.pointer == 4 && number(debug_ + layout_.vector_version, 2) == 0;
  const auto entries = pointer(vector + (old ? kOldEntries : layout_.entries));
  const auto count = number(vector + (old ? kOldCount : layout_.count), 2);
  std::vector<uint64_t> all;
  if (!entries || !count) return all;
  for (uint64_t i = 0; i < std::min<uint64_t>(*count, kMaxEntries); ++i) {
    const auto entry = pointer(*entries + i * layout_.pointer);
    if (!entry) break;
    all.push_back((*entry & 1) != 0 ? 0 : *entry);
  }
  return all;
}

std::string Kernel::text(uint64_t address) const {
  std::string bytes(kMaxName, '\0');
  bytes.resize(target_.read(space_, address, std::as_writable_bytes(std::span(bytes))));
  bytes.resize(std::min(bytes.find('\0'), bytes.size()));
  for (char& c : bytes)
    if (c < 0x20 || c > 0x7e) c = '?';
  return bytes;
}

std::expected<std::vector<QnxProcess>, std::string> Kernel::processes() const {
  const auto vector = pointer(debug_ + layout_.vector);
  if (!vector) return std::unexpected("the kernel's process vector cannot be read");
  std::vector<QnxProcess> all;
  for (const uint64_t entry : vector_entries(*vector)) {
    if (entry == 0) continue;
    const auto pid_at = field(entry, layout_.pid);
    const auto pid = pid_at ? number(*pid_at, 4) : std::nullopt;
    if (!pid) continue;
    const auto name = pointer(field(entry, layout_.name));
    all.push_back({static_cast<uint32_t>(*pid), name ? text(*name) : "", entry});
  }
  return all;
}

std::expected<QnxThread, std::string> Kernel::thread(const QnxProcess& process, uint64_t tid) const {
  QnxThread result{process, 0, {}};
  const auto threads = field(process.address, layout_.threads);
  const auto all = threads ? vector_entries(*threads) : std::vector<uint64_t>{};
  if (tid == 0 || tid > all.size() || all[tid - 1] == 0)
    return std::unexpected(fmt::format("process {} has no thread {}", process.pid, tid));
  const auto memory = pointer(field(process.address, layout_.memory));
  const auto offset = number(dump_ + layout_.page_directory, 2);
  const auto table = memory && offset ? pointer(*memory + *offset) : std::nullopt;
  const Walk walk = table ? target_.walk(space_, *table) : Walk{.fault = "it is not there"};
  if (!walk.fault.empty())
    return std::unexpected(fmt::format("the root table of process {} cannot be found: {}", process.pid, walk.fault));
  result.root = walk.physical;
  const auto registers = field(all[tid - 1], layout_.thread_registers);
  result.register_set.resize(target_.register_set_size());
  if (!registers || target_.read(space_, *registers, result.register_set) != result.register_set.size())
    return std::unexpected(fmt::format("the registers of thread {}-{} cannot be read", process.pid, tid));
  return result;
}

}  // namespace

std::expected<std::vector<QnxProcess>, std::string> qnx_processes(const Target& target, size_t cpu) {
  Kernel kernel(target, cpu);
  if (const auto opened = kernel.open(); !opened) return std::unexpected(opened.error());
  return kernel.processes();
}

std::expected<QnxThread, std::string> qnx_thread(const Target& target, size_t cpu, uint64_t pid, uint64_t tid) {
  Kernel kernel(target, cpu);
  if (const auto opened = kernel.open(); !opened) return std::unexpected(opened.error());
  const auto all = kernel.processes();
  if (!all) return std::unexpected(all.error());
  const auto found = std::ranges::find(*all, pid, &QnxProcess::pid);
  if (found == all->end()) return std::unexpected(fmt::format("there is no process {}; `monitor pid` lists them", pid));
  return kernel.thread(*found, tid);
}

}  // namespace gcore::gdbstub
