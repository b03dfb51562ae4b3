#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/support/qmp.h"

namespace gcore::tests {

/// Saves a guest as QEMU's migration stream, which leaves it stopped. The file is whole afterwards. Throws.
void save_guest(Qmp& qmp, const std::string& path);

/// An ELF64 little-endian core read by raw offsets, without the reader under test. For comparing two dumps byte by
/// byte.
class CoreFile {
 public:
  explicit CoreFile(const std::string& path);
  ~CoreFile();
  CoreFile(const CoreFile&) = delete;
  CoreFile& operator=(const CoreFile&) = delete;

  struct Note {
    std::string name;
    uint32_t type = 0;
    std::string bytes;
  };
  /// The notes of the PT_NOTE segment, in order.
  const std::vector<Note>& notes() const { return notes_; }
  /// PT_LOADs, neighbours merged: address to end.
  std::map<uint64_t, uint64_t> coverage() const;
  /// Bytes at a physical address: as many as are asked for, or up to the end of the segment.
  std::string read(uint64_t address, size_t size) const;

 private:
  struct Segment {
    uint64_t size, offset;
  };
  int fd_;
  std::map<uint64_t, Segment> segments_;
  std::vector<Note> notes_;
};

/// The first guest-physical address at which two files with the same coverage differ, or "" when none does.
std::string first_difference(const CoreFile& a, const CoreFile& b);

/// A dump of a Linux guest with a vmcoreinfo device, and QEMU's own of the same moment: every byte of memory, every
/// note.
void expect_same(const std::string& ours, const std::string& theirs);

}  // namespace gcore::tests
