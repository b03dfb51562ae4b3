// The virtual memory of one vCPU of a dump, or of any root table in it.
//
//   auto space = AddressSpace::of_cpu(dump, 0);
//   if (!space) return fail(space.error());
//   auto got = space->read(VirtAddr{0xffffffff81000000}, buffer);
//   if (got.bytes < buffer.size()) report(got.why);
#pragma once

#include <cstddef>
#include <expected>
#include <optional>
#include <span>
#include <string>

#include "reader/address.h"
#include "reader/dump/dump.h"
#include "reader/error.h"
#include "reader/translate/paging.h"
#include "reader/translate/translator.h"
#include "reader/translate/types.h"

namespace gcore::reader {

struct CpuPaging;

using translate::Fault;
using translate::Limits;
using translate::Listing;
using translate::Mapping;
using translate::OnMapping;
using translate::OnTable;
using translate::Permissions;
using translate::Step;
using translate::Translation;
using translate::VirtReadResult;
using translate::Walk;

/// How to translate where a vCPU has no root: by the kernel's own tables, say. `source` says where it was learnt:
/// "VMCOREINFO (the kernel's)".
struct FallbackPaging {
  translate::Paging paging;
  std::string source;
};

/// Holds a reference to the dump, which must outlive it. Movable; all const methods may be called from several threads.
class AddressSpace {
 public:
  struct Options {
    /// A Linux guest with page-table isolation that was stopped in user mode has a root (x86_64: with bit 12 set;
    /// aarch64: TTBR1 with the trampoline's tables) that lacks the kernel. Look kernel addresses up through the
    /// kernel's root beside it, where the tables there plausibly are its other half: then describe() and Walk::note
    /// say so.
    bool kpti_fallback = true;
    /// Used where neither the vCPU's registers nor its record in the dump have a root. Guest::space_of_cpu finds it.
    std::optional<FallbackPaging> fallback = std::nullopt;
  };
  /// Which root with_root() replaces on aarch64: TTBR0 (a process) or TTBR1 (the kernel). Other machines have one.
  enum class Root { lower, upper };

  /// What of_cpu() would do to find the root. To ask for it reads no guest memory.
  enum class Outlook : uint8_t { by_registers, paging_off, search };
  static Outlook outlook(const Dump& dump, size_t cpu);

  /// As vCPU `cpu` (an index into dump.cpus()) translates. The root comes from its control registers; where the dump
  /// has none, from Cpu::page_table, then from `options.fallback`; describe() says which and what had to be assumed.
  /// Identity when the vCPU had paging off. In a dump without vCPUs cpu 0 is one of which nothing is known. Errors:
  /// usage (no such vCPU), not_present (no root is known).
  static Expected<AddressSpace> of_cpu(const Dump& dump, size_t cpu, const Options& options);
  static Expected<AddressSpace> of_cpu(const Dump& dump, size_t cpu) { return of_cpu(dump, cpu, Options{}); }

  /// The same with another root table, by what CR3, TTBR0 or TTBR1 would hold: its physical address, to which PCID,
  /// ASID and flags add nothing. Uses the vCPU's mode; where that had paging off or has no root, that of
  /// `options.fallback`, else the mode that its machine most likely has. translator().paging() says where the table is.
  static Expected<AddressSpace> with_root(const Dump& dump, size_t cpu, uint64_t root, Root which,
                                          const Options& options);
  static Expected<AddressSpace> with_root(const Dump& dump, size_t cpu, uint64_t root, Root which = Root::lower) {
    return with_root(dump, cpu, root, which, Options{});
  }

  /// Through tables that were found without a vCPU: the kernel's own, where no vCPU shows it.
  static AddressSpace through(const Dump& dump, FallbackPaging tables);

  /// See translate::Translator::translate.
  std::expected<Translation, Fault> translate(VirtAddr address, uint64_t wanted = 1) const {
    return translator_.translate(address, wanted);
  }

  /// Every entry on the way, uncached.
  Walk walk(VirtAddr address) const;

  /// Reads run by run. `why` is one sentence, e.g. "PDE at 0x2000 is 0x0: not present" or "0x7000 maps to physical
  /// 0x5000, which is in no segment of the dump".
  VirtReadResult read(VirtAddr address, std::span<std::byte> into) const { return translator_.read(address, into); }

  /// What is mapped, ascending and merged; see translate::Translator::enumerate.
  Listing enumerate(const OnMapping& on_mapping, const Limits& limits = {}, const OnTable& on_table = nullptr) const {
    return translator_.enumerate(on_mapping, limits, on_table);
  }

  /// The same in steps, which outlive this object, but not the dump.
  translate::Enumeration enumeration(const Limits& limits = {}) const { return translator_.enumeration(limits); }

  /// The address without aarch64's tag and pointer authentication bits.
  VirtAddr without_tag(VirtAddr address) const { return translator_.without_tag(address); }

  /// False when virtual addresses are physical ones.
  bool paging() const { return translator_.paging().mode != translate::Mode::identity; }
  const translate::Translator& translator() const { return translator_; }

  /// True when the root is what the dump says of the vCPU; false when it is another one: the kernel's, where the dump
  /// does not say it, or that of with_root(). describe() then says which.
  bool has_root_of_cpu() const { return root_of_cpu_; }

  /// One line without a stop, e.g. "x86_64, 4-level, root 0x1000 from cr3".
  const std::string& describe() const { return description_; }

 private:
  static AddressSpace make(const Dump& dump, CpuPaging plan, bool kpti_fallback);
  AddressSpace(translate::Translator translator, std::string description, std::string second_root, bool root_of_cpu)
      : translator_(std::move(translator)),
        description_(std::move(description)),
        second_root_(std::move(second_root)),
        root_of_cpu_(root_of_cpu) {}

  translate::Translator translator_;
  std::string description_;
  std::string second_root_;  // why kernel addresses go through another root than the register's; else empty
  bool root_of_cpu_;
};

}  // namespace gcore::reader
