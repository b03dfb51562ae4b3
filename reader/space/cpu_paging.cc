#include "reader/space/cpu_paging.h"

#include <utility>

#include "reader/dump/paging_registers.h"
#include "reader/dump/vmcoreinfo.h"
#include "writer/format/vmcoreinfo.h"

namespace gcore::reader {
namespace {

using translate::Half;
using translate::Mode;
using translate::Paging;

/// The kernel's own root table: a symbol in its image, whose place in memory is known.
std::optional<uint64_t> kernel_root(const Dump& dump, const Vmcoreinfo& info) {
  auto offset = format::kernel_image_offset(dump.machine(), info);
  // Kernels that do not say it were not moved.
  if (!offset && dump.machine() == format::Machine::x86_64) offset = format::kX86_64KernelMap;
  for (const char* name : {"init_top_pgt", "init_level4_pgt", "swapper_pg_dir"}) {
    const auto symbol = info.symbol(name);
    if (symbol && offset && *symbol >= *offset) return *symbol - *offset;
  }
  return std::nullopt;
}

// ---- x86

/// What is known without any register.
translate::X86Registers x86_facts(const Dump& dump, const Vmcoreinfo& info) {
  translate::X86Registers registers;
  registers.machine_64bit = dump.machine() == format::Machine::x86_64;
  if (const auto l5 = info.number("NUMBER(pgtable_l5_enabled)")) registers.five_level = *l5 != 0;
  if (info.value("CONFIG_X86_PAE") == "y") registers.pae = true;
  // 32-bit dumps of the qnx dialect say it in the note: 1 when PAE paging is on.
  if (!registers.machine_64bit && dump.kdump_facts()) registers.pae = (dump.kdump_facts()->cpu_info & 1) != 0;
  registers.encryption_mask = info.number("NUMBER(sme_mask)").value_or(0);
  return registers;
}

translate::X86Registers x86_registers(const Dump& dump, const Cpu& cpu, const Vmcoreinfo& info) {
  translate::X86Registers registers = x86_facts(dump, info);
  take_registers(cpu, registers);
  if (cpu.page_table) registers.page_table = cpu.page_table->value;
  return registers;
}

Expected<CpuPaging> x86_paging_with_root(const Dump& dump, const Cpu& cpu, const Vmcoreinfo& info, uint64_t root) {
  auto registers = x86_registers(dump, cpu, info);
  constexpr uint64_t kPaging = uint64_t{1} << 31;
  if (registers.cr0 && (*registers.cr0 & kPaging) == 0) {  // cr4 and efer say nothing of what will be chosen
    registers.cr0 = registers.cr4 = registers.efer = std::nullopt;
  }
  registers.cr3 = root;
  auto paging = translate::x86_paging(registers);
  if (!paging) return std::unexpected(paging.error());
  return CpuPaging{*std::move(paging), "the request"};
}

// ---- aarch64

/// What a kernel without registers in the dump says of its tables, in the form of a TCR_EL1.
/// With 64K pages swapper_pg_dir is laid out for the size that the kernel was built for (VA_BITS), which can be more
/// than the CPU has; TTBR1 then points into its middle and goes with TCR's size. With other pages a level is left out
/// instead, and the table has the CPU's size.
std::optional<uint64_t> aarch64_kernel_tcr(const Vmcoreinfo& info) {
  const auto page = info.number("PAGESIZE");
  const auto built = info.number("NUMBER(VA_BITS)");
  const auto t1sz = info.number("NUMBER(TCR_EL1_T1SZ)");
  if (!built && !t1sz) return std::nullopt;
  const bool is_64k = page == 65536, is_16k = page == 16384;
  const uint64_t bits = built && (is_64k || !t1sz) ? *built : 64 - (*t1sz & 0x3f);
  if (bits < 16 || bits > 52) return std::nullopt;
  const uint64_t size = 64 - bits;
  const uint64_t granule0 = is_64k ? 1 : is_16k ? 2 : 0, granule1 = is_64k ? 3 : is_16k ? 1 : 2;
  uint64_t tcr = size | granule0 << 14 | size << 16 | granule1 << 30;
  if (is_64k && info.number("NUMBER(MAX_PHYSMEM_BITS)") == 52) tcr |= uint64_t{6} << 32;
  if (!is_64k && bits > 48) tcr |= uint64_t{1} << 59;
  return tcr;
}

translate::Aarch64Registers aarch64_facts(const Dump& dump, const Vmcoreinfo& info) {
  translate::Aarch64Registers registers;
  registers.tcr = aarch64_kernel_tcr(info);
  registers.big_endian = dump.byte_order() == format::ByteOrder::big;
  return registers;
}

translate::Aarch64Registers aarch64_registers(const Dump& dump, const Cpu& cpu, const Vmcoreinfo& info) {
  auto registers = aarch64_facts(dump, info);
  take_registers(cpu, registers);
  return registers;
}

Expected<CpuPaging> aarch64_paging_of(const Dump& dump, const Cpu& cpu, const Vmcoreinfo& info) {
  using translate::Aarch64Regime;
  auto registers = aarch64_registers(dump, cpu, info);
  const auto regime = translate::aarch64_regime(registers);
  if (!regime) return std::unexpected(regime.error());
  std::string source = *regime == Aarch64Regime::el1   ? "ttbr0_el1 and ttbr1_el1"
                       : *regime == Aarch64Regime::el2 ? "ttbr0_el2"
                                                       : "ttbr0_el2 and ttbr1_el2";
  if (*regime == Aarch64Regime::el1 && !register_of(cpu, "tcr_el1") && dump.kdump_facts() &&
      dump.kdump_facts()->cpu_info != 0) {
    registers.tcr = dump.kdump_facts()->cpu_info;
    source += ", tcr_el1 from the note's cpu_info";
  }
  const bool is_el1 = *regime == Aarch64Regime::el1;
  auto &ttbr0 = is_el1 ? registers.ttbr0 : registers.ttbr0_el2, &ttbr1 = is_el1 ? registers.ttbr1 : registers.ttbr1_el2;
  const bool by_record = !ttbr0 && !ttbr1 && cpu.page_table;
  constexpr uint64_t kEl1 = 1 << 2;
  const bool upper = *regime != Aarch64Regime::el2 && (registers.pstate.value_or(kEl1) >> 2 & 3) != 0;
  if (by_record) {
    (upper ? ttbr1 : ttbr0) = 0;
    source = "the vCPU's record in the dump";
  }
  auto paging = translate::aarch64_paging(registers);
  if (!paging) return std::unexpected(paging.error());
  if (by_record) set_root(*paging, upper ? paging->upper : paging->lower, *cpu.page_table);
  return CpuPaging{*std::move(paging), std::move(source)};
}

Expected<CpuPaging> aarch64_paging_with_root(const Dump& dump, const std::optional<Paging>& base,
                                             const Vmcoreinfo& info, uint64_t root, bool upper) {
  CpuPaging result{base.value_or(Paging{}), upper ? "the request (TTBR1)" : "the request (TTBR0)"};
  if (result.paging.mode == Mode::identity) {
    auto registers = aarch64_facts(dump, info);
    (upper ? registers.ttbr1 : registers.ttbr0) = 0;
    auto paging = translate::aarch64_paging(registers);
    if (!paging) return std::unexpected(paging.error());
    result.paging = *std::move(paging);
  }
  Half& half = upper ? result.paging.upper : result.paging.lower;
  if (half.levels == 0)
    return std::unexpected(Error{Error::Kind::unsupported, "no table can be used there: " + half.why_unusable});
  set_root(result.paging, half, table_of_ttbr(half, root));
  return result;
}

}  // namespace

Expected<CpuPaging> paging_of_cpu(const Dump& dump, const Cpu& cpu, std::string_view vmcoreinfo) {
  const Vmcoreinfo info(vmcoreinfo);
  if (dump.machine() == format::Machine::aarch64) return aarch64_paging_of(dump, cpu, info);
  const auto registers = x86_registers(dump, cpu, info);
  auto paging = translate::x86_paging(registers);
  if (!paging) return std::unexpected(paging.error());
  return CpuPaging{*std::move(paging), registers.cr3 ? "cr3" : "the vCPU's record in the dump"};
}

std::optional<Paging> paging_from_vmcoreinfo(const Dump& dump, std::string_view vmcoreinfo) {
  const Vmcoreinfo info(vmcoreinfo);
  if (dump.machine() != format::Machine::aarch64) {
    auto registers = x86_facts(dump, info);
    registers.page_table = kernel_root(dump, info);
    auto paging = translate::x86_paging(registers);
    return paging ? std::optional(*std::move(paging)) : std::nullopt;
  }
  const auto root = kernel_root(dump, info);
  if (!root) return std::nullopt;
  auto registers = aarch64_facts(dump, info);
  registers.ttbr1 = 0;
  auto paging = translate::aarch64_paging(registers);
  if (!paging) return std::nullopt;
  set_root(*paging, paging->upper, PhysAddr(*root));
  return *std::move(paging);
}

Expected<CpuPaging> paging_with_root(const Dump& dump, const Cpu& cpu, const std::optional<Paging>& base,
                                     std::string_view vmcoreinfo, uint64_t root, bool upper) {
  const Vmcoreinfo info(vmcoreinfo);
  if (dump.machine() == format::Machine::aarch64) return aarch64_paging_with_root(dump, base, info, root, upper);
  return x86_paging_with_root(dump, cpu, info, root);
}

}  // namespace gcore::reader
