#include "gdbstub/dump_target.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "gdbstub/dump_background.h"
#include "gdbstub/dump_linux.h"
#include "gdbstub/dump_lists.h"
#include "gdbstub/dump_qnx.h"
#include "gdbstub/dump_text.h"
#include "gdbstub/dump_threads.h"
#include "reader/dump/dump.h"
#include "reader/dump/vmcoreinfo.h"
#include "reader/guest/guest.h"
#include "reader/guest/qnx/qnx_kernel.h"
#include "reader/search/search.h"
#include "reader/space/address_space.h"

namespace gcore::gdbstub {
namespace {

using reader::AddressSpace;
using reader::PhysAddr;
using reader::VirtAddr;

constexpr size_t kMaxCachedSpaces = 64;
/// QNX and GDB number these signals alike (HUP to TERM); the others they do not.
constexpr uint8_t kLastCommonSignal = 15;
/// What a step does: milliseconds, also where memory has to be unpacked.
constexpr uint64_t kSearchSlice = 8 << 20, kPackedSearchSlice = 1 << 20;

std::string missing_text(uint64_t physical, const reader::ReadResult& result) {
  return fmt::format("guest-physical {:#x} cannot be read: {}", physical, describe(result));
}

/// aarch64: the bits of an address that may hold a signature or a tag. Those that TCR_EL1 says are not translated.
std::optional<uint64_t> authentication_mask(const reader::Cpu& cpu, bool high) {
  constexpr uint64_t kSize = 0x3f, kE2h = uint64_t{1} << 34;
  const bool is_host = (cpu.registers.get("hcr_el2").value_or(0) & kE2h) != 0;
  const auto tcr = cpu.registers.get(is_host ? "tcr_el2" : "tcr_el1");
  if (!tcr) return std::nullopt;
  const uint64_t untranslated = (high ? *tcr >> 16 : *tcr) & kSize;
  return untranslated == 0 ? 0 : UINT64_MAX << (64 - untranslated);
}

/// Whether a 64-bit x86 machine ran as one of 32 bits: paging or protected mode, and no vCPU in long mode. One that had
/// just started (real mode) does not say what it will be.
bool is_narrow(const reader::Dump& dump) {
  constexpr uint64_t kProtected = 1, kLongActive = 1 << 10;  // CR0.PE, EFER.LMA
  if (dump.machine() != format::Machine::x86_64) return false;
  bool any_protected = false;
  for (const reader::Cpu& cpu : dump.cpus()) {
    const auto cr0 = cpu.registers.get("cr0"), efer = cpu.registers.get("efer");
    if (!cr0 || !efer || (*efer & kLongActive) != 0) return false;
    any_protected = any_protected || (*cr0 & kProtected) != 0;
  }
  return any_protected;
}

/// What a 64-bit machine calls the register that is half of it.
std::string_view wide_name(std::string_view name) {
  constexpr std::pair<std::string_view, std::string_view> kNames[] = {
      {"eax", "rax"}, {"ebx", "rbx"}, {"ecx", "rcx"}, {"edx", "rdx"}, {"esi", "rsi"},
      {"edi", "rdi"}, {"ebp", "rbp"}, {"esp", "rsp"}, {"eip", "rip"}, {"efl", "rflags"}};
  const auto found = std::ranges::find(kNames, name, &std::pair<std::string_view, std::string_view>::first);
  return found == std::end(kNames) ? name : found->second;
}

class DumpTarget : public Target {
 public:
  DumpTarget(const reader::Dump& dump, const DumpTargetOptions& options)
      : dump_(dump),
        guest_(dump),
        narrow_(options.narrow || is_narrow(dump)),
        first_segment_(options.first_segment),
        on_trouble_(options.on_trouble) {
    for (const auto& segment : dump.segments())
      segments_.push_back({.address = segment.address.value,
                           .size = segment.memory_size,
                           .file_size = segment.file_size,
                           .cut_off = segment.file_size - dump.bytes_in_file(segment),
                           .scattered = !dump.has_file_offsets()});
    for (size_t cpu = 0; cpu < cpu_count(); ++cpu) outlooks_.push_back(AddressSpace::outlook(dump, cpu));
    const auto is = [this](AddressSpace::Outlook outlook) { return std::ranges::count(outlooks_, outlook) != 0; };
    unpaged_ = !is(AddressSpace::Outlook::by_registers) && !is(AddressSpace::Outlook::search);
    background_.emplace(guest_, is(AddressSpace::Outlook::search));
  }

