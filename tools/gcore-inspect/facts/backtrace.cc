// Who called whom on a vCPU. By the unwind tables of the ELF files where they cover the pc, else by the
// chain of frame pointers.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <span>
#include <string_view>

#include "tools/gcore-inspect/facts/backtrace.h"
#include "tools/gcore-inspect/facts/guest.h"
#include "tools/gcore-inspect/facts/linux_guest.h"
#include "tools/gcore-inspect/facts/symbols.h"
#include "tools/gcore-inspect/inspect.h"
#include "writer/format/machine.h"

namespace gcore::tools::inspect {
namespace {

constexpr size_t kMaxFrames = 100, kMaxUnknown = 8;

/// By DWARF's numbers.
struct Convention {
  std::span<const std::string_view> names;
  uint32_t sp, fp, pc;  // pc: where the return address is tracked
  size_t word;
};

Convention convention(format::Machine machine) {
  const format::MachineInfo& info = format::machine_info(machine);
  const auto number = [&](std::string_view name) {
    return static_cast<uint32_t>(std::ranges::find(info.dwarf_registers, name) - info.dwarf_registers.begin());
  };
  return {info.dwarf_registers, number(info.stack_pointer), number(info.frame_pointer), number(info.program_counter),
          info.word_bytes};
}

/// The registers of one frame, by DWARF's numbers; one that is not here is lost.
using Registers = std::map<uint32_t, uint64_t>;

class Unwinder {
 public:
  Unwinder(const Job& job, const reader::AddressSpace& space)
      : job_(job), space_(space), convention_(convention(job.dump.machine())) {}

  Registers first(const format::RegisterFile& from) const {
    Registers registers;
    for (uint32_t i = 0; i < convention_.names.size(); ++i)
      if (const auto value = from.get(convention_.names[i])) registers[i] = *value;
    return registers;
  }

  uint32_t pc_number() const { return convention_.pc; }
  uint32_t sp_number() const { return convention_.sp; }

  /// How a frame was reached.
  struct Way {
    bool call = false;   // else its pc is where the CPU was, and not after a call
    bool chain = false;  // by a frame pointer, so that one of 0 is the chain's end
  };

  /// The caller's registers. Nothing at the outermost frame, or where the way is lost: `why` is then not empty.
  std::optional<Registers> caller(const Registers& callee, Way& way, std::string& why) const {
    const uint64_t pc = callee.at(convention_.pc) - (way.call ? 1 : 0);
    const auto row = job_.symbols != nullptr ? job_.symbols->unwind_row(pc) : std::nullopt;
    std::optional<Registers> result = row ? by_table(*row, callee, why) : by_frame_pointer(callee, way.chain, why);
    way = {.call = !(row && row->signal_frame), .chain = !row};
    if (!result) return std::nullopt;
    auto& next = (*result)[convention_.pc];
    next = space_.without_tag(reader::VirtAddr(next)).value;  // on aarch64 a return address may be signed
    if (next == 0) return std::nullopt;
    return result;
  }

 private:
  std::optional<uint64_t> load(uint64_t address, std::string& why) const {
    std::array<std::byte, 8> bytes{};
    const auto read = space_.read(reader::VirtAddr(address), std::span(bytes).first(convention_.word));
    if (read.bytes < convention_.word) {
      why = fmt::format("the stack at {:#x} cannot be read: {}", address, read.why);
      return std::nullopt;
    }
    return convention_.word == 8 ? format::load<uint64_t>(bytes.data(), job_.dump.byte_order())
                                 : format::load<uint32_t>(bytes.data(), job_.dump.byte_order());
  }

