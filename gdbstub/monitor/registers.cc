// `monitor info registers`: a vCPU in the layout of QEMU's monitor (target/i386/cpu-dump.c, target/arm/cpu.c), which
// scripts parse. What the dump lacks is question marks; a line of which it has nothing is left out.
#include <fmt/format.h>

#include <algorithm>

#include "gdbstub/monitor/monitor.h"

namespace gcore::gdbstub {
namespace {

constexpr uint64_t kProtected = 1;                                              // CR0.PE
constexpr uint64_t kLongModeActive = 1 << 10;                                   // EFER.LMA
constexpr uint64_t kVirtual8086 = 1 << 17;                                      // EFLAGS.VM
constexpr uint64_t kSegmentPresent = 1 << 15, kLong = 1 << 21, kBig = 1 << 22;  // of a descriptor's second word
constexpr uint64_t kCodeOrData = 1 << 12, kCode = 1 << 11, kConforming = 1 << 10, kReadable = 1 << 9,
                   kAccessed = 1 << 8;

/// One vCPU's registers as text.
class Values {
 public:
  Values(const Client& client, size_t cpu) : client_(client), cpu_(cpu) {}

  std::optional<uint64_t> get(std::string_view name) const { return client_.register_value(cpu_, name); }
  bool has_any(std::initializer_list<std::string> names) const {
    return std::ranges::any_of(names, [this](const std::string& name) { return get(name).has_value(); });
  }
  std::string hex(std::string_view name, size_t digits, uint64_t mask = UINT64_MAX) const {
    return hex_of(get(name), digits, mask);
  }
  static std::string hex_of(std::optional<uint64_t> value, size_t digits, uint64_t mask = UINT64_MAX) {
    if (!value) return std::string(digits, '?');
    if (digits < 16) mask &= (uint64_t{1} << (4 * digits)) - 1;
    return fmt::format("{:0{}x}", *value & mask, digits);
  }
  /// A letter for each bit, from a table of "LETTER, bit"; '-' where it is clear.
  static std::string letters(std::optional<uint64_t> value, std::initializer_list<std::pair<char, unsigned>> bits) {
    std::string text;
    for (const auto& [letter, bit] : bits) text += !value ? '?' : (*value >> bit & 1) != 0 ? letter : '-';
    return text;
  }
  bool is_64_bit() const { return client_.target.arch() == Arch::x86_64; }