  bool can_look(const Space& space) const override {
    return space.physical || background_->knows_tables() ||
           (space.cpu < outlooks_.size() && outlooks_[space.cpu] != AddressSpace::Outlook::search);
  }
  bool knows_guest() const override { return background_->knows_guest(); }
  bool knows_threads() const override { return background_->knows_threads(); }
  bool settled() const override { return background_->idle(); }
  void want_threads() const override { background_->want_threads(); }
  std::expected<std::span<const GuestThread>, std::string> threads() const override {
    if (!knows_threads()) return std::unexpected("the guest's threads were not looked for");
    const auto& found = background_->threads();
    if (!found) return std::unexpected(found.error());
    return std::span<const GuestThread>(found->list);
  }

  Arch arch() const override {
    switch (dump_.machine()) {
      case format::Machine::aarch64:
        return Arch::aarch64;
      case format::Machine::x86:
        return Arch::i386;
      case format::Machine::x86_64:
        break;
    }
    return narrow_ ? Arch::i386 : Arch::x86_64;
  }
  bool big_endian() const override { return dump_.byte_order() == format::ByteOrder::big; }
  std::string path() const override { return dump_.path(); }
  std::string summary() const override;

  // Debuggers insist on a thread: a dump without vCPUs has one that knows no register. GDB leaves at once where the
  // program counter is unavailable, so that this one, which no machine had, is 0.
  size_t cpu_count() const override { return std::max<size_t>(dump_.cpus().size(), 1); }
  size_t faulting_cpu() const override { return std::min(dump_.faulting_cpu(), cpu_count() - 1); }
  uint8_t signal() const override { return dump_.signal() <= kLastCommonSignal ? dump_.signal() : 0; }
  std::string cpu_name(size_t cpu) const override;
  std::string cpu_details(size_t cpu) const override;
  std::optional<uint64_t> register_value(size_t cpu, std::string_view name) const override {
    if (dump_.cpus().empty() && name == (arch() == Arch::aarch64 ? "elr" : arch() == Arch::i386 ? "eip" : "rip"))
      return 0;
    size_t place = 0;
    if (const DumpThreads* threads = thread_at(cpu, place)) {
      const auto value = threads->states[place].registers.get(name);
      // GDB ends a list of threads at the first one without a program counter.
      return !value && name == (arch() == Arch::aarch64 ? "elr" : "rip") ? 0 : value;
    }
    if (cpu >= dump_.cpus().size()) return std::nullopt;
    const reader::Cpu& from = dump_.cpus()[cpu];
    if (narrow_ && dump_.machine() == format::Machine::x86_64) name = wide_name(name);
    if (const auto value = from.registers.get(name)) return value;
    if (name.starts_with("pauth_mask")) return authentication_mask(from, name.ends_with("_high"));
    for (const auto& [other, value] : from.other_registers)  // such as the upper halves of AVX
      if (other == name) return value;
    return std::nullopt;
  }

  std::vector<Segment> segments() const override { return segments_; }
  bool unpaged() const override { return unpaged_; }
  size_t read(const Space& space, uint64_t address, std::span<std::byte> into) const override;
  std::string why_unreadable(const Space& space, uint64_t address) const override;
  std::string why_zero(const Space& space, uint64_t address) const override;
  Walk walk(const Space& space, uint64_t address) const override;
  uint64_t without_tag(const Space& space, uint64_t address) const override;
  AddressBits address_bits(const Space& space) const override;
  std::unique_ptr<MappingList> list(const Space& space) const override;
  std::string describe(const Space& space) const override;
  std::expected<uint64_t, std::string> table_of(size_t cpu, const Root& root) const override;

  std::expected<std::unique_ptr<Search>, std::string> search(const Space& space, uint64_t first, uint64_t last,
                                                             std::string_view pattern) const override;

