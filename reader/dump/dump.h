// A memory dump of a virtual machine, opened: its memory by guest-physical address, its vCPUs, and what the file says
// of itself. Both dialects (see writer/format/), ELF32 and ELF64, both byte orders; as a whole compressed with gzip or
// zstd; and kdump-compressed files, also flattened ones. Of other makers: QEMU's migration streams, libvirt's saved
// domains, LiME images, and memory without any header.
//
// Opening reads headers and notes only, so that it takes the same few milliseconds whatever the dump's size; zstd in
// the seekable format too. gzip, and zstd in frames without that, take one pass for an index; what comes from a pipe,
// or has no places to start from, is unpacked into an unnamed temporary file. Of a damaged or truncated dump all that
// is there can be read, and warnings() tell what is wrong. A file that has neither memory nor a vCPU is an Error, as is
// one that cannot be understood. No file content makes these functions crash, loop, or allocate more than about ten
// times the size of its headers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "reader/address.h"
#include "reader/dump/info.h"
#include "reader/error.h"
#include "reader/source/source.h"
#include "writer/format/elf.h"
#include "writer/format/endian.h"
#include "writer/format/registers.h"

namespace gcore::reader {

struct Container;  // of the reader's own

/// One PT_LOAD program header. The guest has memory in [address, address + memory_size). Of these bytes the first
/// file_size stand in the file, from `offset` on; the others read as zeros, as everywhere in ELF, except when file_size
/// is 0: then the writer left the segment out, and reading it says so (Missing::left_out). memory_size is the larger of
/// p_memsz and p_filesz (readers of the qnx dialect ignore p_memsz), and is cut where the segment would pass the end of
/// the address space.
struct Segment {
  PhysAddr address;
  uint64_t memory_size = 0;
  uint64_t file_size = 0;
  FileOffset offset;
  VirtAddr virtual_address;  // p_vaddr: 0, the physical address, or a kernel-virtual one, as the writer pleased
  uint32_t flags = 0;        // p_flags
  uint32_t index = 0;        // position in the program header table
};

/// One vCPU as the dump has it.
struct Cpu {
  size_t index = 0;     // position in cpus(); thread numbers and faulting_cpu() count like this
  uint32_t number = 0;  // the machine's number for it (kdump_note_cpu.cpunum; pr_pid less its base); usually == index
  format::RegisterFile registers;  // absent = the dump does not say, or says that it is unavailable. x86 in kernel
                                   // mode: esp is exx + 12, ss is 0
  std::vector<std::pair<std::string, uint64_t>> other_registers{};  // extra registers of names that RegisterFile lacks
  std::string process_name{};                                       // empty when the dump does not say
  std::optional<PhysAddr> page_table{};  // root table: qnx pgtbl; vmcore CR3 without its flag bits (x86 machines only)
};

enum class Dialect : uint8_t { qnx, vmcore };

/// Facts that only the qnx dialect has (struct kdump_note). The three segments are what the note's numbers select among
/// the program headers that are not PT_NOTE; nothing when a number is out of range or selects no PT_LOAD. 0 is also how
/// a writer says "unknown", so: check what stands in the segment before believing it.
struct KdumpFacts {
  uint8_t note_version = 0, signal_code = 0, fault_number = 0;
  uint16_t cpu_count = 0;  // num_cpus as written; cpus().size() is how many records there are
  uint32_t regset_size = 0;
  uint64_t cpu_info = 0;  // with cpu_info_hi as upper half. x86: 1 = PAE; aarch64: TCR_EL1 (assumption)
  uint32_t procnto_number = 0, syspage_number = 0, dumpinfo_number = 0;
  std::optional<Segment> procnto, syspage, dumpinfo;
};

/// Guest memory where it is, without a copy where that is safe. Copyable; the bytes stay as long as one copy of the
/// view lives, also after the Dump.
class View {
 public:
  View() = default;
  View(std::span<const std::byte> bytes, std::shared_ptr<const void> owner, Missing missing)
      : bytes_(bytes), owner_(std::move(owner)), missing_(missing) {}

  /// The bytes from the address on: perhaps fewer than were asked for, also where more follow (ask again after them).
  /// There are none only when the first byte is missing.
  std::span<const std::byte> bytes() const { return bytes_; }
  Missing missing() const { return missing_; }  // why there are none

