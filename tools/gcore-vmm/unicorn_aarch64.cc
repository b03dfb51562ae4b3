// aarch64 at EL1. System registers are those of the Arm Architecture Reference Manual for A-profile.
#include <cstdio>

#include "tools/gcore-vmm/boot.h"
#include "tools/gcore-vmm/unicorn_arch.h"

namespace gcore::tools::vmm {
namespace {

constexpr uint64_t kBootPstate = 0x3c5;      // EL1h, D A I F masked
constexpr uint64_t kScrLowerIs64 = 1 << 10;  // SCR_EL3.RW
constexpr uint64_t kCpacrFloatingPoint = 3 << 20;
constexpr uint32_t kWfi = 0xd503207f;
constexpr uint64_t kAddressMask = 0x0000fffffffff000;

/// A system register, as MRS and MSR name it.
struct SystemRegister {
  std::string_view name;
  uint32_t op0, op1, crn, crm, op2;
};

constexpr SystemRegister kScrEl3{"scr_el3", 3, 6, 1, 1, 0};
constexpr SystemRegister kSctlr{"sctlr_el1", 3, 0, 1, 0, 0}, kTcr{"tcr_el1", 3, 0, 2, 0, 2};
constexpr SystemRegister kTtbr0{"ttbr0_el1", 3, 0, 2, 0, 0}, kTtbr1{"ttbr1_el1", 3, 0, 2, 0, 1};
constexpr SystemRegister kCpacr{"cpacr_el1", 3, 0, 1, 0, 2};
constexpr SystemRegister kEsr{"esr_el1", 3, 0, 5, 2, 0}, kFar{"far_el1", 3, 0, 6, 0, 0};
// mpidr_el1 is missing: every engine says that it is the first CPU.
constexpr SystemRegister kSystem[] = {
    kSctlr,
    kTcr,
    kTtbr0,
    kTtbr1,
    kCpacr,
    kEsr,
    kFar,
    {"mair_el1", 3, 0, 10, 2, 0},
    {"vbar_el1", 3, 0, 12, 0, 0},
    {"elr_el1", 3, 0, 4, 0, 1},
    {"spsr_el1", 3, 0, 4, 0, 0},
    {"tpidr_el0", 3, 3, 13, 0, 2},
    {"tpidrro_el0", 3, 3, 13, 0, 3},
    {"tpidr_el1", 3, 0, 13, 0, 4},
    {"contextidr_el1", 3, 0, 13, 0, 1},
    {"midr_el1", 3, 0, 0, 0, 0},
    {"par_el1", 3, 0, 7, 4, 0},
    {"id_aa64mmfr0_el1", 3, 0, 0, 7, 0},
};

std::optional<uint64_t> read_system(uc_engine* engine, const SystemRegister& which) {
  uc_arm64_cp_reg access{which.crn, which.crm, which.op0, which.op1, which.op2, 0};
  if (uc_reg_read(engine, UC_ARM64_REG_CP_REG, &access) != UC_ERR_OK) return std::nullopt;
  return access.val;
}

bool write_system(uc_engine* engine, const SystemRegister& which, uint64_t value) {
  uc_arm64_cp_reg access{which.crn, which.crm, which.op0, which.op1, which.op2, value};
  return uc_reg_write(engine, UC_ARM64_REG_CP_REG, &access) == UC_ERR_OK;
}

int general_register(int number) {
  if (number == 29) return UC_ARM64_REG_X29;
  if (number == 30) return UC_ARM64_REG_X30;
  return UC_ARM64_REG_X0 + number;
}

class Aarch64 : public Arch {
 public:
  format::Machine machine() const override { return format::Machine::aarch64; }
  std::expected<uc_engine*, std::string> open() const override {
    uc_engine* engine = nullptr;
    if (const uc_err error = uc_open(UC_ARCH_ARM64, UC_MODE_ARM, &engine); error != UC_ERR_OK)
      return std::unexpected(std::string(uc_strerror(error)));
    return engine;
  }

  bool boot(uc_engine* engine, const BootState& state) const override {
    // The emulated CPU has an EL3, which must say that EL1 is 64-bit, or the MMU takes the tables for 32-bit ones.
    // SCR_EL3.NS stays clear: the engine has one address space, and it is the secure one.
    if (!write_system(engine, kScrEl3, kScrLowerIs64)) return false;
    const uint64_t arguments[] = {state.cpu, state.cpu_count, state.ram_address, state.ram_size, state.cmdline_address};
    for (int i = 0; i < 5; ++i)
      if (!write_register(engine, general_register(i), arguments[i])) return false;
    return write_register(engine, UC_ARM64_REG_PSTATE, kBootPstate) &&
           write_system(engine, kCpacr, kCpacrFloatingPoint) && write_register(engine, UC_ARM64_REG_PC, state.entry);
  }

