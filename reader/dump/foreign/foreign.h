// Files of other makers that have a guest's memory, and are no ELF dumps: turned into what Dump has of one. Private to
// the reader.
//
//     QEMU migration stream      saved_guest.cc    `migrate`, also with mapped-ram
//     libvirt saved domain       saved_guest.cc    `virsh save`, managed save
//     LiME image                 lime.cc           memory only
//     AVML image                 avml.cc           the same, compressed; uncompressed it is LiME's
//     Xen core                   xen.cc            `xl dump-core`
//     memory without a header    lime.cc           as the caller says what it is
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "reader/dump/dump.h"
#include "reader/dump/elf_file.h"
#include "reader/source/source.h"

namespace gcore::reader {

struct ForeignDump {
  const char* format = "";         // as Dump::format()
  std::unique_ptr<Source> memory;  // what the PT_LOADs' offsets count in
  bool has_file_offsets = true;    // as Dump::has_file_offsets()
  const char* packing = nullptr;   // as Dump::compression(), where memory is packed in the file itself
  ElfFile elf;                     // as if it were one: machine and PT_LOADs
  std::vector<Cpu> cpus;
  std::string vm;                    // the guest's name, where the file has it
  std::vector<std::string> notices;  // as Dump::notices()
  std::vector<std::string> warnings;
};

/// From the first bytes, whether open_foreign() takes it.
bool is_foreign(std::span<const std::byte> start);

/// `source` starts with `start`. Fails with a sentence that says what to do where there is something.
/// `map` is for saved guests, Kind::usage for others.
Expected<ForeignDump> open_foreign(std::unique_ptr<Source> source, std::span<const std::byte> start,
                                   const std::optional<MemoryMap>& map);

/// Their parts.
bool is_saved_guest(std::span<const std::byte> start);
Expected<ForeignDump> open_saved_guest(std::unique_ptr<Source> source, std::span<const std::byte> start,
                                       const std::optional<MemoryMap>& map);
bool is_lime(std::span<const std::byte> start);
Expected<ForeignDump> open_lime(std::unique_ptr<Source> source);
Expected<ForeignDump> open_avml(std::unique_ptr<Source> source);
/// Takes what Xen's sections have into `elf.headers` and into the rest.
Expected<void> read_xen_sections(const Source& source, ElfFile& elf, std::vector<Cpu>& cpus,
                                 std::vector<std::string>& notices, std::vector<std::string>& warnings);
Expected<ForeignDump> open_raw(std::unique_ptr<Source> source, const RawMemory& raw);

}  // namespace gcore::reader
