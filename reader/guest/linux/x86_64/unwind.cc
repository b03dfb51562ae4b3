// x86_64: by ORC, as arch/x86/kernel/unwind_orc.c does; where that says nothing, by frame pointers and by what looks
// like a return address on the stack, marked as guesses.
#include <fmt/format.h>

#include <array>
#include <bit>
#include <utility>

#include "reader/guest/linux/orc.h"
#include "reader/guest/linux/unwind_machine.h"
#include "reader/guest/linux/unwind_tables.h"
#include "reader/guest/linux/x86_64/parts.h"
#include "writer/format/endian.h"

namespace gcore::reader::linux_guest {
namespace {

using Base = OrcRule::Base;
using Type = OrcRule::Type;

constexpr uint64_t kIretBytes = 40;
constexpr uint64_t kStackBytes = 16 << 10;     // kernel stacks are aligned to it, and no larger (but with KASAN)
constexpr uint64_t kMaxFrameBytes = 64 << 10;  // between a stack pointer and the frame pointer
constexpr unsigned kKernelCs = 0x10;

/// Slots of RegisterFile: looked up once.
struct Slots {
  size_t rip, rsp, rbp, cs, rflags, ss;
  std::array<size_t, 21> pt_regs;

  static const Slots& get() {
    static const Slots slots = [] {
      const auto slot = [](const char* name) {
        return format::find_register(format::Machine::x86_64, name).value_or(0);
      };
      Slots s{slot("rip"), slot("rsp"), slot("rbp"), slot("cs"), slot("rflags"), slot("ss"), {}};
      // arch/x86/include/asm/ptrace.h, struct pt_regs; orig_ax (index 15) is no register.
      constexpr std::array kOrder = {"r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10",    "r9",  "r8", "rax",
                                     "rcx", "rdx", "rsi", "rdi", "",    "rip", "cs",  "rflags", "rsp", "ss"};
      for (size_t i = 0; i < kOrder.size(); ++i) s.pt_regs[i] = *kOrder[i] != '\0' ? slot(kOrder[i]) : SIZE_MAX;
      return s;
    }();
    return slots;
  }
};

void take_pt_regs(format::RegisterFile& into, const std::byte* from, size_t first) {
  const Slots& slots = Slots::get();
  for (size_t i = first; i < slots.pt_regs.size(); ++i) {
    uint64_t value = format::load<uint64_t>(from + (i - first) * 8, format::ByteOrder::little);
    if (slots.pt_regs[i] == slots.cs || slots.pt_regs[i] == slots.ss) value &= 0xffff;
    if (slots.pt_regs[i] != SIZE_MAX) into.set_slot(slots.pt_regs[i], value);
  }
}

class X86Unwinder final : public Unwinder {
 public:
  using Unwinder::Unwinder;

 private:
  bool begin() override {
    if (!get(slots_.rip) || !get(slots_.rsp)) {
      why_ = "the pc or the stack pointer is not known";
      return false;
    }
    exact_ = get(slots_.rflags).has_value() || is_start_of_function(*get(slots_.rip));
    return true;
  }
  VirtAddr pc() const override { return VirtAddr(*get(slots_.rip)); }
  VirtAddr sp() const override { return VirtAddr(get(slots_.rsp).value_or(0)); }

  std::optional<uint64_t> get(size_t slot) const { return now_.get_slot(slot); }
  std::optional<uint64_t> get(const char* name) const { return now_.get(name); }

  /// A task that has not run yet is to return to where its first function begins.
  bool is_start_of_function(uint64_t pc) const {
    const auto place = kernel_.lookup(VirtAddr(pc));
    return place && place->offset == 0;
  }

  /// Indirect calls go through thunks: a call whose return address is changed then (arch/x86/lib/retpoline.S).
  bool is_thunk(uint64_t pc) const {
    const auto place = kernel_.lookup(VirtAddr(pc));
    return place && place->symbol.name.starts_with(kIndirectThunk);
  }