  std::optional<uint64_t> kernel_displacement() const override {
    return has_running_addresses() ? 0 : guest_.system().kaslr_offset;
  }
  std::expected<std::string, std::string> kernel_text(GuestText what, std::optional<uint64_t> pid) const override {
    using Kind = reader::GuestSystem::Kind;
    const Kind kind = guest_.system().kind;
    // The message ring of QNX needs nothing else of it to be found.
    if (kind == Kind::qnx || (kind == Kind::unknown && what == GuestText::messages)) return qnx_text(guest_, what, pid);
    return linux_.text(what, pid);
  }
  std::expected<std::vector<GuestProcess>, std::string> processes(size_t cpu) const override {
    return qnx_processes(guest_, is_cpu(cpu) ? cpu : kernel_cpu());
  }
  std::expected<ProcessThread, std::string> process_thread(size_t cpu, uint64_t process,
                                                           uint64_t thread) const override {
    return qnx_thread(guest_, is_cpu(cpu) ? cpu : kernel_cpu(), lower_root(), process, thread);
  }

 private:
  const reader::Expected<AddressSpace>& address_space(const Space& space) const;
  size_t read_what_is_there(const Space& space, uint64_t address, std::span<std::byte> into) const;
  /// The same for one address: all threads have the kernel's in common.
  const reader::Expected<AddressSpace>& space_at(const Space& space, uint64_t address) const;
  /// A thread of the guest and its place, by index; null for a vCPU's.
  const DumpThreads* thread_at(size_t index, size_t& place) const;
  /// Of the debugger's file. Kernels are moved by 2 MiB at least.
  bool has_running_addresses() const {
    constexpr uint64_t kLeast = 2 << 20;
    const reader::GuestSystem& guest = guest_.system();
    const auto start = reader::Vmcoreinfo(guest.vmcoreinfo).symbol("_stext");
    const uint64_t running = guest.image_address ? guest.image_address->value : start.value_or(0);
    return first_segment_ && running != 0 && *first_segment_ - running + kLeast - 1 < 2 * kLeast - 1;
  }
  bool is_physical(const Space& space) const {
    if (space.physical) return true;
    const auto& found = address_space(space);
    return found && !found->paging();
  }
  bool is_cpu(size_t index) const { return index < cpu_count(); }
  /// The register that holds a process's root table.
  const char* lower_root() const { return arch() == Arch::aarch64 ? "ttbr0" : "cr3"; }
  /// A vCPU whose registers say how the kernel's addresses translate, or the first one.
  size_t kernel_cpu() const {
    const auto found = std::ranges::find(outlooks_, AddressSpace::Outlook::by_registers);
    return found == outlooks_.end() ? 0 : static_cast<size_t>(found - outlooks_.begin());
  }
  std::string aarch64_mode(size_t cpu) const;
  std::string x86_mode(size_t cpu) const;
  std::vector<Mapping> segment_mappings() const;