  /// `chain`: the frame pointer is one that an earlier one led to.
  std::optional<Registers> by_frame_pointer(const Registers& callee, bool chain, std::string& why) const {
    const auto fp = callee.find(convention_.fp), sp = callee.find(convention_.sp);
    const bool known = fp != callee.end();
    if (chain && (!known || fp->second == 0)) return std::nullopt;
    // Code that was built without frame pointers uses the register for anything.
    const bool plausible = known && fp->second != 0 && fp->second % convention_.word == 0 &&
                           (sp == callee.end() || fp->second >= sp->second);
    if (!chain && !plausible) {
      why = fmt::format(
          "{} covers this pc, and {} ({}) is no frame pointer: give --symbols a file of the guest with "
          ".debug_frame or .eh_frame",
          job_.symbols != nullptr ? "no unwind table of --symbols" : "no unwind table",
          convention_.names[convention_.fp], known ? fmt::format("{:#x}", fp->second) : "not in the dump");
      return std::nullopt;
    }
    const auto next_fp = load(fp->second, why);
    const auto pc = next_fp ? load(fp->second + convention_.word, why) : std::nullopt;
    if (!pc) return std::nullopt;
    return Registers{
        {convention_.fp, *next_fp}, {convention_.pc, *pc}, {convention_.sp, fp->second + 2 * convention_.word}};
  }

  /// A register by a rule; nothing when it is lost.
  std::optional<uint64_t> evaluate(const UnwindRule& rule, uint32_t number, uint64_t cfa, const Registers& callee,
                                   std::string& why) const {
    const auto value_of = [&](uint32_t reg) {
      const auto found = callee.find(reg);
      return found != callee.end() ? std::optional(found->second) : std::nullopt;
    };
    const auto offset = static_cast<uint64_t>(rule.offset);
    const auto base = rule.kind == UnwindRule::Kind::same ? value_of(number) : value_of(rule.reg);
    switch (rule.kind) {
      case UnwindRule::Kind::same:
        return base;
      case UnwindRule::Kind::at_cfa:
        return load(cfa + offset, why);
      case UnwindRule::Kind::cfa_plus:
        return cfa + offset;
      case UnwindRule::Kind::register_plus:
        return base ? std::optional(*base + offset) : std::nullopt;
      case UnwindRule::Kind::at_register:
        return base ? load(*base + offset, why) : std::nullopt;
      default:
        return std::nullopt;
    }
  }

  std::optional<Registers> by_table(const UnwindRow& row, const Registers& callee, std::string& why) const {
    const auto cfa = evaluate(row.cfa, 0, 0, callee, why);
    if (!cfa) {
      why = "the unwind table does not say where the frame is";
      return std::nullopt;
    }
    Registers result;
    for (const auto& [number, value] : callee) {
      const auto rule = row.registers.find(number);
      std::string lost;
      const auto restored = rule == row.registers.end() ? value : evaluate(rule->second, number, *cfa, callee, lost);
      if (restored) result[number] = *restored;
    }
    result[convention_.sp] = *cfa;
    const auto rule = row.registers.find(row.return_register);
    if (rule != row.registers.end() && rule->second.kind == UnwindRule::Kind::undefined) return std::nullopt;
    const auto pc =
        evaluate(rule != row.registers.end() ? rule->second : UnwindRule{}, row.return_register, *cfa, callee, why);
    if (!pc) return std::nullopt;
    result[convention_.pc] = *pc;
    return result;
  }

