#include "reader/address_space.h"

#include <array>
#include <charconv>
#include <cinttypes>
#include <optional>
#include <string_view>
#include <utility>

#include "reader/translate/paging.h"
#include "reader/translate/step.h"

namespace gcore::reader {
namespace {

using translate::format;
using translate::Half;
using translate::Mode;
using translate::Paging;

/// How a vCPU translates, and in words where that was learnt.
struct Plan {
  Paging paging;
  std::string source;
};

std::optional<uint64_t> register_of(const Cpu& cpu, std::string_view name) {
  if (const auto value = cpu.registers.get(name)) return value;
  for (const auto& [other, value] : cpu.other_registers)
    if (other == name) return value;
  return std::nullopt;
}

/// The value of a line KEY=value of VMCOREINFO as a number; the kernel prints some in decimal (signed), some with 0x,
/// and addresses in hexadecimal without.
std::optional<uint64_t> vmcoreinfo_number(std::string_view text, std::string_view key, int base = 10) {
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (!line.starts_with(key) || line.substr(key.size(), 1) != "=") continue;
    line.remove_prefix(key.size() + 1);
    const bool negative = line.starts_with('-');
    if (negative) line.remove_prefix(1);
    if (line.starts_with("0x")) {
      line.remove_prefix(2);
      base = 16;
    }
    uint64_t value = 0;
    if (std::from_chars(line.data(), line.data() + line.size(), value, base).ec != std::errc{}) return std::nullopt;
    return negative ? 0 - value : value;
  }
  return std::nullopt;
}

bool has_line(std::string_view text, std::string_view line) {
  const size_t at = text.find(line);
  return at != std::string_view::npos && (at == 0 || text[at - 1] == '\n');
}

// ---- x86

/// The kernel's own root table: a symbol in its image, whose place in memory is known.
std::optional<uint64_t> x86_kernel_root(const Dump& dump) {
  const auto info = dump.vmcoreinfo();
  if (dump.machine() == format::Machine::x86) {
    constexpr uint64_t kPageOffset = 0xc0000000;
    const auto symbol = vmcoreinfo_number(info, "SYMBOL(swapper_pg_dir)", 16);
    return symbol && *symbol >= kPageOffset ? std::optional(*symbol - kPageOffset) : std::nullopt;
  }
  constexpr uint64_t kKernelMap = 0xffffffff80000000;
  for (const char* name : {"SYMBOL(init_top_pgt)", "SYMBOL(init_level4_pgt)", "SYMBOL(swapper_pg_dir)"}) {
    const auto symbol = vmcoreinfo_number(info, name, 16);
    const auto base = vmcoreinfo_number(info, "NUMBER(phys_base)");
    if (symbol && *symbol >= kKernelMap) return *symbol - kKernelMap + base.value_or(0);
  }
  return std::nullopt;
}

translate::X86Registers x86_registers(const Dump& dump, const Cpu& cpu) {
  const auto info = dump.vmcoreinfo();
  translate::X86Registers registers;
  registers.machine_64bit = dump.machine() == format::Machine::x86_64;
  registers.cr0 = register_of(cpu, "cr0");
  registers.cr3 = register_of(cpu, "cr3");
  registers.cr4 = register_of(cpu, "cr4");
  registers.efer = register_of(cpu, "efer");
  if (cpu.page_table) registers.page_table = cpu.page_table->value;
  if (const auto l5 = vmcoreinfo_number(info, "NUMBER(pgtable_l5_enabled)")) registers.five_level = *l5 != 0;
  if (has_line(info, "CONFIG_X86_PAE=y")) registers.pae = true;
  // 32-bit dumps of the qnx dialect say it in the note: 1 when PAE paging is on.
  if (!registers.machine_64bit && dump.kdump_facts()) registers.pae = (dump.kdump_facts()->cpu_info & 1) != 0;
  registers.encryption_mask = vmcoreinfo_number(info, "NUMBER(sme_mask)").value_or(0);
  return registers;
}

Expected<Plan> x86_plan(const Dump& dump, const Cpu& cpu) {
  auto registers = x86_registers(dump, cpu);
  const char* source = registers.cr3 ? "cr3" : "the vCPU's record in the dump";
  if (!registers.cr3 && !registers.page_table) {
    registers.page_table = x86_kernel_root(dump);
    source = "VMCOREINFO (the kernel's)";
  }
  auto paging = translate::x86_paging(registers);
  if (!paging) return std::unexpected(paging.error());
  return Plan{*std::move(paging), source};
}

Expected<Plan> x86_plan_with_root(const Dump& dump, const Cpu& cpu, PhysAddr root) {
  auto registers = x86_registers(dump, cpu);
  constexpr uint64_t kPaging = uint64_t{1} << 31;
  if (registers.cr0 && (*registers.cr0 & kPaging) == 0) {  // cr4 and efer say nothing of what will be chosen
    registers.cr0 = registers.cr4 = registers.efer = std::nullopt;
  }
  registers.cr3 = root.value;
  auto paging = translate::x86_paging(registers);
  if (!paging) return std::unexpected(paging.error());
  return Plan{*std::move(paging), "the request"};
}

/// Whether `kernel` looks like the kernel's half of the pair whose user half is `user`: it maps the same for user mode,
/// and has well-formed tables for the kernel where the user half has hardly any.
bool is_kernel_half(const Dump& dump, const Paging& paging, PhysAddr user, PhysAddr kernel) {
  constexpr size_t kTable = 4096, kEntries = 512;
  std::array<std::byte, kTable> user_table, kernel_table;
  if (dump.read(user, user_table).bytes != kTable || dump.read(kernel, kernel_table).bytes != kTable) return false;
  const unsigned height = paging.lower.levels - 1u;
  size_t shared = 0, kernel_only = 0;
  for (size_t i = 0; i < kEntries; ++i) {
    using Meaning = Step::Meaning;
    const auto decode = [&](const auto& table) {
      return translate::decode(paging, paging.lower, height, load_entry(paging, &table[i * 8]), translate::kMayAll);
    };
    const auto a = decode(user_table), b = decode(kernel_table);
    if (a.meaning == Meaning::malformed || b.meaning == Meaning::malformed) return false;
    if (i < kEntries / 2) {
      if (a.meaning != b.meaning || a.target != b.target) return false;
      if (a.meaning == Meaning::table) ++shared;
      continue;
    }
    if (a.meaning == Meaning::table && b.meaning != Meaning::table) return false;
    if (b.meaning != Meaning::table || a.meaning == Meaning::table) continue;
    std::byte probe[8];
    if (dump.read(PhysAddr(b.target), probe).bytes == sizeof probe) ++kernel_only;
  }
  return shared != 0 && kernel_only != 0;
}

// ---- aarch64

/// What a kernel without registers in the dump says of its tables, in the form of a TCR_EL1.
/// With 64K pages swapper_pg_dir is laid out for the size that the kernel was built for (VA_BITS), which can be more
/// than the CPU has; TTBR1 then points into its middle and goes with TCR's size. With other pages a level is left out
/// instead, and the table has the CPU's size.
std::optional<uint64_t> aarch64_kernel_tcr(std::string_view info) {
  const auto page = vmcoreinfo_number(info, "PAGESIZE");
  const auto built = vmcoreinfo_number(info, "NUMBER(VA_BITS)");
  const auto t1sz = vmcoreinfo_number(info, "NUMBER(TCR_EL1_T1SZ)");
  if (!built && !t1sz) return std::nullopt;
  const bool is_64k = page == 65536, is_16k = page == 16384;
  const uint64_t bits = built && (is_64k || !t1sz) ? *built : 64 - (*t1sz & 0x3f);
  if (bits < 16 || bits > 52) return std::nullopt;
  const uint64_t size = 64 - bits;
  const uint64_t granule0 = is_64k ? 1 : is_16k ? 2 : 0, granule1 = is_64k ? 3 : is_16k ? 1 : 2;
  uint64_t tcr = size | granule0 << 14 | size << 16 | granule1 << 30;
  if (is_64k && vmcoreinfo_number(info, "NUMBER(MAX_PHYSMEM_BITS)") == 52) tcr |= uint64_t{6} << 32;
  if (!is_64k && bits > 48) tcr |= uint64_t{1} << 59;
  return tcr;
}

std::optional<uint64_t> aarch64_kernel_root(std::string_view info) {
  const auto symbol = vmcoreinfo_number(info, "SYMBOL(swapper_pg_dir)", 16);
  const auto offset = vmcoreinfo_number(info, "NUMBER(kimage_voffset)", 16);
  return symbol && offset ? std::optional(*symbol - *offset) : std::nullopt;
}

translate::Aarch64Registers aarch64_registers(const Dump& dump, const Cpu& cpu, std::string& source) {
  translate::Aarch64Registers registers;
  registers.sctlr = register_of(cpu, "sctlr_el1");
  registers.tcr = register_of(cpu, "tcr_el1");
  registers.ttbr0 = register_of(cpu, "ttbr0_el1");
  registers.ttbr1 = register_of(cpu, "ttbr1_el1");
  registers.id_aa64mmfr0 = register_of(cpu, "id_aa64mmfr0_el1");
  registers.big_endian = dump.byte_order() == format::ByteOrder::big;
  source = "ttbr0_el1 and ttbr1_el1";
  if (!registers.tcr && dump.kdump_facts() && dump.kdump_facts()->cpu_info != 0) {
    registers.tcr = dump.kdump_facts()->cpu_info;
    source += ", tcr_el1 from the note's cpu_info";
  }
  return registers;
}

Expected<Plan> aarch64_plan(const Dump& dump, const Cpu& cpu) {
  Plan plan;
  auto registers = aarch64_registers(dump, cpu, plan.source);
  std::optional<uint64_t> root;
  bool upper = true;
  if (!registers.ttbr0 && !registers.ttbr1) {
    const uint64_t level = register_of(cpu, "pstate").value_or(4) >> 2 & 3;
    if (cpu.page_table) {
      root = cpu.page_table->value;
      upper = level != 0;
      plan.source = "the vCPU's record in the dump";
    } else {
      root = aarch64_kernel_root(dump.vmcoreinfo());
      plan.source = "VMCOREINFO (the kernel's)";
    }
    if (root) (upper ? registers.ttbr1 : registers.ttbr0) = 0;
  }
  if (!registers.tcr) registers.tcr = aarch64_kernel_tcr(dump.vmcoreinfo());
  auto paging = translate::aarch64_paging(registers);
  if (!paging) return std::unexpected(paging.error());
  plan.paging = *std::move(paging);
  if (root) set_root(plan.paging, upper ? plan.paging.upper : plan.paging.lower, PhysAddr(*root));
  return plan;
}

Expected<Plan> aarch64_plan_with_root(const Dump& dump, const Cpu& cpu, PhysAddr root, bool upper) {
  auto base = aarch64_plan(dump, cpu);
  if (!base || base->paging.mode == Mode::identity) {
    translate::Aarch64Registers registers;
    registers.tcr = aarch64_kernel_tcr(dump.vmcoreinfo());
    registers.big_endian = dump.byte_order() == format::ByteOrder::big;
    (upper ? registers.ttbr1 : registers.ttbr0) = 0;
    auto paging = translate::aarch64_paging(registers);
    if (!paging) return std::unexpected(paging.error());
    base = Plan{*std::move(paging), {}};
  }
  Half& half = upper ? base->paging.upper : base->paging.lower;
  if (half.levels == 0)
    return std::unexpected(
        Error{Error::Kind::unsupported, format("no table can be used there: %s", half.why_unusable.c_str())});
  set_root(base->paging, half, root);
  base->source = upper ? "the request (TTBR1)" : "the request (TTBR0)";
  return base;
}

// ---- in words

std::string half_in_words(const Half& half, const char* name) {
  if (!half.usable) return format("%s none (%s)", name, half.why_unusable.c_str());
  return format("%s 0x%" PRIx64 " (%u-bit, %uK granule)", name, half.root.value, half.address_bits,
                1u << (half.page_shift - 10));
}

std::string in_words(const Dump& dump, const Plan& plan) {
  const Paging& paging = plan.paging;
  std::string text;
  switch (paging.mode) {
    case Mode::identity:
      text = dump.machine() == format::Machine::aarch64 ? "aarch64" : "x86";
      return text + ", paging off, virtual addresses are physical ones";
    case Mode::x86_32:
      text = "x86, 2-level";
      break;
    case Mode::x86_pae:
      text = "x86, PAE";
      break;
    case Mode::x86_64:
      text = format("x86_64, %u-level", paging.lower.levels);
      break;
    case Mode::aarch64:
      text = "aarch64, " + half_in_words(paging.lower, "TTBR0") + ", " + half_in_words(paging.upper, "TTBR1");
      if (paging.big_endian) text += ", big-endian tables";
      break;
  }
  if (paging.mode != Mode::aarch64) text += format(", root 0x%" PRIx64, paging.lower.root.value);
  text += " from " + plan.source;
  if (paging.encryption_mask != 0) text += format(", memory encryption mask 0x%" PRIx64, paging.encryption_mask);
  if (!paging.assumed.empty()) text += "; assumed: " + paging.assumed;
  return text;
}

Error about(const Dump& dump, size_t cpu, Error error) {
  error.text = format("cannot use the address space of vCPU %zu of ", cpu) + dump.path() + ": " + error.text;
  return error;
}

Expected<const Cpu*> cpu_of(const Dump& dump, size_t cpu) {
  const auto cpus = dump.cpus();
  if (cpu < cpus.size()) return &cpus[cpu];
  return std::unexpected(about(
      dump, cpu, {Error::Kind::usage, format("the dump has %zu vCPU%s", cpus.size(), cpus.size() == 1 ? "" : "s")}));
}

translate::ReadPhysical reader_of(const Dump& dump) {
  return [&dump](PhysAddr address, std::span<std::byte> into) { return dump.read(address, into); };
}

}  // namespace

