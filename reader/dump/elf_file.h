// The ELF container of a dump: its headers, taken apart by LLVM's Object library. Private to the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "reader/error.h"
#include "reader/source/source.h"
#include "writer/format/elf.h"
#include "writer/format/endian.h"

namespace gcore::reader {

/// Limits that no dump comes near, so that a few bytes of nonsense cannot make the reader allocate gigabytes.
inline constexpr uint64_t kMaxProgramHeaders = uint64_t{1} << 20;
inline constexpr uint64_t kMaxNoteBytes = uint64_t{16} << 20;

/// makedumpfile marks what it could not finish, in either of its formats.
inline constexpr char kIncompleteDump[] =
    "the dump is incomplete: makedumpfile could not write all of it, and says so in its header";

struct ProgramHeader {
  uint32_t type = 0, flags = 0;
  uint64_t offset = 0, virtual_address = 0, address = 0, file_size = 0, memory_size = 0;
};

/// The PT_LOAD of `size` bytes of guest memory, all of which are in the file.
inline ProgramHeader load_segment(uint64_t offset, uint64_t address, uint64_t size) {
  return {.type = format::kSegmentLoad,
          .flags = 0,
          .offset = offset,
          .virtual_address = 0,
          .address = address,
          .file_size = size,
          .memory_size = size};
}

/// One of the sections that Xen's cores have in place of program headers.
struct XenSection {
  std::string name;  // ".xen_pages"
  uint64_t offset = 0, size = 0;
};

struct ElfFile {
  format::Machine machine = format::Machine::x86_64;
  format::ByteOrder order = format::ByteOrder::little;
  bool is_64_bit = true;
  std::vector<ProgramHeader> headers;  // all of them, in order
  bool by_qemu = false;         // as its dump-guest-memory lays a file out: 8 in e_ehsize (a pointer's size), and
                                // the section headers before the program headers; kdump: utsname without a system
  std::vector<XenSection> xen;  // there may then be no program headers
  std::string info_json;        // section .gcore.info without trailing white space and NULs
};

/// Reads the ELF header, the program headers and the section .gcore.info. Tolerated and not: e_ehsize and EI_VERSION
/// mean nothing; the tables may stand anywhere; offsets are corrected where QEMU is known to get them wrong; section
/// headers that are not there matter only if the number of program headers stands in them. Oddities are appended to
/// `warnings`.
Expected<ElfFile> read_elf_file(const Source& source, std::vector<std::string>& warnings);

/// The words for a file that is no ELF file, from its first bytes: "it is a qcow2 disk image, not an
/// ELF file", or "it is not an ELF file: it starts with 00 01 02 03".
std::string describe_foreign_file(std::span<const std::byte> start);

}  // namespace gcore::reader
