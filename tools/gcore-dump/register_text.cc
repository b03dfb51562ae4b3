#include "tools/gcore-dump/register_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string>
#include <vector>

#include "writer/format/x87.h"

namespace gcore::tools::qemu {
namespace {

using format::Machine;
using format::RegisterFile;

constexpr size_t kMostCpus = 65535;

/// One vCPU's part of the text as words: "RAX", "=", "0000..."; "R8 =" and "RAX=" come out alike.
using Words = std::vector<std::string_view>;

Words split(std::string_view text) {
  Words words;
  for (size_t at = 0; at < text.size();) {
    if (text[at] == '=') {
      words.push_back(text.substr(at++, 1));
    } else if (text[at] == ' ' || text[at] == '\n' || text[at] == '\t') {
      ++at;
    } else {
      const size_t end = std::min(text.find_first_of("= \n\t", at), text.size());
      words.push_back(text.substr(at, end - at));
      at = end;
    }
  }
  return words;
}

std::optional<uint64_t> hex(std::string_view word) {
  uint64_t value = 0;
  const auto [end, problem] = std::from_chars(word.data(), word.data() + word.size(), value, 16);
  if (problem != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return value;
}

std::string lower(std::string_view word) {
  std::string text(word);
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

/// QEMU's name of a register that is one number, in ours: "RFL" and "EFL" are "rflags", "EAX" is "rax".
std::string our_name(std::string_view name) {
  if (name == "RFL" || name == "EFL") return "rflags";
  if (name == "FCW") return "fctrl";
  if (name == "FSW") return "fstat";
  std::string ours = lower(name);
  if (ours.size() == 3 && ours[0] == 'e' && ours != "efl") ours[0] = 'r';
  return ours;
}

/// "ES =0000 0000000000000000 00000000 00000000": selector, base, limit, flags.
bool take_segment(std::string_view name, const Words& values, RegisterFile& registers) {
  static constexpr std::string_view kNames[] = {"ES", "CS", "SS", "DS", "FS", "GS", "LDT", "TR", "GDT", "IDT"};
  if (std::find(std::begin(kNames), std::end(kNames), name) == std::end(kNames)) return false;
  const bool table = name == "GDT" || name == "IDT";
  const size_t base_at = table ? 0 : 1;
  const auto number = [&](size_t at) { return at < values.size() ? hex(values[at]) : std::nullopt; };
  const auto selector = number(0), base = number(base_at), limit = number(base_at + 1);
  if (!base || !limit) return true;
  const std::string ours = lower(name);
  // RegisterFile::set() takes the names that it knows: not every segment's base, limit and flags are among them.
  if (!table && selector) registers.put(name == "LDT" ? "ldtr" : ours, *selector);
  registers.put(ours + "_base", *base);
  registers.put(ours + "_limit", *limit);
  if (const auto flags = number(3); flags && !table) registers.put(ours + "_flags", *flags);
  return true;
}

/// "XMM00=hi lo", "XMM00=hilo" (before QEMU 7), "YMM00=..." and "ZMM00=...": the last 128 bits are the XMM register.
bool take_vector(std::string_view name, const Words& values, RegisterFile& registers) {
  if (name.size() < 4 || (!name.starts_with("XMM") && !name.starts_with("YMM") && !name.starts_with("ZMM")))
    return false;
  std::string digits;
  for (const std::string_view word : values)
    if (hex(word.substr(0, 16)) && (word.size() == 16 || word.size() == 32)) digits += word;
  unsigned index = 0;
  std::from_chars(name.data() + 3, name.data() + name.size(), index);
  if (digits.size() < 32) return true;
  const std::string_view last = std::string_view(digits).substr(digits.size() - 32);
  const auto high = hex(last.substr(0, 16)), low = hex(last.substr(16));
  const std::string ours = "xmm" + std::to_string(index);
  if (!high || !low) return true;
  registers.put(ours + ".lo", *low);
  registers.put(ours + ".hi", *high);
  return true;
}

bool take_fpu(std::string_view name, const Words& values, format::X87State& fpu) {
  if (name == "FTW" && !values.empty()) {
    fpu.abridged_tags = hex(values[0]);
    return true;
  }
  if (name.size() != 4 || !name.starts_with("FPR") || name[3] < '0' || name[3] > '7') return false;
  const size_t index = static_cast<size_t>(name[3] - '0');
  if (values.size() < 2) return true;
  fpu.mantissa[index] = hex(values[0]);
  fpu.exponent[index] = hex(values[1]).value_or(0);
  return true;
}

RegisterFile parse_cpu(std::string_view text) {
  RegisterFile registers(Machine::x86_64);
  format::X87State fpu;
  const Words words = split(text);
  for (size_t at = 0; at + 2 < words.size(); ++at) {
    if (words[at + 1] != "=") continue;
    const std::string_view name = words[at];
    Words values;  // up to the next "NAME =", and not more than a register has
    for (size_t next = at + 2; next < words.size() && values.size() < 8; ++next) {
      if (next + 1 < words.size() && words[next + 1] == "=") break;
      values.push_back(words[next]);
    }
    if (values.empty()) continue;
    if (take_segment(name, values, registers) || take_vector(name, values, registers) || take_fpu(name, values, fpu))
      continue;
    if (const auto value = hex(values[0])) static_cast<void>(registers.set(our_name(name), *value));
  }
  format::put_x87(fpu, registers);
  return registers;
}

}  // namespace

std::map<size_t, RegisterFile> parse_x86_registers(std::string_view text) {
  std::map<size_t, RegisterFile> cpus;
  for (size_t at = text.find("CPU#"); at != std::string_view::npos;) {
    const size_t next = text.find("CPU#", at + 4);
    std::string_view part = text.substr(at + 4, next == std::string_view::npos ? next : next - at - 4);
    size_t index = 0;
    const auto [end, problem] = std::from_chars(part.data(), part.data() + part.size(), index);
    if (problem == std::errc() && index <= kMostCpus) {
      part.remove_prefix(static_cast<size_t>(end - part.data()));
      cpus.insert_or_assign(index, parse_cpu(part));
    }
    at = next;
  }
  return cpus;
}

std::optional<uint64_t> parse_cr8(std::string_view text) {
  constexpr std::string_view kLabel = " TPR 0x";
  const size_t at = text.find(kLabel);
  if (at == std::string_view::npos) return std::nullopt;
  text.remove_prefix(at + kLabel.size());
  const auto priority = hex(text.substr(0, text.find_first_of(" \n")));
  return priority ? std::optional(*priority >> 4) : std::nullopt;
}

}  // namespace gcore::tools::qemu