Expected<AddressSpace> AddressSpace::of_cpu(const Dump& dump, size_t cpu, const Options& options) {
  const auto found = cpu_of(dump, cpu);
  if (!found) return std::unexpected(found.error());
  auto plan = dump.machine() == format::Machine::aarch64 ? aarch64_plan(dump, **found) : x86_plan(dump, **found);
  if (!plan) return std::unexpected(about(dump, cpu, plan.error()));

  std::string description = in_words(dump, *plan);
  constexpr uint64_t kUserHalf = 0x1000;
  const uint64_t root = plan->paging.lower.root.value;
  bool second_root = false;
  if (options.kpti_fallback && plan->paging.mode == Mode::x86_64 && (root & kUserHalf) != 0 &&
      is_kernel_half(dump, plan->paging, PhysAddr(root), PhysAddr(root & ~kUserHalf))) {
    set_root(plan->paging, plan->paging.upper, PhysAddr(root & ~kUserHalf));
    second_root = true;
    description += format("; kernel addresses through root 0x%" PRIx64 " (page-table isolation)", root & ~kUserHalf);
  }
  return AddressSpace(translate::Translator(std::move(plan->paging), reader_of(dump)), std::move(description),
                      second_root);
}

Expected<AddressSpace> AddressSpace::with_root(const Dump& dump, size_t cpu, PhysAddr root, Root which) {
  const auto found = cpu_of(dump, cpu);
  if (!found) return std::unexpected(found.error());
  auto plan = dump.machine() == format::Machine::aarch64
                  ? aarch64_plan_with_root(dump, **found, root, which == Root::upper)
                  : x86_plan_with_root(dump, **found, root);
  if (!plan) return std::unexpected(about(dump, cpu, plan.error()));
  std::string description = in_words(dump, *plan);
  return AddressSpace(translate::Translator(std::move(plan->paging), reader_of(dump)), std::move(description), false);
}

Walk AddressSpace::walk(VirtAddr address) const {
  Walk walk = translator_.walk(address);
  const Paging& paging = translator_.paging();
  if (second_root_ && address.value >> 63 != 0 && !walk.steps.empty()) {
    if (!walk.note.empty()) walk.note += "; ";
    walk.note +=
        format("through root 0x%" PRIx64 ": that of cr3 (0x%" PRIx64 ") is the user half of page-table isolation",
               paging.upper.root.value, paging.lower.root.value);
  }
  return walk;
}

}  // namespace gcore::reader
