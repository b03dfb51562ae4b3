#include "reader/guest/linux/symbols/aarch64_frames.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "reader/guest/linux/kallsyms.h"
#include "reader/guest/linux/symbols/aarch64_code.h"
#include "writer/format/endian.h"

namespace gcore::reader::linux_guest {
namespace {

// DWARF's numbers are those of the registers up to sp; 32 is the pc.
constexpr uint8_t kFp = 29, kLr = 30, kSp = 31, kPc = 32;
constexpr int kDataAlignment = -8;

/// Names may lie: a larger function is not followed, and all of the frames take no more than that.
constexpr uint64_t kMaxFunction = 256 << 10;
constexpr size_t kMaxFrameBytes = 64 << 20;
constexpr uint64_t kVectorsOfLowerLevels = 0x400;  // Arm Architecture Reference Manual, D1.3.1: table of vectors
constexpr uint64_t kMaxRange = 64 << 20;           // of code that is gone
constexpr unsigned kUsualAddressBits = 48;
constexpr uint64_t kUsualRecordInRegisters = 304;  // pt_regs.stackframe, where the kernel's types do not tell

/// Code that calls what handles an exception, with struct pt_regs at sp. Up to 5.11 it also changes to another stack
/// before the call: there x29 leads to the frame record in pt_regs.
struct Entry {
  std::string_view name;
  bool by_x29;
};
constexpr Entry kEntries[]{
    {"el1h_64_irq", false},  {"el1h_64_sync", false},  {"el1h_64_fiq", false},    {"el1h_64_error", false},
    {"el1t_64_irq", false},  {"el1t_64_sync", false},  {"el1t_64_fiq", false},    {"el1t_64_error", false},
    {"el0t_64_irq", false},  {"el0t_64_sync", false},  {"el0t_64_fiq", false},    {"el0t_64_error", false},
    {"el0t_32_irq", false},  {"el0t_32_sync", false},  {"el0t_32_fiq", false},    {"el0t_32_error", false},
    {"el1_irq", true},       {"el1_sync", true},       {"el1_fiq", true},         {"el1_error", true},
    {"el0_irq", true},       {"el0_sync", true},       {"el0_fiq", true},         {"el0_error", true},
    {"el0_irq_naked", true}, {"el0_irq_compat", true}, {"el0_sync_compat", true}, {"el0_error_naked", true}};

bool is_entry(std::string_view name) {
  // What the processor jumps to has no stack of its own yet, and no registers of its caller's.
  return name == "vectors" || name.starts_with("tramp_") || name.starts_with("__bp_harden") ||
         std::ranges::any_of(kEntries, [&](const Entry& entry) { return entry.name == name; });
}

bool is_code(const Symbol& symbol) {
  return (symbol.type == 't' || symbol.type == 'T' || symbol.type == 'w' || symbol.type == 'W') && symbol.size != 0 &&
         symbol.address.value % 4 == 0 && !symbol.name.starts_with("__initstub__") && !is_section_mark(symbol);
}

class Aarch64Writer {
 public:
  Aarch64Writer(const Kernel& kernel, FrameWriter& frame, format::ByteOrder order)
      : kernel_(kernel), frame_(frame), order_(order) {
    const unsigned bits = kernel.memory().space().translator().paging().upper.address_bits;
    if (bits >= 32 && bits < 56) address_bits_ = bits;
    make_cies();
  }

  size_t write() {
    write_entries();
    write_gone();
    std::vector<Symbol> functions;
    for (const Symbol& symbol : kernel_.names()->all())
      if (is_code(symbol) && !is_entry(symbol.name)) functions.push_back(symbol);
    std::ranges::sort(functions, {}, [](const Symbol& s) { return s.address.value; });
    uint64_t covered = 0;
    for (const Symbol& function : functions) {
      // Several names of one function, and a name within it.
      if (function.address.value < covered || is_gone(function.address.value)) continue;
      if (frame_.take().size() > kMaxFrameBytes) break;
      covered = function.address.value + write_function(function);
    }
    return rows_;
  }

