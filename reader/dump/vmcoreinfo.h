// VMCOREINFO as a Linux guest keeps it in its memory; writer/format/vmcoreinfo.h has what the text says.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "writer/format/vmcoreinfo.h"

namespace gcore::reader {

using format::Vmcoreinfo;

/// A note is never longer: the kernel keeps it in whole pages of its own, and fills one (of 4 KiB) at most.
inline constexpr size_t kMaxVmcoreinfoNote = 8192;

/// The text of the note that starts with the first of these bytes, or "". The kernel's own copy of the note stands at
/// the start of a page (before 4.13: anywhere in its image, 4-byte aligned). It is as the kernel wrote it once and for
/// all while it booted.
std::string vmcoreinfo_note_at(std::string_view bytes);

}  // namespace gcore::reader
