// x86_64 in long mode. Control registers, EFER and the other MSRs are those of the AMD64 manual, volume 2.
#include <cstdio>
#include <cstring>

#include "tools/gcore-vmm/boot.h"
#include "tools/gcore-vmm/unicorn_arch.h"

namespace gcore::tools::vmm {
namespace {

constexpr uint64_t kPresent = 1, kWritable = 2, kLargePage = 0x80;
constexpr uint64_t kAddressMask = 0x000ffffffffff000;
constexpr uint64_t kCr0 = 0x80010033;  // PG WP NE ET MP PE
constexpr uint64_t kCr0Paging = uint64_t{1} << 31;
constexpr uint64_t kCr4 = 0x620;  // OSXMMEXCPT OSFXSR PAE
constexpr uint64_t kCr4La57 = 1 << 12;
constexpr uint64_t kInterruptFlag = 1 << 9;
constexpr std::byte kHlt{0xf4};

struct NamedRegister {
  std::string_view name;
  int id;
};

constexpr NamedRegister kPlain[] = {
    {"rax", UC_X86_REG_RAX},     {"rbx", UC_X86_REG_RBX},         {"rcx", UC_X86_REG_RCX},
    {"rdx", UC_X86_REG_RDX},     {"rsi", UC_X86_REG_RSI},         {"rdi", UC_X86_REG_RDI},
    {"rbp", UC_X86_REG_RBP},     {"rsp", UC_X86_REG_RSP},         {"r8", UC_X86_REG_R8},
    {"r9", UC_X86_REG_R9},       {"r10", UC_X86_REG_R10},         {"r11", UC_X86_REG_R11},
    {"r12", UC_X86_REG_R12},     {"r13", UC_X86_REG_R13},         {"r14", UC_X86_REG_R14},
    {"r15", UC_X86_REG_R15},     {"rip", UC_X86_REG_RIP},         {"rflags", UC_X86_REG_RFLAGS},
    {"cs", UC_X86_REG_CS},       {"ss", UC_X86_REG_SS},           {"ds", UC_X86_REG_DS},
    {"es", UC_X86_REG_ES},       {"fs", UC_X86_REG_FS},           {"gs", UC_X86_REG_GS},
    {"cr0", UC_X86_REG_CR0},     {"cr2", UC_X86_REG_CR2},         {"cr3", UC_X86_REG_CR3},
    {"cr4", UC_X86_REG_CR4},     {"fs_base", UC_X86_REG_FS_BASE}, {"gs_base", UC_X86_REG_GS_BASE},
    {"dr0", UC_X86_REG_DR0},     {"dr1", UC_X86_REG_DR1},         {"dr2", UC_X86_REG_DR2},
    {"dr3", UC_X86_REG_DR3},     {"dr6", UC_X86_REG_DR6},         {"dr7", UC_X86_REG_DR7},
    {"fctrl", UC_X86_REG_FPCW},  {"fstat", UC_X86_REG_FPSW},      {"ftag", UC_X86_REG_FPTAG},
    {"fop", UC_X86_REG_FOP},     {"fip", UC_X86_REG_FIP},         {"fdp", UC_X86_REG_FDP},
    {"mxcsr", UC_X86_REG_MXCSR},
};

// cr8, xcr0 and apic_base are missing: the engine has no means to read the first two, and no APIC.
constexpr struct {
  std::string_view name;
  uint32_t msr;
} kMsrs[] = {
    {"efer", 0xc0000080},   {"star", 0xc0000081},    {"lstar", 0xc0000082},
    {"cstar", 0xc0000083},  {"fmask", 0xc0000084},   {"kernel_gs_base", 0xc0000102},
    {"sysenter_cs", 0x174}, {"sysenter_esp", 0x175}, {"sysenter_eip", 0x176},
    {"pat", 0x277},
};

class X86_64 : public Arch {
 public:
  format::Machine machine() const override { return format::Machine::x86_64; }
  std::expected<uc_engine*, std::string> open() const override {
    uc_engine* engine = nullptr;
    if (const uc_err error = uc_open(UC_ARCH_X86, UC_MODE_64, &engine); error != UC_ERR_OK)
      return std::unexpected(std::string(uc_strerror(error)));
    return engine;
  }

  bool boot(uc_engine* engine, const BootState& state) const override {
    // The page tables of the boot state come before CR0.PG; so does CR4.PAE, or the engine walks 32-bit tables.
    // EFER has LME and LMA from the start; the emulated CPU has neither NX nor SYSCALL, so no other bit can be set.
    return write_register(engine, UC_X86_REG_CR4, kCr4) &&
           write_register(engine, UC_X86_REG_CR3, state.ram_address + GCORE_BOOT_PML4) &&
           write_register(engine, UC_X86_REG_CR0, kCr0) && write_register(engine, UC_X86_REG_RDI, state.cpu) &&
           write_register(engine, UC_X86_REG_RSI, state.cpu_count) &&
           write_register(engine, UC_X86_REG_RDX, state.ram_address) &&
           write_register(engine, UC_X86_REG_RCX, state.ram_size) &&
           write_register(engine, UC_X86_REG_R8, state.cmdline_address) &&
           write_register(engine, UC_X86_REG_RFLAGS, 2) && write_register(engine, UC_X86_REG_RIP, state.entry);
  }

  uint64_t pc(uc_engine* engine) const override { return read_register(engine, UC_X86_REG_RIP); }
  void set_pc(uc_engine* engine, uint64_t pc) const override { write_register(engine, UC_X86_REG_RIP, pc); }

