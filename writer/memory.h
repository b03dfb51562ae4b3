// Guest memory as a sequence of pieces: bytes, zeros, never touched, cannot be read.
//
// Guest memory is never touched by loads: a page whose backing file was truncated would raise SIGBUS in the VMM. The
// kernel copies it (pread, process_vm_readv) into a buffer of ours and reports a bad page as an error. The buffer stays
// in the processor's cache, so looking for zeros in it and writing from it cost less than a second pass over the
// guest's memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "writer/control.h"
#include "writer/guest.h"
#include "writer/page_map.h"

namespace gcore::writer {

inline constexpr uint64_t kPageSize = 4096;

/// A run of whole pages of one kind.
struct Piece {
  enum class Kind : uint8_t { data, zero, absent, missing } kind;  // as in PageCounts
  uint64_t size;                                                   // bytes; 0 at the end of the range
  const std::byte* bytes;                                          // data: valid until the next next()
};

/// Memory where it is, for a sink that takes it without a copy: in a file, in this process, or both.
struct Stretch {
  uint64_t size;  // bytes, whole pages
  int fd;         // -1: none
  uint64_t fd_offset;
  const std::byte* host;  // nullptr: nowhere
};

/// Sorts by address. An error when a range is not made of whole pages, wraps around, overlaps another one, or lies
/// where no file can; or when all of them do not fit into one file.
Status check_memory(std::vector<MemoryRange>& ranges);

class Aside;
class Snapshot;

class MemorySource {
 public:
  /// `guest` is asked for memory that has neither host address nor file. It is paused all the time.
  MemorySource(Guest& guest, Control& control);

  /// Whose pages of another moment are put in place of what is read; nullptr for none. The guest need not be paused
  /// then.
  void use(Snapshot* snapshot) { snapshot_ = snapshot; }
  /// Who has taken copies of a part of the guest's memory, and reads more of it; nullptr for nobody.
  void share_with(Aside* aside) { aside_ = aside; }
  /// Not to look for the end of a stretch of data beyond some pages: for who reads but a short part of it.
  void look_near() { looks_near_ = true; }

  /// Starts over, at the beginning of `range`, which must stay valid.
  void start(const MemoryRange& range);
  Piece next();

  /// The next data, where a sink may take it without a call of next(); size 0: there is none.
  Stretch stretch();
  /// The first `size` bytes of stretch() went out without next().
  void pass(uint64_t size) { position_ += size; }

  /// Memory that is in the dump already: what would be the next data or hole, without reading it. `bytes` is nullptr.
  Piece in_place();

  /// Of the first page that could not be read: its guest-physical address and why not; "" as long as there is none.
  const std::string& trouble() const { return trouble_; }
  /// The same, and begins anew.
  std::string take_trouble() { return std::exchange(trouble_, {}); }

  /// How many bytes of `range` are not known to be zero without reading them.
  uint64_t touched(const MemoryRange& range);

 private:
  uint64_t claim(uint64_t size);
  void have_read(uint64_t size);
  void find_extent();
  void find_hole(Piece& zeros);
  bool looks_near() const { return looks_near_ || snapshot_ || aside_; }
  void find_touched();
  void find_known();
  size_t read(std::byte* to, size_t size);
  size_t read_file(std::byte* to, size_t size, bool& usable);
  size_t read_host(std::byte* to, size_t size);
  void note_trouble();

  Guest& guest_;
  Control& control_;
  Snapshot* snapshot_ = nullptr;
  Aside* aside_ = nullptr;
  bool looks_near_ = false;
  std::unique_ptr<std::byte[]> buffer_;
  std::optional<PageMap> page_map_;  // when there was a range that needs it
  const MemoryRange* range_ = nullptr;
  bool is_shared_ = false;  // with aside_, which counts positions from range_start_ on
  uint64_t range_start_ = 0;
  uint64_t position_ = 0;    // in the range
  uint64_t file_size_ = 0;   // of the range's file; UINT64_MAX when it does not bound the range
  uint64_t extent_end_ = 0;  // in the range: up to there the kind is extent_kind_
  Piece::Kind extent_kind_ = Piece::Kind::data;
  /// A stretch of a file without holes. Some file systems (tmpfs) find its end page by page, and a guest may have many
  /// ranges in it.
  struct Data {
    int fd = -1;
    uint64_t first = 0, end = 0;
  } data_;
  size_t buffered_ = 0, consumed_ = 0;   // bytes in buffer_, and how many of them were handed out
  int file_error_ = 0, host_error_ = 0;  // errno values of the last read()
  std::string trouble_;
};

}  // namespace gcore::writer
