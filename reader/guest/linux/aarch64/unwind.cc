// aarch64: by the frame records that kernel code keeps (x29 leads to {caller's x29, return address}), as
// arch/arm64/kernel/stacktrace.c does.
//
// Where the kernel was entered, its entry code puts a record into struct pt_regs. Up to 6.12 that of an interrupted
// kernel is {x29, pc} as they were, so that the chain goes on by itself, and that of an entry from user mode is {0, 0}.
// From 6.13 on it is {0, 0} in both, and a number follows it: 1 where the stack ends, 2 where the kernel was
// interrupted.
#include <fmt/format.h>

#include <array>

#include "reader/guest/linux/aarch64/parts.h"
#include "reader/guest/linux/unwind_machine.h"
#include "writer/format/endian.h"

namespace gcore::reader::linux_guest {
namespace {

constexpr uint64_t kTypeRegisters = 2;  // FRAME_META_TYPE_PT_REGS of enum frame_meta_type
// Of struct pt_regs, where the kernel's types do not tell; checked against what it then holds.
constexpr uint64_t kRecordInRegisters = 304;
constexpr uint64_t kMaxFunctionBytes = 64 << 10;
constexpr size_t kPtRegsBytes = 272;               // of struct pt_regs, up to pstate
constexpr uint64_t kVectorsOfLowerLevels = 0x400;  // Arm Architecture Reference Manual, D1.3.1: table of vectors

struct Slots {
  size_t pc, sp, x29, x30, pstate, first;

  static const Slots& get() {
    static const Slots slots = [] {
      const auto slot = [](const char* name) {
        return format::find_register(format::Machine::aarch64, name).value_or(0);
      };
      return Slots{slot("elr"), slot("sp"), slot("x29"), slot("x30"), slot("pstate"), slot("x0")};
    }();
    return slots;
  }
};

// Instructions, by the Arm Architecture Reference Manual, C4.1 and C6.2.
constexpr bool sets_frame_pointer(uint32_t code) { return (code & 0xffc003ff) == 0x910003fd; }  // add x29, sp, #n
/// ldp x29, x30, [sp...]: before, after or without an update of sp
constexpr bool restores_frame(uint32_t code) {
  return (code & 0x7fff) == 0x7bfd && ((code >> 22) == 0x2a3 || (code >> 22) == 0x2a5 || (code >> 22) == 0x2a7);
}
/// A branch, or what else changes control; the hints among the system instructions (autiasp) do not.
constexpr bool is_branch(uint32_t code) {
  return (code & 0x1c000000) == 0x14000000 && (code & 0xfffff01f) != 0xd503201f;
}

class Aarch64Unwinder final : public Unwinder {
 public:
  Aarch64Unwinder(const Kernel& kernel, const format::RegisterFile& registers, size_t max_frames)
      : Unwinder(kernel, registers, max_frames),
        record_offset_(kernel.offset("pt_regs", "stackframe").value_or(kRecordInRegisters)) {}

 private:
  bool begin() override {
    if (!now_.get_slot(slots_.pc)) {
      why_ = "the pc is not known";
      return false;
    }
    strip(slots_.pc);
    const auto place = kernel_.lookup(pc());
    exact_ = now_.get_slot(slots_.pstate).has_value() || (place && place->offset == 0);
    return true;
  }
  VirtAddr pc() const override { return VirtAddr(*now_.get_slot(slots_.pc)); }
  /// Where sp is not known, the frame's record: kernel functions keep it at the bottom of their frame.
  VirtAddr sp() const override {
    return VirtAddr(now_.get_slot(slots_.sp).value_or(now_.get_slot(slots_.x29).value_or(0)));
  }
  void strip(size_t slot) {
    if (const auto value = now_.get_slot(slot))
      now_.set_slot(slot, memory_.space().without_tag(VirtAddr(*value)).value);
  }

  Next step() override {
    if (exact_ && has_registers_of_user()) return Next::end;  // ELR_EL1 has its pc, which dumps seldom have
    if (exact_ && caller_is_in_x30()) return to_x30();
    const auto fp = now_.get_slot(slots_.x29);
    if (!fp) return lose("x29 is not known");
    if (*fp == 0) return Next::end;  // before 5.12 a kernel thread's stack ends so
    const auto next = memory_.u64(VirtAddr(*fp)), pc = memory_.u64(VirtAddr(*fp + 8));
    if (*fp % 8 != 0 || !memory_.is_kernel_address(VirtAddr(*fp)) || !next || !pc)
      return lose(fmt::format("there is no frame record at {:#x}, where x29 points", *fp));
    if (*next == 0 && *pc == 0) return at_entry(*fp);
    const VirtAddr caller = memory_.space().without_tag(VirtAddr(*pc));
    if (const auto registers = registers_at(*fp); registers && registers->get_slot(slots_.x29) == *next &&
                                                  registers->get_slot(slots_.pc) == *pc && !is_user_mode(*registers))
      return interrupted(*registers);
    if (!is_kernel_code(kernel_, VirtAddr(caller.value - 1)))
      return lose(fmt::format("the return address {:#x} in the frame record at {:#x} is not in kernel code",
                              caller.value, *fp));
    now_.clear();
    now_.set_slot(slots_.x29, *next);
    now_.set_slot(slots_.pc, caller.value);
    exact_ = false;
    return Next::frame;
  }