 private:
  void make_cies() {
    Bytes common(order_);
    // What a call may change, a debugger shows as <not saved> rather than as a callee's value.
    for (uint8_t number = 0; number < 18; ++number) common.u8(kUndefined), common.uleb(number);
    Bytes function = common;
    function.u8(kDefCfa), function.uleb(kSp), function.uleb(0);
    for (size_t number = Aarch64Frame::kFirstSaved; number <= kFp; ++number)
      function.u8(kSameValue), function.uleb(number);
    Bytes lr(order_);
    lr.u8(kRegister0 + kLr), lr.sleb(0);
    without_signature(function, lr);
    function_ = frame_.cie(false, 4, kDataAlignment, kLr, function.take());
    // gdb takes a stack for corrupt whose outer frame lies below its inner one, as the task's stack may lie below that
    // of interrupts; but not where a signal came.
    changes_stack_ = frame_.cie(true, 4, kDataAlignment, kLr, function.take());

    // By the frame record alone, where the code is gone: sp is then where the record ends.
    Bytes record = common;
    record.u8(kDefCfa), record.uleb(kFp), record.uleb(16);
    record.u8(kOffset | kFp), record.uleb(2);
    saved_return(record, 8);
    record_ = frame_.cie(false, 4, kDataAlignment, kLr, record.take());

    // Nothing is on the stack, and the registers are not the kernel's.
    Bytes last(order_);
    last.u8(kDefCfa), last.uleb(kSp), last.uleb(0);
    last.u8(kUndefined), last.uleb(kLr);
    outermost_ = frame_.cie(false, 4, kDataAlignment, kLr, last.take());

    for (const bool by_x29 : {false, true}) {
      Bytes regs(order_);
      if (by_x29) {
        const uint64_t to_start = kernel_.offset("pt_regs", "stackframe").value_or(kUsualRecordInRegisters);
        regs.u8(kDefCfaSigned), regs.uleb(kFp), regs.sleb(static_cast<int64_t>(to_start) / -kDataAlignment);
      } else {
        regs.u8(kDefCfa), regs.uleb(kSp), regs.uleb(0);
      }
      for (uint8_t number = 0; number <= kPc; ++number) regs.u8(kOffsetSigned), regs.uleb(number), regs.sleb(-number);
      (by_x29 ? entry_by_x29_ : entry_) = frame_.cie(true, 4, kDataAlignment, kPc, regs.take());
    }
  }

  /// x30 is what `expression` leaves, as an address of the kernel: without what signs it.
  void without_signature(Bytes& out, Bytes expression) const {
    expression.u8(kConst1Signed), expression.u8(0xff);
    expression.u8(kConst1), expression.u8(address_bits_);
    expression.u8(kShiftLeft), expression.u8(kOr);
    out.u8(kValueExpression), out.uleb(kLr), out.uleb(expression.size());
    out.take().insert(out.take().end(), expression.take().begin(), expression.take().end());
  }
  /// The expression begins with the CFA.
  void saved_return(Bytes& out, uint64_t below_cfa) const {
    Bytes expression(order_);
    expression.u8(kConstUnsigned), expression.uleb(below_cfa);
    expression.u8(kMinus), expression.u8(kDeref);
    without_signature(out, std::move(expression));
  }

  void fde(uint32_t cie, uint64_t start, uint64_t size, Bytes instructions) {
    frame_.fde(cie, start, size, instructions.take());
    ++rows_;
  }

  void write_entries() {
    const bool has_new_names =
        kernel_.names()->find("el1h_64_sync").has_value();  // then the old ones are something else
    for (const Entry& entry : kEntries) {
      if (entry.by_x29 && has_new_names) continue;
      if (const auto symbol = kernel_.names()->find(entry.name); symbol && symbol->size != 0)
        fde(entry.by_x29 ? entry_by_x29_ : entry_, symbol->address.value, symbol->size, Bytes(order_));
    }
    // What the kernel was at when an exception came is in ELR_EL1, which no debugger asks for: who called it, is not.
    const auto vectors = kernel_.names()->find("vectors");
    if (!vectors || vectors->size < kVectorsOfLowerLevels) return;
    fde(record_, vectors->address.value, kVectorsOfLowerLevels, Bytes(order_));
    if (const uint64_t rest = vectors->size - kVectorsOfLowerLevels; rest != 0)
      fde(outermost_, vectors->address.value + kVectorsOfLowerLevels, rest, Bytes(order_));
  }

