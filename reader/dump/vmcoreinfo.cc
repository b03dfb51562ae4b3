#include "reader/dump/vmcoreinfo.h"

#include <algorithm>
#include <charconv>
#include <system_error>

#include "writer/format/elf.h"
#include "writer/format/vmcore_notes.h"

namespace gcore::reader {

std::optional<std::string_view> Vmcoreinfo::value(std::string_view key) const {
  std::string_view rest = text_;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == '=')
      return line.substr(key.size() + 1);
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
  }
  return std::nullopt;
}

std::optional<uint64_t> Vmcoreinfo::symbol(std::string_view name) const {
  return hex("SYMBOL(" + std::string(name) + ")");
}

std::optional<uint64_t> Vmcoreinfo::parse(std::string_view key, int base) const {
  auto text = value(key);
  if (!text) return std::nullopt;
  const bool negative = text->starts_with('-');
  if (negative) text->remove_prefix(1);
  if (text->starts_with("0x")) {
    text->remove_prefix(2);
    base = 16;
  }
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number, base);
  if (error != std::errc{} || end != text->data() + text->size()) return std::nullopt;
  return negative ? 0 - number : number;
}

std::string vmcoreinfo_note_at(std::string_view bytes) {
  constexpr std::string_view kName("VMCOREINFO\0\0", 12), kStart = "OSRELEASE=";
  constexpr size_t kHead = sizeof(format::ElfNoteHeader), kText = kHead + kName.size();
  if (bytes.size() < kText + kStart.size() || bytes.substr(kHead, kName.size()) != kName) return "";
  // In the guest's byte order, which is that of its pages and not that of the dump; only the small one makes sense.
  for (const auto order : {format::ByteOrder::little, format::ByteOrder::big}) {
    const auto field = [&](size_t at) { return format::load<uint32_t>(bytes.data() + at, order); };
    const uint32_t name_size = field(0), size = field(4), type = field(8);
    if (name_size != sizeof format::kNoteNameVmcoreinfo || type != format::kNoteVmcoreinfo) continue;
    if (size > kMaxVmcoreinfoNote - kText || bytes.size() - kText < size) return "";
    const std::string_view text = bytes.substr(kText, size);
    return text.starts_with(kStart) ? std::string(text) : "";
  }
  return "";
}

}  // namespace gcore::reader