  std::optional<format::RegisterFile> registers_at(uint64_t record) const {
    return aarch64_pt_regs(memory_, VirtAddr(record - record_offset_));
  }

  /// An empty record: where the kernel was entered.
  Next at_entry(uint64_t record) {
    const auto type = memory_.u64(VirtAddr(record + 16));
    const auto registers = registers_at(record);
    if (!registers) return lose(fmt::format("the registers before the record at {:#x} cannot be read", record));
    const auto pc = registers->get_slot(slots_.pc);
    if (type == kTypeRegisters && pc && is_kernel_code(kernel_, memory_.space().without_tag(VirtAddr(*pc))))
      return interrupted(*registers);
    if (!is_user_mode(*registers) || pc == 0) return Next::end;
    frames_.mark_interrupt();
    now_ = *registers;
    return Next::user;
  }

  Next interrupted(const format::RegisterFile& registers) {
    frames_.mark_interrupt();
    now_ = registers;
    strip(slots_.pc);
    exact_ = true;
    return Next::frame;
  }

  /// Whether this is the entry code's first or last stretch, in which registers are still, or again, those of user mode
  /// and nothing is on the stack.
  bool has_registers_of_user() const {
    const auto place = kernel_.lookup(VirtAddr(*now_.get_slot(slots_.pc)));
    if (!place) return false;
    const std::string_view name = place->symbol.name;
    if (name == "vectors") return place->offset >= kVectorsOfLowerLevels;
    if (is_trampoline(*place)) return true;
    const auto fp = now_.get_slot(slots_.x29);
    if (!fp || (name != "ret_to_user" && !name.starts_with("el0t_"))) return false;
    if (!memory_.is_kernel_address(VirtAddr(*fp))) return true;
    // The last instructions before the trampoline have its address there, and x29 in FAR_EL1.
    const auto next = kernel_.lookup(VirtAddr(*fp));
    return next && is_trampoline(*next);
  }

  /// Of page-table isolation: tramp_vectors, tramp_exit, tramp_exit_native, tramp_exit_compat.
  static bool is_trampoline(const Place& place) { return place.symbol.name.starts_with("tramp_"); }

  /// Whether a function that was interrupted has no frame record, or no longer: its caller is in x30 then, and x29 is
  /// still the caller's. By the instructions from the function's start.
  bool caller_is_in_x30() const {
    const uint64_t pc = *now_.get_slot(slots_.pc);
    const auto place = kernel_.lookup(VirtAddr(pc));
    const auto x30 = now_.get_slot(slots_.x30);
    if (!place || !x30 || pc % 4 != 0 || place->offset > kMaxFunctionBytes) return false;
    const VirtAddr caller = memory_.space().without_tag(VirtAddr(*x30));
    if (!is_kernel_code(kernel_, VirtAddr(caller.value - 1))) return false;
    const std::vector<uint32_t> code = instructions(place->symbol.address.value, place->offset / 4);
    if (code.size() != place->offset / 4) return false;
    bool has_frame = false;
    for (const uint32_t instruction : code) has_frame = has_frame || sets_frame_pointer(instruction);
    if (!has_frame) return true;
    // Straight before the pc: the end of the function, which has given its record up.
    for (size_t i = code.size(); i-- > 0 && !is_branch(code[i]);)
      if (restores_frame(code[i])) return true;
    return false;
  }

  std::vector<uint32_t> instructions(uint64_t address, size_t count) const {
    std::vector<std::byte> bytes(count * 4);
    bytes.resize(memory_.read(VirtAddr(address), bytes));
    std::vector<uint32_t> code(bytes.size() / 4);
    // Instructions are little-endian whatever data is.
    for (size_t i = 0; i < code.size(); ++i) code[i] = format::load<uint32_t>(&bytes[i * 4], format::ByteOrder::little);
    return code;
  }

  Next to_x30() {
    const auto x29 = now_.get_slot(slots_.x29), x30 = now_.get_slot(slots_.x30);
    now_.clear();
    if (x29) now_.set_slot(slots_.x29, *x29);
    now_.set_slot(slots_.pc, memory_.space().without_tag(VirtAddr(*x30)).value);
    exact_ = false;
    return Next::frame;
  }

  const Slots& slots_ = Slots::get();
  uint64_t record_offset_;
};

}  // namespace

std::optional<format::RegisterFile> aarch64_pt_regs(const KernelMemory& memory, VirtAddr address) {
  std::array<std::byte, kPtRegsBytes> bytes{};
  if (!memory.read_exactly(address, bytes)) return std::nullopt;
  format::RegisterFile registers(format::Machine::aarch64);
  // x0 to x30, sp, pc and pstate stand in this order here and there.
  for (size_t i = 0; i < bytes.size() / 8; ++i)
    registers.set_slot(Slots::get().first + i, format::load<uint64_t>(&bytes[i * 8], memory.dump().byte_order()));
  return registers;
}

Stack unwind_aarch64(const Kernel& kernel, const format::RegisterFile& registers, size_t max_frames) {
  return Aarch64Unwinder(kernel, registers, max_frames).run();
}

}  // namespace gcore::reader::linux_guest