  Next step() override {
    const uint64_t pc = *get(slots_.rip);
    const auto rule = kernel_.unwind_tables().find(VirtAddr(exact_ ? pc : pc - 1));
    const bool says_nothing = !rule || rule->type == Type::undefined || rule->type == Type::unknown;
    if ((says_nothing || rule->type == Type::end_of_stack) && is_thunk(exact_ ? pc : pc - 1))
      return just_called(fmt::format("the unwind table says nothing of {:#x}", pc));
    if (says_nothing) {
      if (exact_ && !is_kernel_code(kernel_, VirtAddr(pc)))
        return just_called(fmt::format("the pc {:#x} is not in kernel code", pc));
      return guess(rule ? fmt::format("the unwind table says nothing of {:#x}", pc)
                        : fmt::format("no unwind table covers {:#x}", pc));
    }
    if (rule->type == Type::end_of_stack) return Next::end;
    const auto cfa = cfa_of(*rule);
    if (!cfa) return guess(why_);
    switch (rule->type) {
      case Type::call:
        return by_call(*rule, *cfa);
      case Type::regs:
        return by_regs(*cfa, 0);
      default:
        return by_regs(*cfa, 16);
    }
  }

  /// The caller's stack pointer (call), or where the registers are.
  std::optional<uint64_t> cfa_of(const OrcRule& rule) {
    const auto offset = static_cast<uint64_t>(static_cast<int64_t>(rule.sp_offset));
    const auto plus = [&](std::optional<uint64_t> base, const char* name) -> std::optional<uint64_t> {
      if (base) return *base + offset;
      why_ = fmt::format("the frame's place depends on {}, which is not known there", name);
      return std::nullopt;
    };
    switch (rule.sp) {
      case Base::sp:
        return plus(get(slots_.rsp), "rsp");
      case Base::bp:
        return plus(get(slots_.rbp), "rbp");
      case Base::sp_indirect:
        return through_stack(rule, get(slots_.rsp));
      case Base::bp_indirect:
        if (const auto at = plus(get(slots_.rbp), "rbp")) return load(*at);
        return std::nullopt;
      case Base::ax:
        return plus(get("rax"), "rax");
      case Base::dx:
        return plus(get("rdx"), "rdx");
      case Base::di:
        return plus(get("rdi"), "rdi");
      case Base::r10:
        return plus(get("r10"), "r10");
      case Base::r13:
        return plus(get("r13"), "r13");
      default:
        why_ = "the unwind table has a base register that is not known";
        return std::nullopt;
    }
  }

  /// The stack was changed, and the one before it is stored on this one: what stands at sp, plus the offset. Kernels
  /// before 5.12 mean what stands at sp plus the offset: which, the return address there shows.
  std::optional<uint64_t> through_stack(const OrcRule& rule, std::optional<uint64_t> sp) {
    if (!sp) return std::nullopt;
    const auto offset = static_cast<uint64_t>(static_cast<int64_t>(rule.sp_offset));
    const auto now = load(*sp);
    if (offset == 0) return now;
    const auto fits = [&](std::optional<uint64_t> cfa) {
      if (!cfa) return false;
      if (rule.type != Type::call) return memory_.u64(VirtAddr(*cfa + 136)) == kKernelCs;
      const auto caller = memory_.u64(VirtAddr(*cfa - 8));
      return caller && is_kernel_code(kernel_, VirtAddr(*caller));
    };
    const auto result = now ? std::optional(*now + offset) : std::nullopt;
    if (fits(result)) return result;
    const auto before = load(*sp + offset);
    return fits(before) ? before : result;
  }

  std::optional<uint64_t> load(uint64_t address) {
    const auto value = memory_.u64(VirtAddr(address));
    if (!value) why_ = fmt::format("the stack at {:#x} cannot be read", address);
    return value;
  }

  Next by_call(const OrcRule& rule, uint64_t cfa) {
    const auto caller = load(cfa - 8);
    if (!caller) return Next::lost;
    if (!is_kernel_code(kernel_, VirtAddr(*caller - 1)))
      return guess(fmt::format("the return address {:#x} at {:#x} is not in kernel code", *caller, cfa - 8));
    const auto bp = bp_of(rule, cfa);
    now_.clear();
    now_.set_slot(slots_.rip, *caller);
    now_.set_slot(slots_.rsp, cfa);
    if (bp) now_.set_slot(slots_.rbp, *bp);
    exact_ = false;
    return Next::frame;
  }

  std::optional<uint64_t> bp_of(const OrcRule& rule, uint64_t cfa) {
    const auto offset = static_cast<uint64_t>(static_cast<int64_t>(rule.bp_offset));
    switch (rule.bp) {
      case Base::undefined:
        return get(slots_.rbp);
      case Base::prev_sp:
        return memory_.u64(VirtAddr(cfa + offset));
      case Base::bp:
        return get(slots_.rbp) ? memory_.u64(VirtAddr(*get(slots_.rbp) + offset)) : std::nullopt;
      default:
        return std::nullopt;
    }
  }

