#include "reader/guest/linux/symbols/orc_frames.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "reader/guest/linux/orc.h"
#include "reader/guest/linux/symbols/bytes.h"
#include "reader/guest/linux/unwind_tables.h"

namespace gcore::reader::linux_guest {
namespace {

// x86_64's numbers of registers.
constexpr uint8_t kRax = 0, kRdx = 1, kRdi = 5, kRbp = 6, kRsp = 7, kR10 = 10, kR13 = 13, kReturn = 16;
constexpr int kDataAlignment = -8;

/// Offsets in struct pt_regs by DWARF's number of the register; the last is rip.
constexpr std::array<uint8_t, 17> kPtRegs{80, 96, 88, 40, 104, 112, 32, 152, 72, 64, 56, 48, 24, 16, 8, 0, 128};

/// An FDE is of one function: LLDB asks for the one of the function's start, and counts its rows from there. No
/// function has that many rows; debuggers interpret all of them up to the place that they ask for.
constexpr size_t kRowsAnFde = 4096;

std::optional<uint8_t> register_of(OrcRule::Base base) {
  switch (base) {
    case OrcRule::Base::ax:
      return kRax;
    case OrcRule::Base::dx:
      return kRdx;
    case OrcRule::Base::di:
      return kRdi;
    case OrcRule::Base::bp:
    case OrcRule::Base::bp_indirect:
      return kRbp;
    case OrcRule::Base::sp:
    case OrcRule::Base::sp_indirect:
      return kRsp;
    case OrcRule::Base::r10:
      return kR10;
    case OrcRule::Base::r13:
      return kR13;
    case OrcRule::Base::undefined:
    case OrcRule::Base::prev_sp:
    case OrcRule::Base::unknown:
      break;
  }
  return std::nullopt;
}

/// A function that calls another one on a stack of another kind: where the caller's frame is, stands at sp. gdb takes a
/// stack for corrupt whose outer frame lies below its inner one, as the task's stack may lie below that of interrupts.
bool is_on_other_stack(const OrcRule& rule) {
  return rule.type == OrcRule::Type::call && rule.sp == OrcRule::Base::sp_indirect;
}

/// Functions that change the stack and that the code calls into which a processor gets by an interrupt: gdb compares no
/// frame with that code's. So their own frame may stand where it is, at the start of the other stack.
bool is_handler(std::string_view name) {
  return name.starts_with("sysvec_") || name == "common_interrupt" || name == "spurious_interrupt" ||
         name == "xen_pv_evtchn_do_upcall";
}

/// What sort of CIE a rule needs: rules of different sorts are in different FDEs.
enum class Sort : uint8_t { none, call, interrupted_call, regs, end };

Sort sort_of(const OrcRule& rule, bool handler) {
  switch (rule.type) {
    case OrcRule::Type::call:
      if (!register_of(rule.sp)) return Sort::none;
      // Of another function that changes the stack: gdb does not compare it either, and does not show its name.
      return rule.signal || (is_on_other_stack(rule) && !handler) ? Sort::interrupted_call : Sort::call;
    case OrcRule::Type::regs:
    case OrcRule::Type::regs_partial:
      return register_of(rule.sp) ? Sort::regs : Sort::none;
    case OrcRule::Type::end_of_stack:
      return Sort::end;
    case OrcRule::Type::undefined:
    case OrcRule::Type::unknown:
      break;
  }
  return Sort::none;
}

/// Where functions begin, ascending.
struct Functions {
  std::vector<uint64_t> starts{};
  std::vector<uint64_t> handlers{}, thunks{};  // is_handler(), kIndirectThunk; of the starts
};

class OrcWriter {
 public:
  OrcWriter(FrameWriter& frame, format::ByteOrder order) : frame_(frame), instructions_(order) {
    Bytes call(order);
    call.u8(kDefCfa), call.uleb(kRsp), call.uleb(8);
    call.u8(kOffsetSigned), call.uleb(kReturn), call.sleb(1);
    // ORC does not say where the others are: a debugger shows <not saved> rather than a callee's value. r10 and r13
    // stay, because rules of the caller may need them.
    for (const unsigned number : {3U, 12U, 14U, 15U}) call.u8(kUndefined), call.uleb(number);
    Bytes whole(order);
    whole.u8(kDefCfa), whole.uleb(kRsp), whole.uleb(0);
    whole.u8(kUndefined), whole.uleb(kReturn);
    // Nor any other register: drgn makes a frame of what is left.
    Bytes last(order);
    last.take() = whole.take();
    for (const unsigned number : {3U, 6U, 7U, 12U, 13U, 14U, 15U}) last.u8(kUndefined), last.uleb(number);
    cies_ = {0, frame.cie(false, 1, kDataAlignment, kReturn, call.take()),
             frame.cie(true, 1, kDataAlignment, kReturn, call.take()),
             frame.cie(true, 1, kDataAlignment, kReturn, whole.take()),
             // No signal: the last call of the code that starts a CPU never returns, so nothing need follow it.
             frame.cie(false, 1, kDataAlignment, kReturn, last.take())};
  }