  /// The code of the kernel's start is freed when it has run; below it stands the stack of the first CPU's idle task.
  void write_gone() {
    const auto start = kernel_.address_of("_sinittext"), end = kernel_.address_of("_einittext");
    if (!start || !end || *end <= *start || end->value - start->value > kMaxRange) return;
    gone_ = {start->value, end->value};
    fde(record_, gone_.first, gone_.second - gone_.first, Bytes(order_));
  }
  bool is_gone(uint64_t address) const { return address >= gone_.first && address < gone_.second; }

  /// Returns how many bytes the entry covers.
  uint64_t write_function(const Symbol& function) {
    const uint64_t start = function.address.value;
    if (function.size > kMaxFunction) return 0;
    const size_t count = function.size / 4;
    bytes_.resize(count * 4);
    if (count == 0) return 0;
    if (!kernel_.memory().read_exactly(function.address, bytes_)) {
      fde(record_, start, function.size, Bytes(order_));
      return function.size;
    }
    code_.resize(count);
    // Instructions are little-endian whatever data is.
    for (size_t i = 0; i < count; ++i) code_[i] = format::load<uint32_t>(&bytes_[i * 4], format::ByteOrder::little);
    const auto rows = follow_aarch64_code(code_);
    Bytes instructions(order_);
    Aarch64Frame now;
    size_t at = 0;
    for (const Aarch64Row& row : rows) {
      advance(instructions, row.instruction - at);  // in units of the code alignment
      at = row.instruction;
      change(instructions, now, row.frame);
      now = row.frame;
    }
    rows_ += rows.size() - 1;
    fde(function.name == "call_on_irq_stack" ? changes_stack_ : function_, start, function.size,
        std::move(instructions));
    return function.size;
  }

  void change(Bytes& out, const Aarch64Frame& from, const Aarch64Frame& to) const {
    if (from.by_x29 != to.by_x29 || from.distance != to.distance)
      out.u8(kDefCfa), out.uleb(to.by_x29 ? kFp : kSp), out.uleb(static_cast<uint64_t>(to.distance));
    for (uint8_t number = Aarch64Frame::kFirstSaved; number <= kFp; ++number) {
      const size_t i = number - Aarch64Frame::kFirstSaved;
      if (from.saved[i] == to.saved[i]) continue;
      if (to.saved[i] == 0)
        out.u8(kRestore | number);
      else if (to.saved[i] % 8 == 0)
        out.u8(kOffset | number), out.uleb(to.saved[i] / 8);
    }
    if (from.saved.back() == to.saved.back() && from.lost_return == to.lost_return) return;
    if (to.lost_return)
      out.u8(kUndefined), out.uleb(kLr);
    else if (to.saved.back() != 0)
      saved_return(out, to.saved.back());
    else
      out.u8(kRestore | kLr);
  }

  const Kernel& kernel_;
  FrameWriter& frame_;
  const format::ByteOrder order_;
  unsigned address_bits_ = kUsualAddressBits;
  uint32_t function_ = 0, changes_stack_ = 0, record_ = 0, outermost_ = 0, entry_ = 0, entry_by_x29_ = 0;
  std::pair<uint64_t, uint64_t> gone_{};
  std::vector<std::byte> bytes_;
  std::vector<uint32_t> code_;
  size_t rows_ = 0;
};

}  // namespace

size_t write_aarch64_frames(const Kernel& kernel, FrameWriter& frame, format::ByteOrder order) {
  return kernel.names() ? Aarch64Writer(kernel, frame, order).write() : 0;
}

}  // namespace gcore::reader::linux_guest