  /// `first`: the first of pt_regs that is there (16: only what the CPU pushed).
  Next by_regs(uint64_t address, size_t first) {
    std::array<std::byte, kX86PtRegsBytes> bytes{};
    const auto here = std::span(bytes).first(first == 0 ? kX86PtRegsBytes : kIretBytes);
    if (!memory_.read_exactly(VirtAddr(address), here))
      return lose(fmt::format("the registers on the stack at {:#x} cannot be read", address));
    // What was not pushed yet is as it was when the interrupt came.
    if (first == 0 || !exact_) now_.clear();
    take_pt_regs(now_, bytes.data(), first);
    frames_.mark_interrupt();
    exact_ = true;
    if (is_user_mode(now_)) return Next::user;
    if (*get(slots_.cs) == 0)
      return lose(fmt::format("what should be registers on the stack at {:#x} is none", address));
    return Next::frame;
  }

  /// The return address is on the stack: of a bad pointer that was called, where there is no code, and at the start of
  /// a function without a rule, such as what indirect calls go through.
  Next just_called(std::string why) {
    const uint64_t sp = *get(slots_.rsp);
    const auto caller = load(sp);
    if (!caller) return Next::lost;
    if (!follows_call(*caller)) return guess(std::move(why));
    now_.set_slot(slots_.rip, *caller);
    now_.set_slot(slots_.rsp, sp + 8);
    exact_ = false;
    return Next::frame;
  }

  /// Without a table: by the frame pointer, else the next word on the stack that follows a call.
  Next guess(std::string why) {
    const uint64_t sp = get(slots_.rsp).value_or(0);
    if (!memory_.is_kernel_address(VirtAddr(sp))) return lose(std::move(why));
    if (const auto bp = get(slots_.rbp); bp && *bp >= sp && *bp - sp < kMaxFrameBytes && *bp % 8 == 0) {
      const auto caller = memory_.u64(VirtAddr(*bp + 8)), next = memory_.u64(VirtAddr(*bp));
      if (caller && next && follows_call(*caller)) return guessed(*caller, *bp + 16, next);
    }
    // The stack's first words are at its end: a boundary that is not passed.
    const uint64_t end = (sp | (kStackBytes - 1)) + 1;
    for (uint64_t at = (sp + 7) & ~uint64_t{7}; at != end; at += 8) {
      const auto word = memory_.u64(VirtAddr(at));
      if (!word) break;
      if (follows_call(*word)) return guessed(*word, at + 8, std::nullopt);
    }
    return lose(std::move(why));
  }

  Next guessed(uint64_t pc, uint64_t sp, std::optional<uint64_t> bp) {
    now_.clear();
    now_.set_slot(slots_.rip, pc);
    now_.set_slot(slots_.rsp, sp);
    if (bp) now_.set_slot(slots_.rbp, *bp);
    exact_ = false;
    guess_ = true;
    return Next::frame;
  }

  /// Whether a call instruction ends at this address of kernel code.
  bool follows_call(uint64_t address) const {
    if (!memory_.is_kernel_address(VirtAddr(address)) || !is_kernel_code(kernel_, VirtAddr(address - 1))) return false;
    std::array<std::byte, 7> before{};
    if (!memory_.read_exactly(VirtAddr(address - before.size()), before)) return true;  // freed code
    const auto at = [&](size_t back) { return std::to_integer<unsigned>(before[before.size() - back]); };
    if (at(5) == 0xe8) return true;  // call rel32
    // call *reg and call *memory: ff /2, with 0 to 4 bytes of SIB and displacement
    for (const size_t back : {2, 3, 4, 6, 7})
      if (at(back) == 0xff && (at(back - 1) >> 3 & 7) == 2) return true;
    return false;
  }

  const Slots& slots_ = Slots::get();
};

}  // namespace

std::optional<format::RegisterFile> x86_64_pt_regs(const KernelMemory& memory, VirtAddr address) {
  std::array<std::byte, kX86PtRegsBytes> bytes{};
  if (!memory.read_exactly(address, bytes)) return std::nullopt;
  format::RegisterFile registers(format::Machine::x86_64);
  take_pt_regs(registers, bytes.data(), 0);
  return registers;
}

Stack unwind_x86_64(const Kernel& kernel, const format::RegisterFile& registers, size_t max_frames) {
  return X86Unwinder(kernel, registers, max_frames).run();
}

}  // namespace gcore::reader::linux_guest
