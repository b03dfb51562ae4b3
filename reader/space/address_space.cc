#include "reader/space/address_space.h"

#include <cinttypes>
#include <optional>
#include <utility>

#include "reader/space/cpu_paging.h"
#include "reader/space/dump_translator.h"
#include "reader/space/table_isolation.h"
#include "reader/translate/paging.h"
#include "reader/translate/step.h"
#include "writer/format/machine.h"

namespace gcore::reader {
namespace {

using translate::formatted;
using translate::Half;
using translate::Mode;
using translate::Paging;

/// From the registers or the record; where these have no root, the fall-back.
Expected<CpuPaging> plan_of(const Dump& dump, const Cpu& cpu, const std::optional<FallbackPaging>& fallback) {
  auto plan = paging_of_cpu(dump, cpu, dump.vmcoreinfo());
  if (plan || plan.error().kind != Error::Kind::not_present || !fallback) return plan;
  return CpuPaging{fallback->paging, fallback->source, false};
}

// ---- in words

std::string half_in_words(const Half& half, const char* name) {
  if (!half.usable) return formatted("%s none (%s)", name, half.why_unusable.c_str());
  return formatted("%s 0x%" PRIx64 " (%u-bit, %uK granule)", name, half.root.value, half.address_bits,
                   1u << (half.page_shift - 10));
}

std::string in_words(const Dump& dump, const CpuPaging& plan) {
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
      text = formatted("x86_64, %u-level", paging.lower.levels);
      break;
    case Mode::aarch64:
      text = "aarch64, " + half_in_words(paging.lower, "TTBR0");
      if (!paging.one_privilege) text += ", " + half_in_words(paging.upper, "TTBR1");
      if (paging.big_endian) text += ", big-endian tables";
      break;
  }
  if (paging.mode != Mode::aarch64) text += formatted(", root 0x%" PRIx64, paging.lower.root.value);
  text += " from " + plan.source;
  if (paging.encryption_mask != 0) text += formatted(", memory encryption mask 0x%" PRIx64, paging.encryption_mask);
  if (!paging.assumed.empty()) text += "; assumed: " + paging.assumed;
  return text;
}

Error about(const Dump& dump, size_t cpu, Error error) {
  error.text = formatted("cannot use the address space of vCPU %zu of ", cpu) + dump.path() + ": " + error.text;
  return error;
}

/// A dump without vCPUs has one of which nothing is known.
Expected<Cpu> cpu_of(const Dump& dump, size_t cpu) {
  const auto cpus = dump.cpus();
  if (cpu < cpus.size()) return cpus[cpu];
  if (cpus.empty() && cpu == 0) return Cpu{.registers = format::RegisterFile(dump.machine())};
  return std::unexpected(about(
      dump, cpu, {Error::Kind::usage, formatted("the dump has %zu vCPU%s", cpus.size(), cpus.size() == 1 ? "" : "s")}));
}

}  // namespace

AddressSpace::Outlook AddressSpace::outlook(const Dump& dump, size_t cpu) {
  const auto found = cpu_of(dump, cpu);
  if (!found) return Outlook::by_registers;  // that is an error, which needs no search
  const auto plan = paging_of_cpu(dump, *found, dump.vmcoreinfo());
  if (plan) return plan->paging.mode == Mode::identity ? Outlook::paging_off : Outlook::by_registers;
  return plan.error().kind == Error::Kind::not_present ? Outlook::search : Outlook::by_registers;
}

Expected<AddressSpace> AddressSpace::of_cpu(const Dump& dump, size_t cpu, const Options& options) {
  const auto found = cpu_of(dump, cpu);
  if (!found) return std::unexpected(found.error());
  auto plan = plan_of(dump, *found, options.fallback);
  if (!plan) return std::unexpected(about(dump, cpu, plan.error()));

  return make(dump, *std::move(plan), options.kpti_fallback);
}

Expected<AddressSpace> AddressSpace::with_root(const Dump& dump, size_t cpu, uint64_t root, Root which,
                                               const Options& options) {
  const auto found = cpu_of(dump, cpu);
  if (!found) return std::unexpected(found.error());
  std::optional<Paging> base;  // the other root's half; with one root, registers and VMCOREINFO say the rest
  if (format::machine_info(dump.machine()).root_registers.size() > 1)
    if (auto plan = plan_of(dump, *found, options.fallback)) base = std::move(plan->paging);
  auto plan = paging_with_root(dump, *found, base, dump.vmcoreinfo(), root, which == Root::upper);
  if (!plan) return std::unexpected(about(dump, cpu, plan.error()));
  plan->of_cpu = false;
  return make(dump, *std::move(plan), true);
}

AddressSpace AddressSpace::through(const Dump& dump, FallbackPaging tables) {
  return make(dump, CpuPaging{std::move(tables.paging), std::move(tables.source), false}, true);
}

AddressSpace AddressSpace::make(const Dump& dump, CpuPaging plan, bool kpti_fallback) {
  std::string description = in_words(dump, plan), second_root;
  Paging& paging = plan.paging;
  if (const auto kernel = kpti_fallback ? kernel_root_beside(dump, paging) : std::nullopt) {
    const bool arm = paging.mode == Mode::aarch64;
    second_root = formatted("through root 0x%" PRIx64 ": that of %s (0x%" PRIx64 ") is the %s of page-table isolation",
                            kernel->value, arm ? formatted("ttbr1_el%d", paging.level).c_str() : plan.source.c_str(),
                            arm ? paging.upper.root.value : paging.lower.root.value, arm ? "trampoline" : "user half");
    set_root(paging, paging.upper, *kernel);
    description += formatted("; kernel addresses through root 0x%" PRIx64 " (page-table isolation)", kernel->value);
  }
  return AddressSpace(translator_of(dump, std::move(paging)), std::move(description), std::move(second_root),
                      plan.of_cpu);
}

Walk AddressSpace::walk(VirtAddr address) const {
  Walk walk = translator_.walk(address);
  const bool arm = translator_.paging().mode == Mode::aarch64;
  if (!second_root_.empty() && (address.value >> (arm ? 55 : 63) & 1) != 0 && !walk.steps.empty()) {
    if (!walk.note.empty()) walk.note += "; ";
    walk.note += second_root_;
  }
  return walk;
}

}  // namespace gcore::reader
