// Page tables, kept in memory as they are read, 4 KiB at a time. Internal to this folder.
//
// Insert-only, so that what it hands out stays valid as long as it lives, and several threads can look things up
// without a lock. Bounded: when it is full, whoever asks for more reads for himself.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "reader/translate/types.h"

namespace gcore::translate {

class TableStore {
 public:
  static constexpr size_t kPiece = 4096;
  static constexpr size_t kMost = 2048;  // 8 MiB: the tables of about 4 GiB in 4 KiB pages

  TableStore() = default;
  TableStore(const TableStore&) = delete;
  TableStore& operator=(const TableStore&) = delete;
  ~TableStore() {
    for (auto& slot : slots_) delete slot.load(std::memory_order_relaxed);
  }

  /// The 4 KiB at `address`, a multiple of that; nullptr when they cannot be read as a whole, or when there is no room.
  const std::byte* get(uint64_t address, const ReadPhysical& read) {
    size_t at = static_cast<size_t>((address >> 12) * 0x9e3779b97f4a7c15u >> 40);
    for (;; ++at) {
      std::atomic<Piece*>& slot = slots_[at % slots_.size()];
      const Piece* there = slot.load(std::memory_order_acquire);
      if (there == nullptr) {
        if (pieces_.load(std::memory_order_relaxed) >= kMost) return nullptr;
        if (there = insert(slot, address, read); there == nullptr) return nullptr;
      }
      if (there->address == address) return there->bytes.data();
    }
  }

 private:
  struct alignas(64) Piece {
    std::array<std::byte, kPiece> bytes;
    uint64_t address;
  };

  /// What stands in the slot in the end: another thread may have been faster.
  const Piece* insert(std::atomic<Piece*>& slot, uint64_t address, const ReadPhysical& read) {
    auto piece = std::make_unique_for_overwrite<Piece>();
    piece->address = address;
    if (read(PhysAddr(address), piece->bytes).bytes < kPiece) return nullptr;
    Piece* expected = nullptr;
    if (!slot.compare_exchange_strong(expected, piece.get(), std::memory_order_acq_rel)) return expected;
    pieces_.fetch_add(1, std::memory_order_relaxed);
    return piece.release();
  }

  std::array<std::atomic<Piece*>, 2 * kMost> slots_{};  // threads that race may pass kMost, by one each
  std::atomic<size_t> pieces_{0};
};

}  // namespace gcore::translate
