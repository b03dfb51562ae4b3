#include "reader/dump/vmcoreinfo.h"

#include "writer/format/elf.h"
#include "writer/format/vmcore_notes.h"

namespace gcore::reader {

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
