// Guest memory that is copied aside while the guest is paused, so that the guest goes on before all of it is written:
// for dumps into what is slower than memory.
//
// Two threads take the memory. The one that writes the dump takes it from the lowest address up. The one that would
// only wait for it copies from the highest address down, in blocks. Where they meet, or where the one has come when the
// other has no more room, nothing of the guest's is needed any more: it goes on, and the writing thread goes on with
// the copies. So no byte is copied that was written before the guest went on, and the dump takes no longer than
// without.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "writer/control.h"
#include "writer/guest.h"
#include "writer/mapping.h"
#include "writer/memory.h"

namespace gcore::writer {

class Aside {
 public:
  /// Of `memory` (checked, by address; to outlive this) all that is no copy. At most `room` bytes of copies: what is
  /// zeros takes none. nullptr where there is nothing to copy, or no room for it.
  static std::unique_ptr<Aside> make(Guest& guest, Control& control, const std::vector<MemoryRange>& memory,
                                     uint64_t room);

  // ---- for the thread that waits ----

  /// Copies as much as there is, and there is room for; less where the dump is to stop.
  void copy();
  /// Afterwards: waits until the other thread has read the rest, or has ended, or is to stop.
  void wait();

  // ---- for the thread that writes ----

  /// Where a range begins: positions of this class are counted through all of them. The range is no copy.
  uint64_t start_of(const MemoryRange& range) const;
  /// How many bytes from `position` on, at most `wanted`, are to be read from the guest; have_read() has to follow. 0:
  /// they are aside.
  uint64_t claim(uint64_t position, uint64_t wanted);
  /// All that lies before the position `end`, which is within what was claimed.
  void have_read(uint64_t end);
  /// The copy of what is at `position`, of one kind, at most `most` bytes, in order. It is let go with the next call.
  Piece next(uint64_t position, uint64_t most);
  /// Nothing more is read.
  void end();
  /// See MemorySource. When all copies were asked for.
  const std::string& trouble() const { return trouble_; }

 private:
  struct Range {
    const MemoryRange* memory;
    uint64_t start;  // its first position: a multiple of kBlock
  };
  struct Block {
    const Range* range;
    uint64_t position, size;
  };

  Aside(Guest& guest, Control& control);
  bool set_up(const std::vector<MemoryRange>& memory, uint64_t room);
  bool take_block(Block& block);
  void copy_block(const Block& block);

  Control& control_;
  MemorySource source_;        // of the thread that waits
  std::vector<Range> ranges_;  // by address
  Mapping data_;               // pages, of block after block as they were copied
  Mapping starts_, kinds_;     // a uint64_t for each block: where it begins in data_; a byte for each page
  uint64_t used_ = 0;          // of data_
  std::string trouble_;        // of the lowest block that has one
  // The writing thread's, in data_: where its block begins, where it is, from where on all is let go.
  bool has_begun_ = false;
  uint64_t block_ = 0, next_ = 0, released_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  size_t last_ = 0;                // of ranges_: where the next block is
  uint64_t front_ = 0, back_ = 0;  // what is between them nobody has
  bool is_reading_ = false, is_copying_ = true, has_ended_ = false;
};

}  // namespace gcore::writer