  const reader::Dump& dump_;
  reader::Guest guest_;
  DumpLinux linux_{guest_};
  bool narrow_;
  std::optional<uint64_t> first_segment_;
  mutable std::function<void()> on_trouble_;
  std::vector<Segment> segments_;
  std::vector<AddressSpace::Outlook> outlooks_;  // of each vCPU
  bool unpaged_ = false;
  // Making an address space reads tables and explains itself in text, so the ones in use are kept.
  using Key = std::tuple<size_t, std::string, uint64_t>;
  mutable std::map<Key, reader::Expected<AddressSpace>> spaces_;
  mutable std::optional<Background> background_;
};

const DumpThreads* DumpTarget::thread_at(size_t index, size_t& place) const {
  if (is_cpu(index) || !knows_threads() || !background_->threads()) return nullptr;
  place = index - cpu_count();
  return place < background_->threads()->list.size() ? &*background_->threads() : nullptr;
}

const reader::Expected<AddressSpace>& DumpTarget::space_at(const Space& space, uint64_t address) const {
  constexpr uint64_t kKernelHalf = uint64_t{1} << 55;  // of both machines that have such threads, with a tag or without
  if (is_cpu(space.cpu) || space.root || (address & kKernelHalf) == 0) return address_space(space);
  return address_space({.cpu = kernel_cpu(), .physical = false, .root = {}});
}

const reader::Expected<AddressSpace>& DumpTarget::address_space(const Space& given) const {
  Space space = given;
  size_t place = 0;
  if (const DumpThreads* threads = thread_at(space.cpu, place)) {
    // A thread of the kernel has no memory of its own.
    const auto& root = threads->states[place].root;
    if (root && !space.root) space.root = Root{lower_root(), root->value};
    space.cpu = kernel_cpu();
  }
  const Key key{space.cpu, space.root ? space.root->name : "", space.root ? space.root->value : 0};
  const auto known = spaces_.find(key);
  // One that could not be made since the dump could not be read may be made later.
  if (known != spaces_.end() && (known->second || dump_.trouble().empty())) return known->second;
  if (known != spaces_.end()) spaces_.erase(known);
  if (spaces_.size() >= kMaxCachedSpaces) spaces_.clear();
  const auto make = [&] {
    if (!space.root) return guest_.space_of_cpu(space.cpu);
    const auto which = space.root->name == "ttbr1" ? AddressSpace::Root::upper : AddressSpace::Root::lower;
    return guest_.space_with_root(space.cpu, space.root->value, which);
  };
  return spaces_.emplace(key, make()).first->second;
}

std::string DumpTarget::summary() const {
  constexpr const char* kMachines[] = {"x86_64", "aarch64", "x86"};
  std::string text =
      fmt::format("{}: {}, {}, vCPUs: {}, memory: {} bytes in {} segment(s)\n", dump_.path(),
                  !dump_.foreign_format().empty()           ? dump_.foreign_format()
                  : dump_.dialect() == reader::Dialect::qnx ? "qnx dump"
                                                            : "vmcore dump",
                  narrow_ && dump_.machine() == format::Machine::x86_64 ? "x86_64 in 32-bit mode"
                                                                        : kMachines[static_cast<size_t>(arch())],
                  dump_.cpus().size(), dump_.memory_bytes(), dump_.segments().size());
  if (dump_.compression() == "kdump" || dump_.compression() == "flattened")
    text += fmt::format("{} format, {} bytes\n", dump_.compression(), dump_.file_size());
  else if (dump_.compression() == "snappy")
    text += fmt::format("compressed with snappy, {} bytes\n", dump_.file_size());
  else if (dump_.compression() != "none")
    text += fmt::format("compressed with {}, unpacked: {} bytes\n", dump_.compression(), dump_.file_size());
  if (dump_.signal() != 0) text += fmt::format("signal {} on vCPU {}\n", dump_.signal(), dump_.faulting_cpu());
  text += origin_text(dump_.info()) + guest_text(guest_.system());
  for (const std::string& warning : dump_.warnings()) text += fmt::format("warning: {}\n", warning);
  if (const std::string trouble = dump_.trouble(); !trouble.empty())
    text += fmt::format("it can no longer be read: {}; what is missing here may be there\n", trouble);
  return text;
}

std::string DumpTarget::cpu_name(size_t cpu) const {
  size_t place = 0;
  if (const DumpThreads* threads = thread_at(cpu, place)) return threads->list[place].name;
  const std::string mode = arch() == Arch::aarch64 ? aarch64_mode(cpu) : x86_mode(cpu);
  return fmt::format("vCPU {}", cpu) + (mode.empty() ? "" : " [" + mode + "]");
}

std::string DumpTarget::aarch64_mode(size_t cpu) const {
  constexpr uint64_t kModeIs32Bit = 1 << 4, kHostExtensions = uint64_t{1} << 34;  // PSTATE, HCR_EL2.E2H
  const auto pstate = register_value(cpu, "pstate");
  if (!pstate) return "";
  const uint64_t level = (*pstate & kModeIs32Bit) != 0 ? ((*pstate & 15) == 0 ? 0 : 1) : *pstate >> 2 & 3;
  if (level == 2 && (register_value(cpu, "hcr_el2").value_or(0) & kHostExtensions) != 0) return "kernel, EL2 (VHE)";
  constexpr const char* kLevels[] = {"user", "kernel", "hypervisor", "firmware"};
  return fmt::format("{}, EL{}", kLevels[level], level);
}

/// What CS says is a privilege level only in protected mode.
std::string DumpTarget::x86_mode(size_t cpu) const {
  constexpr uint64_t kProtected = 1, kVirtual8086 = 1 << 17, kLongActive = 1 << 10;  // CR0, EFLAGS, EFER
  const auto cs = register_value(cpu, "cs"), cr0 = register_value(cpu, "cr0");
  const auto flags = register_value(cpu, arch() == Arch::i386 ? "efl" : "rflags");
  if (cr0 && (*cr0 & kProtected) == 0) return "real mode";
  if ((flags.value_or(0) & kVirtual8086) != 0 && (register_value(cpu, "efer").value_or(0) & kLongActive) == 0)
    return "virtual-8086 mode";
  if (!cs) return "";
  return fmt::format("{}, CPL {}", (*cs & 3) == 3 ? "user" : "kernel", *cs & 3);
}

std::string DumpTarget::cpu_details(size_t cpu) const {
  size_t place = 0;
  if (const DumpThreads* threads = thread_at(cpu, place)) return threads->list[place].details;
  if (cpu >= dump_.cpus().size()) return "the dump has no registers";
  if (knows_threads() && background_->threads())
    if (const auto found = background_->threads()->on_cpu.find(cpu); found != background_->threads()->on_cpu.end())
      return found->second;
  const std::string& process = dump_.cpus()[cpu].process_name;
  return process.empty() ? "" : "process " + process;
}

size_t DumpTarget::read(const Space& space, uint64_t address, std::span<std::byte> into) const {
  const size_t done = read_what_is_there(space, address, into);
  if (done < into.size() && on_trouble_ && !dump_.trouble().empty()) std::exchange(on_trouble_, nullptr)();
  return done;
}

size_t DumpTarget::read_what_is_there(const Space& space, uint64_t address, std::span<std::byte> into) const {
  if (space.physical) return dump_.read(PhysAddr(address), into).bytes;
  const auto& found = space_at(space, address);
  return found ? found->read(found->without_tag(VirtAddr(address)), into).bytes : 0;
}

std::string DumpTarget::why_unreadable(const Space& space, uint64_t address) const {
  std::byte byte{};
  if (space.physical) {
    const auto result = dump_.read(PhysAddr(address), std::span(&byte, 1));
    return result.bytes == 1 ? "" : missing_text(address, result);
  }
  const auto& found = address_space(space);
  if (!found) return found.error().text;
  const auto result = found->read(found->without_tag(VirtAddr(address)), std::span(&byte, 1));
  return result.bytes == 1 ? "" : result.why;
}

std::string DumpTarget::why_zero(const Space& space, uint64_t address) const {
  PhysAddr physical(address);
  if (!space.physical) {
    const auto& found = address_space(space);
    if (!found) return "";
    const auto to = found->translate(found->without_tag(VirtAddr(address)));
    if (!to) return "";
    physical = to->address;
  }
  const auto extent = dump_.next_extent(physical);
  if (!extent || extent->address != physical || extent->kind != reader::Dump::Extent::Kind::zero) return "";
  return extent->zero_filled ? "it is zero: the file has only the first part of its segment (p_filesz < p_memsz)"
                             : "it is zero: the file has a hole there";
}

Walk DumpTarget::walk(const Space& space, uint64_t address) const {
  Walk walk;
  if (space.physical) {
    walk.physical = address;
    walk.mapping = {
        .start = address, .size = 1, .physical = address, .read = true, .write = true, .execute = true, .user = true};
    return walk;
  }
  const auto& found = address_space(space);
  if (!found) {
    walk.fault = found.error().text;
    return walk;
  }
  const auto walked = found->walk(found->without_tag(VirtAddr(address)));
  for (const auto& step : walked.steps) {
    const bool read = step.meaning != reader::Step::Meaning::unreadable;
    walk.steps.push_back({step.level, step.entry_address.value, read ? std::optional(step.entry) : std::nullopt});
  }
  walk.note = walked.note;
  if (!walked.result) {
    walk.fault = walked.result.error().text;
    return walk;
  }
  const auto& result = *walked.result;
  walk.physical = result.address.value;
  walk.mapping = to_mapping({VirtAddr(address), std::max<uint64_t>(result.contiguous, 1), result.address,
                             result.page_size, result.permissions});
  return walk;
}

uint64_t DumpTarget::without_tag(const Space& space, uint64_t address) const {
  if (space.physical) return address;
  const auto& found = address_space(space);
  return found ? found->without_tag(VirtAddr(address)).value : address;
}

AddressBits DumpTarget::address_bits(const Space& space) const {
  const auto& found = address_space(space);
  if (arch() != Arch::aarch64 || !found || !found->paging()) return {};
  const auto bits = [](const auto& half) {
    return half.address_bits == 0 ? std::nullopt : std::optional<unsigned>(half.address_bits);
  };
  const auto& paging = found->translator().paging();
  return {.lower = bits(paging.lower), .upper = bits(paging.upper)};
}

/// Segments may overlap; the list must not.
std::vector<Mapping> DumpTarget::segment_mappings() const {
  std::vector<Mapping> runs;
  for (const Segment& segment : segments_) {
    const uint64_t last = segment.address + (segment.size - 1);
    if (!runs.empty() && segment.address <= runs.back().start + (runs.back().size - 1)) {
      Mapping& run = runs.back();
      run.size = std::max(run.start + (run.size - 1), last) - run.start + 1;
      continue;
    }
    runs.push_back({.start = segment.address,
                    .size = segment.size,
                    .physical = segment.address,
                    .page_size = 0,
                    .read = true,
                    .write = true,
                    .execute = true,
                    .user = true});
  }
  return runs;
}

std::unique_ptr<MappingList> DumpTarget::list(const Space& space) const {
  if (is_physical(space)) return std::make_unique<ReadyList>(segment_mappings(), "");
  const auto& found = address_space(space);
  if (!found) return std::make_unique<ReadyList>(std::vector<Mapping>{}, found.error().text);
  return std::make_unique<TableList>(found->enumeration());
}

std::expected<std::unique_ptr<Search>, std::string> DumpTarget::search(const Space& space, uint64_t first,
                                                                       uint64_t last, std::string_view pattern) const {
  const auto bytes = std::as_bytes(std::span(pattern));
  const uint64_t slice = dump_.compression() == "none" ? kSearchSlice : kPackedSearchSlice;
  if (space.physical)
    return std::make_unique<DumpSearch>(reader::Search::in_memory(dump_, PhysAddr(first), PhysAddr(last), bytes), 0,
                                        slice);
  const auto& found = address_space(space);
  if (!found) return std::unexpected(found.error().text);
  // A debugger that asks about tagged addresses wants hits that look alike.
  const VirtAddr plain = found->without_tag(VirtAddr(first));
  const uint64_t tag = first - plain.value;
  auto search = reader::Search::in_space(dump_, *found, plain, VirtAddr(last - tag), bytes);
  return std::make_unique<DumpSearch>(std::move(search), tag, slice);
}

std::string DumpTarget::describe(const Space& space) const {
  if (space.physical) return "guest-physical addresses";
  const auto& found = address_space(space);
  return found ? found->describe() : found.error().text;
}

std::expected<uint64_t, std::string> DumpTarget::table_of(size_t cpu, const Root& root) const {
  const bool arm = arch() == Arch::aarch64;
  if (arm ? root.name != "ttbr0" && root.name != "ttbr1" : root.name != "cr3")
    return std::unexpected(
        fmt::format("this machine has no \"{}\": say {}", root.name, arm ? "ttbr0 or ttbr1" : "cr3"));
  const auto& space = address_space({.cpu = cpu, .root = root});
  if (!space) return std::unexpected(space.error().text);
  const auto& paging = space->translator().paging();
  const PhysAddr table = root.name == "ttbr1" ? paging.upper.root : paging.lower.root;
  std::byte byte{};
  const auto result = dump_.read(table, std::span(&byte, 1));
  if (result.bytes == 1) return table.value;
  return std::unexpected("no table is there: " + missing_text(table.value, result));
}

}  // namespace

std::unique_ptr<Target> make_dump_target(const reader::Dump& dump, const DumpTargetOptions& options) {
  return std::make_unique<DumpTarget>(dump, options);
}

}  // namespace gcore::gdbstub