  /// `end` is where the last entry's code ends.
  size_t write(const OrcTable& table, uint64_t end, const Functions& all) {
    if (table.size() == 0) return 0;
    rows_ = 0;
    in_handler_ = in_thunk_ = false;
    const std::vector<uint64_t>& functions = all.starts;
    auto function = std::ranges::lower_bound(functions, table.address(0).value);
    for (size_t i = 0; i < table.size(); ++i) {
      const OrcRule rule = table.rule(i);
      uint64_t start = table.address(i).value;
      const uint64_t stop = i + 1 < table.size() ? table.address(i + 1).value : std::max(end, start);
      for (; function != functions.end() && *function < stop; ++function) {
        if (*function > start) add(start, rule);
        if (*function >= start) close(*function);
        start = std::max(start, *function);
        in_handler_ = std::ranges::binary_search(all.handlers, *function);
        in_thunk_ = std::ranges::binary_search(all.thunks, *function);
      }
      add(start, rule);
    }
    close(std::max(end, last_));
    return rows_;
  }

 private:
  /// From there on this rule holds.
  void add(uint64_t start, const OrcRule& given) {
    const bool is_known = given.type != OrcRule::Type::undefined && given.type != OrcRule::Type::end_of_stack;
    const OrcRule& rule = in_thunk_ && !is_known ? initial(Sort::call) : given;
    const Sort sort = sort_of(rule, in_handler_);
    if (open_ && sort == sort_ && in_fde_ < kRowsAnFde) {
      if (rule == rule_) return;
    } else {
      close(start);
      if (sort == Sort::none) return;
      open_ = true, sort_ = sort, start_ = last_ = start, rule_ = initial(sort), in_fde_ = 0;
    }
    advance(instructions_, start - last_);
    last_ = start;
    change(instructions_, sort, rule_, rule, in_fde_ == 0);
    rule_ = rule;
    ++in_fde_, ++rows_;
  }

  /// Ends the FDE that is open.
  void close(uint64_t stop) {
    if (open_ && stop > start_)
      frame_.fde(cies_[static_cast<size_t>(sort_)], start_, stop - start_, instructions_.take());
    instructions_.take().clear();
    open_ = false;
  }

  static OrcRule initial(Sort sort) {
    OrcRule rule;
    rule.type =
        sort == Sort::call || sort == Sort::interrupted_call ? OrcRule::Type::call : OrcRule::Type::end_of_stack;
    rule.sp = OrcRule::Base::sp, rule.sp_offset = 8;
    return rule;
  }

  void change(Bytes& out, Sort sort, const OrcRule& from, const OrcRule& to, bool first) {
    if (sort == Sort::end) return;
    if (sort == Sort::regs) return regs(out, to);
    if (sort == Sort::call && is_on_other_stack(to)) return on_other_stack(out, to);
    if (sort == Sort::call && is_on_other_stack(from)) {
      out.u8(kValueOffsetUnsigned), out.uleb(kRsp), out.uleb(0);
      out.u8(kOffsetSigned), out.uleb(kReturn), out.sleb(1);
      cfa(out, to), bp(out, to);
      return;
    }
    if (from.sp != to.sp || from.sp_offset != to.sp_offset) cfa(out, to);
    if (from.bp == to.bp && from.bp_offset == to.bp_offset) return;
    if (first && to.bp == OrcRule::Base::undefined) return;
    bp(out, to);
  }

  static void cfa(Bytes& out, const OrcRule& rule) {
    const uint8_t base = register_of(rule.sp).value_or(kRsp);
    const bool at_sp = rule.sp == OrcRule::Base::sp_indirect, at_bp = rule.sp == OrcRule::Base::bp_indirect;
    if (at_sp || at_bp) {
      Bytes expression(format::kHostOrder);
      expression.u8(kRegister0 + base), expression.sleb(at_bp ? rule.sp_offset : 0);
      expression.u8(kDeref);
      if (at_sp) expression.u8(kConstSigned), expression.sleb(rule.sp_offset), expression.u8(kPlus);
      out.u8(kDefCfaExpression), out.uleb(expression.size());
      out.take().insert(out.take().end(), expression.take().begin(), expression.take().end());
    } else if (rule.sp_offset >= 0) {
      out.u8(kDefCfa), out.uleb(base), out.uleb(static_cast<uint64_t>(rule.sp_offset));
    } else if (rule.sp_offset % kDataAlignment == 0) {
      out.u8(kDefCfaSigned), out.uleb(base), out.sleb(rule.sp_offset / kDataAlignment);
    }
  }