 private:
  std::span<const std::byte> bytes_;
  std::shared_ptr<const void> owner_;
  Missing missing_ = Missing::none;
};

/// ELF notes of one kind that this reader does not interpret, such as "LINUX" 0x405 (aarch64's SVE registers).
struct OtherNotes {
  std::string name;
  uint32_t type = 0;
  size_t count = 0;
};

/// What bytes without any header are: the memory of a machine from an address on.
struct RawMemory {
  format::Machine machine = format::Machine::x86_64;
  PhysAddr address;  // of the first byte
};

/// Where the memory of a guest that QEMU saved is: its blocks have names, and no addresses.
struct MemoryMap {
  struct Part {
    PhysAddr address;
    uint64_t size = 0;  // bytes; 0: up to the block's end
    std::string block;  // QEMU's name of it: "pc.ram"
    uint64_t offset = 0;
  };
  std::optional<format::Machine> machine;  // nothing: as the machine type has it
  std::vector<Part> parts;                 // in any order; what is in no part is left out
};

/// How to open a dump.
struct OpenOptions {
  /// Called now and then while a container without an index is gone through, or a pipe is read: bytes of the file that
  /// are done, and of how many (0 when nobody knows).
  std::function<void(uint64_t done, uint64_t total)> progress;

  /// The caller vouches that nobody makes the file shorter while it is open. Then it is mapped, for Dump::view() and
  /// for small reads; if somebody does it all the same, or the disk fails, reading or touching a view's bytes raises
  /// SIGBUS.
  bool lasting = false;

  /// The file is nothing but memory (a VMM's snapshot, pmemsave, .vmem), whatever its first bytes look like.
  std::optional<RawMemory> raw = std::nullopt;

  /// Of a guest that QEMU or libvirt saved: where its memory is, in place of what its machine type says. Kind::usage
  /// for other files, and when it does not fit the blocks.
  std::optional<MemoryMap> map = std::nullopt;
};

/// An open dump. Immutable after open(): every method may be called by several threads at once. Spans and views live as
/// long as the Dump. The file is kept open, and is read with pread: one that shrinks or fails meanwhile gives
/// Missing::file_truncated or Missing::io_error, never a signal (but see OpenOptions::lasting).
class Dump {
 public:
  /// Opens the dump at `path`; "-" is standard input. What cannot be read where it is (a pipe, a compressed dump
  /// without places to start from, a flattened one) is unpacked into $TMPDIR (else /var/tmp).
  static Expected<std::unique_ptr<Dump>> open(const std::string& path, const OpenOptions& options = {});

  /// The same for an open file, whose name in messages is `name`. Owns `fd` from then on, also on failure.
  static Expected<std::unique_ptr<Dump>> open_descriptor(int fd, const std::string& name,
                                                         const OpenOptions& options = {});

  /// The same for bytes from elsewhere, by an implementation of the caller's; the dump owns it. It is read by several
  /// threads at once when the dump is. What libkdumpfile reads, and what is compressed without places to start from, is
  /// copied into an unnamed temporary file.
  static Expected<std::unique_ptr<Dump>> open_source(std::unique_ptr<Source> source, const std::string& name,
                                                     const OpenOptions& options = {});

  ~Dump();
  Dump(const Dump&) = delete;
  Dump& operator=(const Dump&) = delete;

  format::Machine machine() const;
  format::ByteOrder byte_order() const;  // of the file's structures, hence of register values; memory is bytes
  bool is_64_bit() const;                // the ELF class
  Dialect dialect() const;
  const std::string& path() const;
  uint64_t file_size() const;  // bytes; compressed as a whole: unpacked; flattened: rearranged, unless it is kdump too
  std::string_view compression() const;  // "none", "gzip", "zstd", "snappy", "flattened" or "kdump"

  /// The file's format when it is neither an ELF nor a kdump-compressed file, else "": "QEMU migration stream",
  /// "libvirt saved domain", "LiME image", "raw memory"; also "VirtualBox core" and "Xen core", whose ELF files are
  /// their own. Its dialect() is then vmcore, for want of one of its own.
  std::string_view foreign_format() const;
  /// The name of the guest, where a foreign format has one.
  const std::string& foreign_name() const;

  /// True when the file's headers stand as QEMU's dump-guest-memory writes them, which does not name itself.
  bool has_layout_of_qemu() const;
  /// Whether Segment::offset is a place in the file, unpacked. Not in a kdump-compressed one, where each page is
  /// compressed by itself, and offsets are addresses.
  bool has_file_offsets() const;

  /// True when the file ends before the end of a segment: the memory concerned reads as Missing::file_truncated.
  bool truncated() const;

  /// Where the file ends, in bytes: of a compressed dump unpacked, of a flattened one that is truncated as it is.
  uint64_t file_end() const;

  /// PT_LOAD segments, sorted by address (then by position in the table); none of size 0. They may overlap: a byte of
  /// several segments is read from one whose bytes for it are in the file, else from one where it is zero (p_filesz <
  /// p_memsz), else it is left out, else lost in a truncated file; among equals from the one that comes first in the
  /// program header table.
  std::span<const Segment> segments() const;

