#include "reader/dump/displaced.h"

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

#include "reader/dump/elf_file.h"
#include "writer/format/vmcore_notes.h"

namespace gcore::reader {
namespace {

constexpr uint32_t kNoteArmSve = 0x405;

struct Note {
  std::string_view name;
  uint32_t type = 0;
  uint64_t size = 0;  // with its header and its padding

  bool starts_cpu() const { return name == format::kNoteNameCore && type == format::kNotePrstatus; }
  bool is_sve() const { return name == "LINUX" && type == kNoteArmSve; }
};

/// One of those that QEMU writes for a guest of this kind; the names have 5 to 11 bytes.
std::optional<Note> read_note(const Source& file, FileOffset at, format::ByteOrder order) {
  std::array<std::byte, 24> bytes{};
  if (file.read(at, bytes).bytes != bytes.size()) return std::nullopt;
  const auto word = [&](size_t i) { return uint64_t{format::load<uint32_t>(&bytes[4 * i], order)}; };
  const std::string_view text(reinterpret_cast<const char*>(&bytes[12]), 12);
  for (const std::string_view name : {format::kNoteNameCore, "LINUX", format::kNoteNameVmcoreinfo})
    if (word(0) == name.size() + 1 && text.starts_with(name) && text[name.size()] == '\0')
      return Note{name, static_cast<uint32_t>(word(2)), 12 + (word(0) + 3) / 4 * 4 + (word(1) + 3) / 4 * 4};
  return std::nullopt;
}

}  // namespace

int64_t displaced_by_sve_notes(const Source& file, FileOffset notes, uint64_t size, format::ByteOrder order) {
  std::optional<uint64_t> first_sve;
  uint64_t at = 0, reckoned = 0, cpus = 0;  // `reckoned`: where QEMU believes to be
  while (reckoned < size && at < kMaxNoteBytes) {
    const auto note = read_note(file, notes + at, order);
    if (!note) return 0;
    if (note->starts_cpu() && ++cpus == 2 && !first_sve) return 0;  // there are none, as in most files
    at += note->size;
    if (note->is_sve() && !first_sve) first_sve = note->size;
    reckoned += note->is_sve() ? *first_sve : note->size;
  }
  // Another note before the end that the headers name would mean that it is they who are right.
  if (reckoned != size || (at < size && read_note(file, notes + at, order))) return 0;
  return static_cast<int64_t>(at - reckoned);
}

}  // namespace gcore::reader