  Wait waiting(uc_engine* engine, const GuestMemory& memory) const override {
    const uint64_t hlt = pc(engine) - 1;  // the engine stands after it
    const auto page = translate(engine, hlt, memory);
    if (!page) return Wait::none;
    const std::byte* code = memory.at(page->physical_address + (hlt - page->virtual_address), 1);
    if (code == nullptr || *code != kHlt) return Wait::none;
    return (read_register(engine, UC_X86_REG_RFLAGS) & kInterruptFlag) != 0 ? Wait::until_tick : Wait::forever;
  }

  std::optional<Page> translate(uc_engine* engine, uint64_t address, const GuestMemory& memory) const override {
    constexpr uint64_t kSmallest = 4096;
    if ((read_register(engine, UC_X86_REG_CR0) & kCr0Paging) == 0)
      return Page{address & ~(kSmallest - 1), address & ~(kSmallest - 1), kSmallest};
    const bool five_levels = (read_register(engine, UC_X86_REG_CR4) & kCr4La57) != 0;
    const int sign_bit = five_levels ? 56 : 47;
    const int64_t above = static_cast<int64_t>(address) >> sign_bit;
    if (above != 0 && above != -1) return std::nullopt;
    uint64_t table = read_register(engine, UC_X86_REG_CR3) & kAddressMask;
    for (int level = five_levels ? 4 : 3; level >= 0; --level) {
      const int shift = 12 + 9 * level;
      const std::byte* entry_at = memory.at(table + 8 * (address >> shift & 511), 8);
      if (entry_at == nullptr) return std::nullopt;
      const uint64_t entry = format::load<uint64_t>(entry_at, format::ByteOrder::little);
      if ((entry & kPresent) == 0) return std::nullopt;
      const uint64_t size = uint64_t{1} << shift;
      if (level == 0 || ((level == 1 || level == 2) && (entry & kLargePage) != 0))
        return Page{address & ~(size - 1), entry & kAddressMask & ~(size - 1), size};
      table = entry & kAddressMask;
    }
    return std::nullopt;
  }

  std::string exception(uc_engine* engine, uint32_t number) const override {
    static constexpr const char* kNames[] = {"divide error",
                                             "debug exception",
                                             "NMI",
                                             "breakpoint",
                                             "overflow",
                                             "bound range",
                                             "invalid opcode",
                                             "device not available",
                                             "double fault",
                                             "coprocessor overrun",
                                             "invalid TSS",
                                             "segment not present",
                                             "stack fault",
                                             "general protection fault",
                                             "page fault"};
    char text[64];
    if (number == 14) {
      std::snprintf(text, sizeof text, "page fault at 0x%llx",
                    static_cast<unsigned long long>(read_register(engine, UC_X86_REG_CR2)));
    } else if (number < std::size(kNames)) {
      std::snprintf(text, sizeof text, "%s (exception %u)", kNames[number], number);
    } else {
      std::snprintf(text, sizeof text, "exception or interrupt %u", number);
    }
    return text;
  }

  void read_registers(uc_engine* engine, format::RegisterFile& registers) const override {
    for (const NamedRegister& plain : kPlain) registers.put(plain.name, read_register(engine, plain.id));
    for (const auto& named : kMsrs) {
      uc_x86_msr msr{named.msr, 0};
      if (uc_reg_read(engine, UC_X86_REG_MSR, &msr) == UC_ERR_OK) registers.put(named.name, msr.value);
    }
    read_descriptor_tables(engine, registers);
    read_vectors(engine, registers);
  }

 private:
  static void read_descriptor_tables(uc_engine* engine, format::RegisterFile& registers) {
    const auto read = [&](int id, const char* selector, const char* base, const char* limit) {
      uc_x86_mmr table{};
      if (uc_reg_read(engine, id, &table) != UC_ERR_OK) return;
      if (selector != nullptr) registers.put(selector, table.selector);
      registers.put(base, table.base);
      registers.put(limit, table.limit);
    };
    read(UC_X86_REG_GDTR, nullptr, "gdt_base", "gdt_limit");
    read(UC_X86_REG_IDTR, nullptr, "idt_base", "idt_limit");
    read(UC_X86_REG_TR, "tr", "tr_base", "tr_limit");
    read(UC_X86_REG_LDTR, "ldtr", "ldt_base", "ldt_limit");
  }

  static void read_vectors(uc_engine* engine, format::RegisterFile& registers) {
    for (int i = 0; i < 8; ++i) {
      uint8_t bytes[16] = {};
      if (uc_reg_read(engine, UC_X86_REG_ST0 + i, bytes) != UC_ERR_OK) continue;
      const std::string name = "st" + std::to_string(i);
      registers.put(name + ".lo", format::load<uint64_t>(bytes, format::ByteOrder::little));
      registers.put(name + ".hi", format::load<uint16_t>(bytes + 8, format::ByteOrder::little));
    }
    for (int i = 0; i < 16; ++i) {
      uint8_t bytes[16] = {};
      if (uc_reg_read(engine, UC_X86_REG_XMM0 + i, bytes) != UC_ERR_OK) continue;
      const std::string name = "xmm" + std::to_string(i);
      registers.put(name + ".lo", format::load<uint64_t>(bytes, format::ByteOrder::little));
      registers.put(name + ".hi", format::load<uint64_t>(bytes + 8, format::ByteOrder::little));
    }
  }
};

}  // namespace

const Arch& x86_64_arch() {
  static const X86_64 arch;
  return arch;
}

}  // namespace gcore::tools::vmm