  /// The frame is where sp is; the caller's registers are on the stack before it.
  static void on_other_stack(Bytes& out, const OrcRule& rule) {
    const auto before = [&](uint8_t how, uint8_t number, int offset) {
      Bytes expression(format::kHostOrder);
      expression.u8(kRegister0 + kRsp), expression.sleb(0);
      expression.u8(kDeref), expression.u8(kConstSigned), expression.sleb(rule.sp_offset + offset);
      expression.u8(kPlus);
      out.u8(how), out.uleb(number), out.uleb(expression.size());
      out.take().insert(out.take().end(), expression.take().begin(), expression.take().end());
    };
    out.u8(kDefCfa), out.uleb(kRsp), out.uleb(8);
    before(kValueExpression, kRsp, 0);
    before(kExpression, kReturn, -8);
    rule.bp == OrcRule::Base::prev_sp ? before(kExpression, kRbp, rule.bp_offset) : bp(out, rule);
  }

  static void bp(Bytes& out, const OrcRule& rule) {
    if (rule.bp == OrcRule::Base::prev_sp && rule.bp_offset % kDataAlignment == 0) {
      out.u8(kOffsetSigned), out.uleb(kRbp), out.sleb(rule.bp_offset / kDataAlignment);
    } else if (rule.bp == OrcRule::Base::bp) {
      Bytes expression(format::kHostOrder);
      expression.u8(kRegister0 + kRbp), expression.sleb(rule.bp_offset);
      out.u8(kExpression), out.uleb(kRbp), out.uleb(expression.size());
      out.take().insert(out.take().end(), expression.take().begin(), expression.take().end());
    } else {
      out.u8(kSameValue), out.uleb(kRbp);
    }
  }

  /// The CFA is where the registers are; each of them says where it stands.
  static void regs(Bytes& out, const OrcRule& rule) {
    const auto at = [&](uint8_t number, int offset) {
      out.u8(kOffsetSigned), out.uleb(number), out.sleb(offset / kDataAlignment);
    };
    cfa(out, rule);
    if (rule.type == OrcRule::Type::regs) {
      for (uint8_t number = 0; number < kPtRegs.size(); ++number) at(number, kPtRegs[number]);
      return;
    }
    for (uint8_t number = 0; number < kPtRegs.size(); ++number)
      if (number != kRsp && number != kReturn) out.u8(kSameValue), out.uleb(number);
    at(kReturn, 0), at(kRsp, 24);
  }

  FrameWriter& frame_;
  std::array<uint32_t, 5> cies_{};
  // The FDE that is open, and what its last row says.
  bool open_ = false, in_handler_ = false, in_thunk_ = false;
  Sort sort_ = Sort::none;
  uint64_t start_ = 0, last_ = 0;
  OrcRule rule_{};
  Bytes instructions_;
  size_t in_fde_ = 0, rows_ = 0;
};

/// As the kernel's names have it.
Functions functions_of(const Kernel& kernel) {
  Functions functions;
  if (!kernel.names()) return functions;
  for (const Symbol& symbol : kernel.names()->all()) {
    if (!std::string_view("tTwW").contains(symbol.type)) continue;
    functions.starts.push_back(symbol.address.value);
    if (is_handler(symbol.name)) functions.handlers.push_back(symbol.address.value);
    if (symbol.name.starts_with(kIndirectThunk)) functions.thunks.push_back(symbol.address.value);
  }
  for (auto* list : {&functions.starts, &functions.handlers, &functions.thunks}) {
    std::ranges::sort(*list);
    const auto same = std::ranges::unique(*list);
    list->erase(same.begin(), same.end());
  }
  return functions;
}

uint64_t end_of_code(const Kernel& kernel, const UnwindTables::Table& table) {
  if (table.module.empty()) {
    const auto init = kernel.address_of("_einittext"), text = kernel.address_of("_etext");
    return std::max(init ? init->value : 0, text ? text->value : 0);
  }
  const uint64_t last = table.orc.size() ? table.orc.address(table.orc.size() - 1).value : 0;
  for (const Module::Region& region : table.regions)
    if (last - region.address.value < region.size)
      return region.address.value + (region.text_size ? region.text_size : region.size);
  return last;
}

}  // namespace

size_t write_orc_frames(const Kernel& kernel, FrameWriter& frame, format::ByteOrder order) {
  OrcWriter orc(frame, order);
  size_t rows = 0;
  const Functions functions = functions_of(kernel);
  for (const UnwindTables::Table& table : kernel.unwind_tables().tables)
    rows += orc.write(table.orc, end_of_code(kernel, table), functions);
  return rows;
}

}  // namespace gcore::reader::linux_guest
