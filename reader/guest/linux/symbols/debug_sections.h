// Sections of debug information that are compressed: SHF_COMPRESSED (ELF gABI, "Section Compression") with zlib or
// zstd, and GNU's older .zdebug_*, "ZLIB" and a size before the stream.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace gcore::reader::linux_guest {

struct DebugSections {
  std::vector<std::byte> bytes;
  std::vector<std::string> problems{};  // of sections that could not be unpacked, a clause each
};

/// The same ELF file with these sections unpacked: they stand at its end, .zdebug_info is .debug_info. A section that
/// cannot be unpacked has no bytes (SHT_NOBITS). Sections without SHF_ALLOC only. A file without such sections, or that
/// is no ELF file, stays as it is. What a section claims to unpack to is not believed, and bounded: no more than zlib
/// can do, and of all of them no more than debug information ever does.
DebugSections unpack_debug_sections(std::vector<std::byte> file);

}  // namespace gcore::reader::linux_guest
