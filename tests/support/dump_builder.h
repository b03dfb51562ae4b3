// Builds dump files for tests, right and wrong ones.
//
// It deliberately shares no layout code with the writer: every offset and size here is a number taken from the formats'
// description (docs/format.md), so that a mistake in writer/format surfaces as a failing test instead of being made
// twice.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gcore::tests {

inline constexpr uint16_t kEmX86 = 3, kEmX86_64 = 62, kEmAarch64 = 183;

/// Appends integers of a chosen byte order to a string of bytes.
class Bytes {
 public:
  explicit Bytes(bool big_endian = false) : big_(big_endian) {}
  Bytes& u8(uint64_t v) { return integer(v, 1); }
  Bytes& u16(uint64_t v) { return integer(v, 2); }
  Bytes& u32(uint64_t v) { return integer(v, 4); }
  Bytes& u64(uint64_t v) { return integer(v, 8); }
  Bytes& word(uint64_t v, int size) { return integer(v, size); }
  Bytes& text(std::string_view s) { return data_.append(s), *this; }
  Bytes& zeros(size_t count) { return data_.append(count, '\0'), *this; }
  Bytes& pad_to(size_t size) { return data_.resize(size > data_.size() ? size : data_.size()), *this; }
  Bytes& align(size_t to) { return pad_to((data_.size() + to - 1) / to * to); }
  /// Overwrites at a position; grows as needed.
  Bytes& put(size_t at, uint64_t v, int size);
  size_t size() const { return data_.size(); }
  const std::string& str() const { return data_; }

 private:
  Bytes& integer(uint64_t v, int size);
  bool big_;
  std::string data_;
};

/// A qnx note segment. Registers not named are 0.
struct QnxNote {
  uint16_t machine = kEmX86_64;
  bool big_endian = false;
  uint8_t note_version = 0, sig_num = 0, sig_code = 0, fault_num = 0;
  uint16_t faulting_cpu = 0;
  uint64_t cpu_info = 1;
  uint32_t procnto = 0, syspage = 0, dumpinfo = 0;
  std::vector<std::string> extra_names;
  struct Cpu {
    uint64_t pgtbl = 0;
    uint32_t number = 0;
    std::string process{};
    std::map<std::string, uint64_t> registers{};  // core and extra ones alike; names as in docs/format.md
  };
  std::vector<Cpu> cpus;
  /// Which reading of the two extra sizes is written: whole blocks (what our writer does), or one entry each.
  bool sizes_per_entry = false;
  uint32_t entry_name_size = 16;     // with sizes_per_entry: bytes of one name
  std::optional<uint16_t> num_cpus;  // overrides what is written in the header, not the records
  std::optional<uint32_t> regset_size, extra_reg_value_size, extra_reg_name_size;  // likewise

  std::string build() const;
};

/// One ELF note: header, name with its NUL, descriptor, each padded to `padding`.
std::string elf_note(std::string_view name, uint32_t type, std::string_view descriptor, size_t padding = 4,
                     bool big_endian = false);

/// NT_PRSTATUS's descriptor (x86_64: 336 bytes, aarch64: 392, x86: 144), registers by the names of docs/format.md
/// (x86_64: rip, rflags, ...; aarch64: x0.., sp, elr, pstate; x86: eip, efl, ...).
std::string prstatus(uint16_t machine, uint32_t pid, const std::map<std::string, uint64_t>& registers,
                     bool big_endian = false);

/// NT_PRFPREG's descriptor for aarch64: v0.lo, v0.hi, ..., fpsr, fpcr.
std::string prfpreg_aarch64(const std::map<std::string, uint64_t>& registers, bool big_endian = false);

/// The QEMU note's descriptor, of 440 bytes, or of 432 without kernel_gs_base.
std::string qemu_note(const std::map<std::string, uint64_t>& registers, bool with_kernel_gs_base = true);

/// One program header; used as it is, whatever it says.
struct ProgramHeader {
  uint32_t type = 1, flags = 7;
  uint64_t offset = 0, virtual_address = 0, address = 0, file_size = 0, memory_size = 0, align = 0;
};

/// An ELF core file from parts. By default ELF64, little-endian, x86_64; the header, the program headers, the note
/// segments, the memory (each segment at the next multiple of 4096), then sections if there are any.
class DumpBuilder {
 public:
  uint16_t machine = kEmX86_64;
  uint16_t type = 4;  // ET_CORE
  bool big_endian = false;
  bool elf32 = false;
  uint8_t ident_version = 1;
  uint16_t header_size = 0;     // e_ehsize; 0: the right one
  uint16_t phentsize = 0;       // likewise
  bool notes_last = false;      // PT_NOTE headers after the PT_LOADs
  bool sections_first = false;  // section headers before the program headers, as QEMU has it
  bool section_zero = false;    // write section header 0 even if there are no sections
  bool virtual_is_physical = false;

  /// A PT_NOTE segment of these bytes.
  DumpBuilder& note(std::string bytes);
  /// A PT_LOAD segment of these bytes; `memory_size` 0 means as many as bytes.
  DumpBuilder& memory(uint64_t address, std::string bytes, uint64_t memory_size = 0);
  /// A PT_LOAD segment whose bytes are a hole in the file.
  DumpBuilder& hole(uint64_t address, uint64_t size);
  /// A program header of any content, after the ones so far.
  DumpBuilder& header(ProgramHeader header);
  DumpBuilder& section(std::string name, std::string bytes);
  /// Overwrites bytes of the finished file.
  DumpBuilder& patch(uint64_t offset, std::string bytes);
  /// Cuts the finished file to `size` bytes (or lengthens it with zeros).
  DumpBuilder& cut(uint64_t size);

  /// The file's bytes. (For a file with big holes use write.)
  std::string build() const;
  /// Writes the file, with holes. Throws std::runtime_error when that fails.
  void write(const std::string& path) const;
  /// An unnamed file with that content; the caller closes the descriptor.
  int descriptor() const;

 private:
  struct Part {
    ProgramHeader header;
    std::string bytes;
    bool place = true;  // the builder chooses the offset
  };
  struct Layout {
    std::vector<std::pair<uint64_t, std::string>> pieces;  // (offset, bytes)
    uint64_t size = 0;
  };
  Layout layout() const;
  std::string program_header(const ProgramHeader& header) const;
  std::string elf_header(uint64_t phoff, uint64_t phnum, uint64_t shoff, uint64_t shnum) const;
  std::string section_header(uint32_t name, uint32_t type, uint64_t offset, uint64_t size, uint32_t info) const;

  std::vector<Part> parts_;
  std::vector<std::pair<std::string, std::string>> sections_;
  std::vector<std::pair<uint64_t, std::string>> patches_;
  std::optional<uint64_t> cut_;
};

}  // namespace gcore::tests