 private:
  const Client& client_;
  size_t cpu_;
};

// ---- x86

struct X86Mode {
  bool long_mode;   // EFER.LMA
  bool wide;        // and the code segment is a 64-bit one
  bool protected_;  // CR0.PE
  bool virtual_8086;
};

X86Mode mode_of(const Values& values) {
  const auto efer = values.get("efer"), code = values.get("cs_flags");
  X86Mode mode{};
  mode.long_mode = values.is_64_bit() && (!efer || (*efer & kLongModeActive) != 0);
  mode.wide = mode.long_mode && (!code || (*code & kLong) != 0);
  mode.protected_ = (values.get("cr0").value_or(kProtected) & kProtected) != 0;
  mode.virtual_8086 =
      !mode.long_mode && (values.get(values.is_64_bit() ? "rflags" : "efl").value_or(0) & kVirtual8086) != 0;
  return mode;
}

std::string x86_general(const Values& values, const X86Mode& mode) {
  constexpr std::pair<const char*, const char*> kNames[] = {{"AX", "ax"}, {"BX", "bx"}, {"CX", "cx"}, {"DX", "dx"},
                                                            {"SI", "si"}, {"DI", "di"}, {"BP", "bp"}, {"SP", "sp"}};
  const std::string prefix = values.is_64_bit() ? "r" : "e";
  const size_t digits = mode.wide ? 16 : 8;
  std::string text;
  int column = 0;
  const auto put = [&](std::string_view shown, const std::string& name) {
    text += fmt::format("{:<3}={}{}", shown, values.hex(name, digits), ++column % 4 == 0 ? "\n" : " ");
  };
  for (const auto& [shown, name] : kNames) put((mode.wide ? "R" : "E") + std::string(shown), prefix + name);
  for (int i = 8; mode.wide && i < 16; ++i) put(fmt::format("R{}", i), fmt::format("r{}", i));

  const std::string flags = values.is_64_bit() ? "rflags" : "efl";
  const auto cs = values.get("cs");
  const char level = !mode.protected_ ? '0' : mode.virtual_8086 ? '3' : cs ? static_cast<char>('0' + (*cs & 3)) : '?';
  text += fmt::format(
      "{0}IP={1} {0}FL={2} [{3}] CPL={4} II=? A20=? SMM=? HLT=?\n", mode.wide ? 'R' : 'E',
      values.hex(prefix + "ip", digits), values.hex(flags, 8),
      Values::letters(values.get(flags), {{'D', 10}, {'O', 11}, {'S', 7}, {'Z', 6}, {'A', 4}, {'P', 2}, {'C', 0}}),
      level);
  return text;
}

/// What QEMU says after a segment's numbers.
std::string segment_kind(uint64_t flags, const X86Mode& mode) {
  std::string text = fmt::format(" DPL={} ", flags >> 13 & 3);
  if ((flags & kCodeOrData) == 0) {
    constexpr const char* kSystem[2][16] = {
        {"Reserved", "TSS16-avl", "LDT", "TSS16-busy", "CallGate16", "TaskGate", "IntGate16", "TrapGate16", "Reserved",
         "TSS32-avl", "Reserved", "TSS32-busy", "CallGate32", "Reserved", "IntGate32", "TrapGate32"},
        {"<hiword>", "Reserved", "LDT", "Reserved", "Reserved", "Reserved", "Reserved", "Reserved", "Reserved",
         "TSS64-avl", "Reserved", "TSS64-busy", "CallGate64", "Reserved", "IntGate64", "TrapGate64"}};
    return text + kSystem[mode.long_mode ? 1 : 0][flags >> 8 & 15];
  }
  const bool code = (flags & kCode) != 0, big = (flags & kBig) != 0;
  if (code)
    text += (flags & kLong) != 0 ? "CS64" : big ? "CS32" : "CS16";
  else
    text += big || mode.long_mode ? "DS  " : "DS16";
  // The same two bits mean "expand down" and "writable" in a data segment.
  return text + fmt::format(" [{}{}{}]",
                            (flags & kConforming) == 0 ? '-'
                            : code                     ? 'C'
                                                       : 'E',
                            (flags & kReadable) == 0 ? '-'
                            : code                   ? 'R'
                                                     : 'W',
                            (flags & kAccessed) != 0 ? 'A' : '-');
}

std::string x86_segments(const Values& values, const X86Mode& mode) {
  constexpr uint64_t kFlags = 0x00ffff00;
  constexpr std::pair<const char*, const char*> kSegments[] = {
      {"ES", "es"}, {"CS", "cs"}, {"SS", "ss"}, {"DS", "ds"}, {"FS", "fs"}, {"GS", "gs"}, {"LDT", "ldt"}, {"TR", "tr"}};
  std::string text;
  for (const auto& [shown, name] : kSegments) {
    const std::string part = name, selector = part == "ldt" ? "ldtr" : part;
    if (!values.has_any({selector, part + "_base", part + "_limit", part + "_flags"})) continue;
    const auto flags = values.get(part + "_flags");
    text +=
        fmt::format("{:<3}={} {} {} {}", shown, values.hex(selector, 4), values.hex(part + "_base", mode.wide ? 16 : 8),
                    values.hex(part + "_limit", 8), Values::hex_of(flags, 8, kFlags));
    if (mode.protected_ && flags && (*flags & kSegmentPresent) != 0) text += segment_kind(*flags, mode);
    text += '\n';
  }
  for (const auto& [shown, name] : {std::pair{"GDT", "gdt"}, std::pair{"IDT", "idt"}}) {
    const std::string part = name;
    if (values.has_any({part + "_base", part + "_limit"}))
      text += fmt::format("{}=     {} {}\n", shown, values.hex(part + "_base", mode.long_mode ? 16 : 8),
                          values.hex(part + "_limit", 8));
  }
  return text;
}

std::string x86_control(const Values& values, const X86Mode& mode) {
  const size_t digits = mode.long_mode ? 16 : 8, debug_digits = values.is_64_bit() ? 16 : 8;
  std::string text;
  if (values.has_any({"cr0", "cr2", "cr3", "cr4"}))
    text += fmt::format("CR0={} CR2={} CR3={} CR4={}\n", values.hex("cr0", 8), values.hex("cr2", digits),
                        values.hex("cr3", digits), values.hex("cr4", 8));
  if (values.has_any({"dr0", "dr1", "dr2", "dr3", "dr6", "dr7"})) {
    for (const char* name : {"0", "1", "2", "3"})
      text += fmt::format("DR{}={} ", name, values.hex(std::string("dr") + name, debug_digits));
    text += fmt::format("\nDR6={} DR7={}\n", values.hex("dr6", debug_digits), values.hex("dr7", debug_digits));
  }
  if (values.get("efer")) text += fmt::format("EFER={}\n", values.hex("efer", 16));
  return text;
}

/// QEMU shows the x87 registers by their physical numbers, and of the tag word a bit each: is the register in use?
std::string x86_float(const Values& values) {
  std::string text;
  const auto status = values.get("fstat"), tags = values.get("ftag");
  const unsigned top = status ? *status >> 11 & 7 : 0;
  std::optional<uint64_t> used;
  if (tags) {
    used = 0;
    for (unsigned i = 0; i < 8; ++i) *used |= uint64_t{(*tags >> (2 * i) & 3) != 3} << i;
  }
  if (values.has_any({"fctrl", "fstat", "ftag", "mxcsr"}))
    text += fmt::format("FCW={} FSW={} [ST={}] FTW={} MXCSR={}\n", values.hex("fctrl", 4), values.hex("fstat", 4),
                        status ? static_cast<char>('0' + top) : '?', Values::hex_of(used, 2), values.hex("mxcsr", 8));
  for (unsigned i = 0; status && i < 8; ++i) {
    const std::string name = fmt::format("st{}", (i - top) & 7);
    text += fmt::format("FPR{}={} {}{}", i, values.hex(name + ".lo", 16), values.hex(name + ".hi", 4),
                        i % 2 == 1 ? "\n" : " ");
  }
  return text;
}

std::string x86_vectors(const Values& values, const X86Mode& mode) {
  const unsigned count = mode.wide ? 16 : 8;
  bool any = false, avx = false;
  for (unsigned i = 0; i < count; ++i) {
    any = any || values.get(fmt::format("xmm{}.lo", i));
    avx = avx || values.get(fmt::format("ymm{}h.lo", i));
  }
  std::string text;
  for (unsigned i = 0; any && i < count; ++i) {
    const std::string low = fmt::format("xmm{}", i), high = fmt::format("ymm{}h", i);
    if (avx)
      text += fmt::format("YMM{:02}={} {} {} {}\n", i, values.hex(high + ".hi", 16), values.hex(high + ".lo", 16),
                          values.hex(low + ".hi", 16), values.hex(low + ".lo", 16));
    else
      text += fmt::format("XMM{:02}={} {}{}", i, values.hex(low + ".hi", 16), values.hex(low + ".lo", 16),
                          i % 2 == 1 ? "\n" : " ");
  }
  return text;
}

// ---- aarch64

std::string aarch64_registers(const Values& values) {
  std::string text = fmt::format(" PC={} ", values.hex("elr", 16));
  for (unsigned i = 0; i < 31; ++i)
    text += fmt::format("X{:02}={}{}", i, values.hex(fmt::format("x{}", i), 16), (i + 2) % 3 != 0 ? " " : "\n");
  const auto state = values.get("pstate");
  text += fmt::format(" SP={}\nPSTATE={} {} EL{}{}", values.hex("sp", 16), values.hex("pstate", 8),
                      Values::letters(state, {{'N', 31}, {'Z', 30}, {'C', 29}, {'V', 28}}),
                      state ? static_cast<char>('0' + (*state >> 2 & 3)) : '?',
                      !state              ? '?'
                      : (*state & 1) != 0 ? 'h'
                                          : 't');
  if (!values.has_any({"fpcr", "fpsr", "v0.lo"})) return text + "\n";
  text += fmt::format("    FPCR={} FPSR={}\n", values.hex("fpcr", 8), values.hex("fpsr", 8));
  for (unsigned i = 0; i < 32; ++i)
    text += fmt::format("Q{:02}={}:{}{}", i, values.hex(fmt::format("v{}.hi", i), 16),
                        values.hex(fmt::format("v{}.lo", i), 16), i % 2 == 1 ? "\n" : " ");
  return text;
}

}  // namespace

std::string registers_text(const Client& client, size_t cpu) {
  const Values values(client, cpu);
  const std::string title =
      client.is_cpu(cpu) ? fmt::format("\nCPU#{}\n", cpu) : fmt::format("\n{}\n", client.target.cpu_name(cpu));
  if (client.target.arch() == Arch::aarch64) return title + aarch64_registers(values);
  const X86Mode mode = mode_of(values);
  return title + x86_general(values, mode) + x86_segments(values, mode) + x86_control(values, mode) +
         x86_float(values) + x86_vectors(values, mode);
}

}  // namespace gcore::gdbstub