  const Job& job_;
  const reader::AddressSpace& space_;
  Convention convention_;
};

/// Adds frames until the way ends. `trace` has the innermost one.
void follow(const Job& job, const format::RegisterFile& from, const reader::AddressSpace& space, Backtrace& trace) {
  const auto functions_at = [&](uint64_t pc) {
    return job.symbols != nullptr ? job.symbols->frames(pc) : std::vector<SourceFrame>{};
  };
  const Unwinder unwinder(job, space);
  Registers registers = unwinder.first(from);
  Unwinder::Way way;
  size_t unknown = 0;  // frames in a row that no symbol names: what a stack that was misread looks like
  while (true) {
    const uint64_t sp = registers[unwinder.sp_number()], callee_pc = registers.at(unwinder.pc_number());
    auto caller = unwinder.caller(registers, way, trace.why);
    if (!caller) return;
    registers = std::move(*caller);
    const uint64_t caller_pc = registers.at(unwinder.pc_number()), caller_sp = registers[unwinder.sp_number()];
    // Stacks grow down: a chain that goes up again, or nowhere, is none.
    if (caller_sp < sp || (caller_sp == sp && caller_pc == callee_pc)) {
      trace.why = fmt::format("the next frame, at {:#x}, lies below this one", caller_sp);
      return;
    }
    // A kernel frees the code that only booting needed; the functions that it was called through have their tables
    // still.
    const auto page = space.translate(reader::VirtAddr(caller_pc));
    const bool known = job.symbols != nullptr && job.symbols->unwind_row(caller_pc - 1).has_value();
    if (!known && (!page || !page->permissions.execute)) {
      trace.why = fmt::format("the return address {:#x} is not in executable memory", caller_pc);
      return;
    }
    if (trace.frames.size() >= kMaxFrames || unknown >= kMaxUnknown) {
      trace.why = "there are more frames, which are not shown";
      return;
    }
    trace.frames.push_back({caller_pc, functions_at(caller_pc - (way.call ? 1 : 0))});
    unknown = trace.frames.back().functions.empty() && job.symbols != nullptr ? unknown + 1 : 0;
  }
}

/// By the guest's own tables, for a vCPU in its kernel.
std::optional<Backtrace> by_kernel(const Job& job, const reader::Cpu& cpu) {
  const auto* kernel = job.linux_guest.kernel_or_null();
  if (kernel == nullptr || !kernel->names()) return std::nullopt;
  const auto stack = kernel->stack_of_cpu(cpu.index);
  // Code that the kernel does not know of (firmware, a program of user mode) is left to --symbols.
  if (stack.frames.empty() || !stack.frames.front().place) return std::nullopt;
  return backtrace_of(job, stack);
}

}  // namespace

Backtrace backtrace(const Job& job, const reader::Cpu& cpu) {
  Backtrace trace;
  const auto pc = program_counter(cpu);
  if (!pc) {
    trace.why = "the dump does not have its program counter";
    return trace;
  }
  if (auto own = by_kernel(job, cpu)) return *std::move(own);
  trace.frames.push_back({*pc, job.symbols != nullptr ? job.symbols->frames(*pc) : std::vector<SourceFrame>{}});
  const auto space = job.guest.space_of_cpu(cpu.index);
  if (space)
    follow(job, cpu.registers, *space, trace);
  else
    trace.why = printable(space.error().text);
  return trace;
}

Backtrace backtrace(const Job& job, const format::RegisterFile& registers, const reader::AddressSpace& space) {
  Backtrace trace;
  const auto pc = registers.get(format::machine_info(registers.machine()).program_counter);
  if (!pc) {
    trace.why = "its program counter is not known";
    return trace;
  }
  trace.frames.push_back({*pc, job.symbols != nullptr ? job.symbols->frames(*pc) : std::vector<SourceFrame>{}});
  follow(job, registers, space, trace);
  return trace;
}

std::string function_text(const SourceFrame& frame) {
  std::string text = frame.function.empty() ? "??" : printable(frame.function);
  if (frame.inlined) text += " (inlined)";
  if (frame.line != 0) text += fmt::format(" at {}:{}", printable(frame.file), frame.line);
  return text;
}

std::vector<std::string> lines_of(const Backtrace& trace) {
  std::vector<std::string> lines;
  const auto add = [&](const Frame& frame, const std::string& text) {
    lines.push_back(fmt::format("#{:<3} {:#018x}  {}{}", lines.size(), frame.pc, frame.is_guess ? "? " : "", text));
  };
  for (const Frame& frame : trace.frames) {
    // A file without lines knows less than the guest itself.
    const bool has_more = std::ranges::any_of(frame.functions, [](const SourceFrame& at) { return at.line != 0; });
    if (frame.functions.empty() || (!has_more && !frame.place.empty())) {
      add(frame, frame.place.empty() ? "??" : frame.place);
      continue;
    }
    for (const SourceFrame& function : frame.functions) add(frame, function_text(function));
  }
  return lines;
}

}  // namespace gcore::tools::inspect
