#include "writer/aside.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>

#include "writer/state.h"

namespace gcore::writer {
namespace {

constexpr uint64_t kBlock = 2 << 20;  // copied between two looks at the other thread: less than a millisecond's work

uint64_t up(uint64_t value) { return (value + kBlock - 1) / kBlock * kBlock; }

}  // namespace

Aside::Aside(Guest& guest, Control& control) : control_(control), source_(guest, control) { source_.look_near(); }

std::unique_ptr<Aside> Aside::make(Guest& guest, Control& control, const std::vector<MemoryRange>& memory,
                                   uint64_t room) {
  constexpr uint64_t kOfTheSource = 256 << 10;
  if (!check_heap(kOfTheSource)) return nullptr;
  std::unique_ptr<Aside> aside(new (std::nothrow) Aside(guest, control));
  return aside && aside->set_up(memory, room) ? std::move(aside) : nullptr;
}

bool Aside::set_up(const std::vector<MemoryRange>& memory, uint64_t room) {
  uint64_t positions = 0;
  for (const MemoryRange& range : memory) {
    if (range.is_copy) continue;
    ranges_.push_back({&range, positions});
    positions = up(positions + range.size);
  }
  room = std::min(room, positions) / kBlock * kBlock;
  if (room == 0) return false;
  last_ = ranges_.size() - 1;
  back_ = ranges_.back().start + ranges_.back().memory->size;
  const char* const what = "memory for copies of the guest's";
  if (!data_.make(room, what) || !starts_.make(positions / kBlock * sizeof(uint64_t), what) ||
      !kinds_.make(positions / kPageSize, what))
    return false;
  madvise(data_.at, data_.size, MADV_HUGEPAGE);
  return true;
}

// ---- the thread that waits ----

void Aside::copy() {
  for (Block block; control_.check() && take_block(block);) copy_block(block);
  const std::lock_guard lock(mutex_);
  is_copying_ = false;
  block_ = released_ = used_;
  changed_.notify_all();
}

// Of the block in which the other thread is, the rest: that thread may be about to wait for what it writes to.
bool Aside::take_block(Block& block) {
  std::unique_lock lock(mutex_);
  const Range& range = ranges_[last_];
  if (back_ == range.start) return false;
  uint64_t start = (back_ - 1) / kBlock * kBlock;
  if (start < front_) {
    changed_.wait(lock, [this] { return !is_reading_; });
    start = std::max(start, front_);
  }
  if (has_ended_ || start == back_ || data_.size - used_ < back_ - start) return false;
  block = {&range, start, back_ - start};
  back_ = start;
  if (start == range.start && last_ > 0) {
    --last_;
    back_ = ranges_[last_].start + ranges_[last_].memory->size;
  }
  return true;
}

void Aside::copy_block(const Block& block) {
  MemoryRange part = *block.range->memory;
  const uint64_t at = block.position - block.range->start;
  part.address += at;
  part.size = block.size;
  part.fd_offset += at;
  if (part.host) part.host = static_cast<const std::byte*>(part.host) + at;
  reinterpret_cast<uint64_t*>(starts_.at)[block.position / kBlock] = used_;
  std::byte* kinds = kinds_.at + block.position / kPageSize;
  source_.start(part);
  for (Piece piece = source_.next(); piece.size > 0; piece = source_.next()) {
    const uint64_t pages = piece.size / kPageSize;
    std::memset(kinds, static_cast<int>(piece.kind), pages);
    kinds += pages;
    if (piece.kind != Piece::Kind::data) continue;
    std::memcpy(data_.at + used_, piece.bytes, piece.size);
    used_ += piece.size;
  }
  if (std::string trouble = source_.take_trouble(); !trouble.empty()) trouble_ = std::move(trouble);
}

void Aside::wait() {
  constexpr std::chrono::milliseconds kStep(5);
  std::unique_lock lock(mutex_);
  while (!has_ended_ && (is_reading_ || front_ < back_) && control_.check()) changed_.wait_for(lock, kStep);
}

// ---- the thread that writes ----

uint64_t Aside::start_of(const MemoryRange& range) const {
  return std::lower_bound(ranges_.begin(), ranges_.end(), range.address,
                          [](const Range& of, uint64_t address) { return of.memory->address < address; })
      ->start;
}

uint64_t Aside::claim(uint64_t position, uint64_t wanted) {
  std::unique_lock lock(mutex_);
  if (position < back_) {
    const uint64_t claimed = std::min(wanted, back_ - position);
    front_ = position + claimed;
    is_reading_ = true;
    return claimed;
  }
  changed_.wait(lock, [this] { return !is_copying_; });
  return 0;
}

void Aside::have_read(uint64_t end) {
  const std::lock_guard lock(mutex_);
  is_reading_ = false;
  front_ = end;
  changed_.notify_all();
}

Piece Aside::next(uint64_t position, uint64_t most) {
  if (position % kBlock == 0 || !has_begun_) {
    has_begun_ = true;
    // Blocks were copied in the order of falling addresses: those before this one are at the end of data_.
    if (block_ < released_) madvise(data_.at + block_, released_ - block_, MADV_DONTNEED);
    released_ = block_;
    block_ = next_ = reinterpret_cast<const uint64_t*>(starts_.at)[position / kBlock];
  }
  const std::byte* kinds = kinds_.at + position / kPageSize;
  const uint64_t pages = std::min(most, kBlock - position % kBlock) / kPageSize;
  uint64_t same = 1;
  while (same < pages && kinds[same] == kinds[0]) ++same;
  Piece piece = {static_cast<Piece::Kind>(kinds[0]), same * kPageSize, nullptr};
  if (piece.kind == Piece::Kind::data) {
    piece.bytes = data_.at + next_;
    next_ += piece.size;
  }
  return piece;
}

void Aside::end() {
  const std::lock_guard lock(mutex_);
  has_ended_ = true;
  changed_.notify_all();
}

}  // namespace gcore::writer