  uint64_t pc(uc_engine* engine) const override { return read_register(engine, UC_ARM64_REG_PC); }
  void set_pc(uc_engine* engine, uint64_t pc) const override { write_register(engine, UC_ARM64_REG_PC, pc); }

  Wait waiting(uc_engine* engine, const GuestMemory& memory) const override {
    const uint64_t before = pc(engine) - 4;  // the engine stands after the WFI
    const auto page = translate(engine, before, memory);
    if (!page) return Wait::none;
    const std::byte* code = memory.at(page->physical_address + (before - page->virtual_address), 4);
    const bool wfi = code != nullptr && format::load<uint32_t>(code, format::ByteOrder::little) == kWfi;
    return wfi ? Wait::until_tick : Wait::none;
  }

  // 4 KiB granule only, as the built-in guest uses it; elsewhere nothing is found and the guest stops with an
  // exception.
  std::optional<Page> translate(uc_engine* engine, uint64_t address, const GuestMemory& memory) const override {
    const uint64_t identity = address & kAddressMask;
    if ((read_system(engine, kSctlr).value_or(0) & 1) == 0) return Page{identity, identity, 4096};
    const bool high = address >> 63 != 0;
    const uint64_t tcr = read_system(engine, kTcr).value_or(0);
    const int bits = 64 - static_cast<int>(tcr >> (high ? 16 : 0) & 63);
    const uint64_t granule = high ? tcr >> 30 & 3 : tcr >> 14 & 3;
    if (granule != (high ? 2 : 0) || bits < 25 || bits > 48) return std::nullopt;
    uint64_t table = read_system(engine, high ? kTtbr1 : kTtbr0).value_or(0) & kAddressMask;
    for (int shift = 12 + 9 * ((bits - 13) / 9); shift >= 12; shift -= 9) {
      const uint64_t index = address >> shift & 511 & ((uint64_t{1} << (bits - shift < 9 ? bits - shift : 9)) - 1);
      const std::byte* at = memory.at(table + 8 * index, 8);
      if (at == nullptr) return std::nullopt;
      const uint64_t entry = format::load<uint64_t>(at, format::ByteOrder::little);
      if ((entry & 1) == 0) return std::nullopt;
      const uint64_t size = uint64_t{1} << shift;
      const bool is_table = (entry & 2) != 0;
      if (shift == 12 && !is_table) return std::nullopt;
      if (shift == 12 || !is_table) return Page{address & ~(size - 1), entry & kAddressMask & ~(size - 1), size};
      table = entry & kAddressMask;
    }
    return std::nullopt;
  }

  std::string exception(uc_engine* engine, uint32_t number) const override {
    char text[96];
    std::snprintf(text, sizeof text, "exception %u, esr_el1 0x%llx, far_el1 0x%llx", number,
                  static_cast<unsigned long long>(read_system(engine, kEsr).value_or(0)),
                  static_cast<unsigned long long>(read_system(engine, kFar).value_or(0)));
    return text;
  }

  void read_registers(uc_engine* engine, format::RegisterFile& registers) const override {
    for (int i = 0; i <= 30; ++i) registers.put("x" + std::to_string(i), read_register(engine, general_register(i)));
    registers.put("sp", read_register(engine, UC_ARM64_REG_SP));
    registers.put("elr", read_register(engine, UC_ARM64_REG_PC));
    const uint64_t pstate = read_register(engine, UC_ARM64_REG_PSTATE) & 0xffffffff;
    registers.put("pstate", pstate);
    for (const SystemRegister& which : kSystem)
      if (const auto value = read_system(engine, which)) registers.put(which.name, *value);
    // The engine keeps the stack pointer that is in use apart from its bank.
    const bool own_stack = (pstate & 1) != 0;
    registers.put("sp_el0", read_register(engine, own_stack ? UC_ARM64_REG_SP_EL0 : UC_ARM64_REG_SP));
    registers.put("sp_el1", read_register(engine, own_stack ? UC_ARM64_REG_SP : UC_ARM64_REG_SP_EL1));
    for (int i = 0; i < 32; ++i) {
      uint8_t bytes[16] = {};
      if (uc_reg_read(engine, UC_ARM64_REG_V0 + i, bytes) != UC_ERR_OK) continue;
      const std::string name = "v" + std::to_string(i);
      registers.put(name + ".lo", format::load<uint64_t>(bytes, format::ByteOrder::little));
      registers.put(name + ".hi", format::load<uint64_t>(bytes + 8, format::ByteOrder::little));
    }
    registers.put("fpsr", read_register(engine, UC_ARM64_REG_FPSR) & 0xffffffff);
    registers.put("fpcr", read_register(engine, UC_ARM64_REG_FPCR) & 0xffffffff);
  }
};

}  // namespace

const Arch& aarch64_arch() {
  static const Aarch64 arch;
  return arch;
}

}  // namespace gcore::tools::vmm
