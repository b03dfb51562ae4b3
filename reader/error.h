// How the reader says that something is not there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <string>

namespace gcore::reader {

/// A failure, for a person to read. `text` is the whole line but for the program's name, without a full stop: what was
/// attempted, on what, where in it if there is a place, and why. "cannot open x.gcore: the program header table (4
/// entries of 56 bytes at offset 64) ends at offset 288, past the end of the file (100 bytes)".
struct Error {
  enum class Kind : uint8_t {
    io,           // the operating system said no: missing file, permission, a disk error
    not_elf,      // something else than a dump
    not_core,     // an ELF file, but a program, a library, or the core of a process
    unsupported,  // a dump that this reader does not know: another machine, sizes beyond its limits
    malformed,    // fields that contradict each other
    truncated,    // the file ends before what is needed to open it
    not_present,  // what was asked for is not in this dump
    usage,        // a wrong argument: no such vCPU
  };
  Kind kind;
  std::string text;
};

template <class T>
using Expected = std::expected<T, Error>;

/// Why a byte of guest memory cannot be read.
enum class Missing : uint8_t {
  none,
  not_in_any_segment,  // the dump does not say that the guest has memory there
  left_out,            // it has, but the dump's writer put none of that segment into the file (p_filesz is 0)
  unreadable,          // the writer could not read it (section .gcore.info says so); zeros in the file
  file_truncated,      // the headers promise it, but the file ends before
  damaged,             // the compressed data from which it would be unpacked makes no sense
  io_error,            // the operating system failed to read it
};

/// The words for a reason, as in "cannot read 0x1000: it is in no segment of the dump". Empty for `none`. Where a dump
/// or a result of reading it is at hand, its describe() also says where a truncated file ends.
constexpr const char* describe(Missing missing) {
  switch (missing) {
    case Missing::none:
      return "";
    case Missing::not_in_any_segment:
      return "it is in no segment of the dump";
    case Missing::left_out:
      return "the dump's writer left it out";
    case Missing::unreadable:
      return "the dump's writer could not read it";
    case Missing::file_truncated:
      return "the file is truncated";
    case Missing::damaged:
      return "the dump's compressed data is damaged there";
    case Missing::io_error:
      return "the dump file cannot be read there";
  }
  return "";
}

/// The result of reading guest memory: the `bytes` first bytes were read. If these are fewer than were asked for,
/// `missing` says why the byte at address + bytes is not there; otherwise it is `none`. Of the bytes that were read,
/// the file has no `zero_filled` ones: they are zeros because p_filesz < p_memsz. Which ones: Dump::next_extent.
struct ReadResult {
  size_t bytes = 0;
  Missing missing = Missing::none;
  size_t zero_filled = 0;
  uint64_t file_end = 0;  // with Missing::file_truncated: where the file ends, as Dump::file_end()
};

/// "the file is truncated at 20000000"; for the other reasons the words alone.
inline std::string describe(Missing missing, uint64_t file_end) {
  std::string text = describe(missing);
  if (missing == Missing::file_truncated) text += " at " + std::to_string(file_end);
  return text;
}
inline std::string describe(const ReadResult& result) { return describe(result.missing, result.file_end); }

}  // namespace gcore::reader
