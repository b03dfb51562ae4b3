// The guest's own ELF file, which the debugger may read through the stub: the only file of the host that it can.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "writer/base/unique_fd.h"

namespace gcore::gdbstub {

class Target;

class ExecFile {
 public:
  /// Opens an ELF file that is no core file; the error is the reason only. Of an x86_64 kernel whose per-CPU variables
  /// are linked at 0, read() then says that they are in no segment: GDB moves segments (qOffsets), and these, whose
  /// addresses are distances, must stay.
  static std::expected<ExecFile, std::string> open(const std::string& path);
  /// An ELF file that has no name on this host: bytes in a descriptor, offered under `path`.
  static ExecFile adopt(base::UniqueFd file, std::string path, uint64_t size) {
    return {std::move(file), std::move(path), size};
  }

  /// Absolute.
  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }
  /// Reads up to into.size() bytes; fewer at the end of the file or after an error.
  size_t read(uint64_t offset, std::span<std::byte> into) const;
  /// ELF's number of the machine that it is for (e_machine).
  uint16_t machine() const { return header_field(18); }
  /// The lowest-numbered PT_LOAD's virtual address, which is where GDB counts a relocation from.
  std::optional<uint64_t> first_segment() const;

 private:
  /// Two bytes of the ELF header; 0 when the file ends before them.
  uint16_t header_field(size_t offset) const;
  ExecFile(base::UniqueFd file, std::string path, uint64_t size)
      : file_(std::move(file)), path_(std::move(path)), size_(size) {}
  void take_per_cpu_out_of_segments();

  base::UniqueFd file_;
  std::string path_;
  uint64_t size_;
  std::vector<std::pair<uint64_t, std::byte>> changes_;  // of single bytes, by offset
};

/// A module of the kernel, which a debugger takes for a shared library. Its addresses are those of the running kernel.
struct Library {
  ExecFile file;
  size_t sections;  // how many of its sections are in memory (SHF_ALLOC)
};

/// Files that are made while clients are served. Any thread may ask.
class LaterFile {
 public:
  virtual ~LaterFile() = default;
  /// They are made, or cannot be. Whoever asks first has the work begun.
  virtual bool settled() const = 0;
  /// Null until it is made, and where it cannot be.
  virtual const ExecFile* file() const = 0;
  /// The file has the running kernel's addresses; else those that it was linked to.
  virtual bool is_of_running_kernel() const { return true; }
  /// There may be libraries.
  virtual bool has_libraries() const { return false; }
  /// None until they are made.
  virtual std::span<const Library> libraries() const { return {}; }
  /// What is not right with them, a line each, for people.
  virtual std::string remarks() const { return ""; }
};

/// Where the kernel's first segment was linked, by its ELF file (null: there is none), else by what Linux always uses
/// on that machine. Nothing when that is not known, or the file is no kernel.
std::optional<uint64_t> linked_address(const Target& target, const ExecFile* file);
/// What to do about the symbols of a kernel that was moved, for people: the commands with which GDB moves all of them
/// but the per-CPU ones, which it would move too. Empty where nothing was moved or nothing would be wrong.
std::string moved_symbols_advice(const Target& target, const ExecFile* file);
/// A sentence for whoever will see wrong symbols: the kernel was moved, and where it was linked is not known; else "".
std::string missing_file_hint(const Target& target, const ExecFile* file);

}  // namespace gcore::gdbstub
