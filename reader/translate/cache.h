// A small cache for several threads without locks. Internal to this folder.
//
// Each slot is a sequence lock: a reader that overlaps a writer sees a changed sequence number and takes it for a miss;
// a writer that overlaps another gives up. The data loads are acquire and the data stores release, which orders them
// against the sequence number without fences (ThreadSanitizer does not know fences).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace gcore::translate {

template <size_t kSlots>
class Cache {
  static_assert((kSlots & (kSlots - 1)) == 0);

 public:
  struct Value {
    uint64_t a = 0, b = 0;
  };

  /// `key` is not 0.
  bool get(uint64_t key, Value& value) const {
    const Slot& slot = slots_[slot_of(key)];
    const uint32_t before = slot.sequence.load(std::memory_order_acquire);
    if (slot.key.load(std::memory_order_acquire) != key || (before & 1) != 0) return false;
    value.a = slot.a.load(std::memory_order_acquire);
    value.b = slot.b.load(std::memory_order_acquire);
    return slot.sequence.load(std::memory_order_relaxed) == before;
  }

  void put(uint64_t key, const Value& value) {
    Slot& slot = slots_[slot_of(key)];
    uint32_t before = slot.sequence.load(std::memory_order_relaxed);
    if ((before & 1) != 0 || !slot.sequence.compare_exchange_strong(before, before + 1, std::memory_order_acquire))
      return;
    slot.key.store(key, std::memory_order_release);
    slot.a.store(value.a, std::memory_order_release);
    slot.b.store(value.b, std::memory_order_release);
    slot.sequence.store(before + 2, std::memory_order_release);
  }

 private:
  struct alignas(32) Slot {
    std::atomic<uint32_t> sequence{0};
    std::atomic<uint64_t> key{0}, a{0}, b{0};
  };

  // Neighbours get neighbouring slots; the upper bits are folded in, so that equal offsets in other regions do not
  // collide.
  static size_t slot_of(uint64_t key) { return static_cast<size_t>((key ^ (key >> 9) ^ (key >> 21)) & (kSlots - 1)); }

  std::array<Slot, kSlots> slots_;
};

}  // namespace gcore::translate