  /// PT_LOAD program headers that only show bytes of a segment again, by other virtual addresses, and are none of
  /// segments(): a Linux kernel's image in its vmcores. In the same order.
  std::span<const Segment> aliases() const;

  /// How many of a segment's file_size bytes the file has: all but in a truncated one.
  uint64_t bytes_in_file(const Segment& segment) const;

  /// The segment that a byte is read from; nullptr when there is none. Logarithmic in the number of segments.
  const Segment* segment_at(PhysAddr address) const;

  /// Bytes of memory that segments() cover, each byte counted once.
  uint64_t memory_bytes() const;

  /// In the order of the file. May be empty: warnings() says so, and notices() where the file is one that has none.
  std::span<const Cpu> cpus() const;
  size_t faulting_cpu() const;  // an index of cpus(), or 0
  uint8_t signal() const;       // the guest's signal number that led to the dump, 0 when none

  std::span<const OtherNotes> other_notes() const;  // in the order of the file
  std::string_view vmcoreinfo() const;              // text of the VMCOREINFO note, or ""
  std::string_view info_json() const;               // text of the section .gcore.info, or ""
  const DumpInfo& info() const;                     // the same, parsed
  const std::optional<KdumpFacts>& kdump_facts() const;

  /// Each oddity of the file, one sentence without a full stop.
  std::span<const std::string> warnings() const;

  /// Those of them that are about the file itself: what is wrong with it, and not what it says of its guest or of how
  /// it was taken.
  std::vector<std::string> damage() const;

  /// In the same shape: what may be of interest, but is no defect: how it was opened, what such files do not have.
  std::span<const std::string> notices() const;

  /// What went wrong when the source was read, in words of its own (Source::trouble), or "". What was made of the dump
  /// after that is not all of it.
  std::string trouble() const;

  /// As reader::describe(); with the end of the file where it is truncated, and with trouble().
  std::string describe(Missing missing) const;

  /// Reads guest memory, across segments. Stops before the first byte that is not there.
  ReadResult read(PhysAddr address, std::span<std::byte> into) const;

  /// Announces that about a page there is read next. That is faster then, if the file is mapped (OpenOptions::lasting).
  void expect(PhysAddr address) const;

  /// The same as read() without a copy, where the bytes can be handed out as they are: from a mapping of a file that
  /// cannot shrink (an unnamed temporary file of the reader's own, a memfd sealed against shrinking, any file with
  /// OpenOptions::lasting), or from the cache of unpacked blocks of a compressed dump. Other files are read into memory
  /// of the view's own, at most 1 MiB at a time: a mapping of a file that somebody else may cut raises SIGBUS, against
  /// which a library has no means.
  View view(PhysAddr address, size_t size) const;

  /// A stretch of memory of one kind, for whoever goes over all of memory.
  struct Extent {
    enum class Kind : uint8_t { data, zero, missing };
    PhysAddr address;
    uint64_t size = 0;
    Kind kind = Kind::missing;    // zero: known to read as zeros without a look at it (a hole of the file, or p_memsz)
    Missing why = Missing::none;  // for `missing`
    bool zero_filled = false;     // for `zero`: the file has no such bytes (p_filesz < p_memsz); else they are a hole
  };

  /// The extent that starts at `address`, or in a gap the one after the gap; nothing when no memory follows. Extents do
  /// not overlap, cross no segment border, and need not be maximal. (e.address + e.size wraps to 0 at the very end.)
  std::optional<Extent> next_extent(PhysAddr address) const;

  /// The next extent of kind `missing`; nothing when all from `address` on can be read. Does not look for holes, which
  /// in large files takes longer than all the rest.
  std::optional<Extent> next_missing(PhysAddr address) const;

  /// Memory that cannot be unpacked from a compressed dump. Empty `memory`: it is headers, notes, or what lies between
  /// segments.
  struct Damage {
    std::string text;  // one sentence without a full stop: which bytes of the file, and why
    std::vector<std::pair<PhysAddr, uint64_t>> memory;
  };
  /// Unpacks all of a compressed dump, which takes as long as that takes, and tells each part that is damaged. Of a
  /// dump that is not compressed as a whole there is nothing to tell. `progress` as in OpenOptions, in unpacked bytes.
  std::vector<Damage> check(const std::function<void(uint64_t done, uint64_t total)>& progress = nullptr) const;

 private:
  struct State;
  explicit Dump(std::unique_ptr<State> state);
  static Expected<std::unique_ptr<Dump>> make(Expected<Container> container, const std::string& name,
                                              std::vector<std::string> warnings);
  std::unique_ptr<State> state_;
};

}  // namespace gcore::reader
