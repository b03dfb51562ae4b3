// Physical memory for tests of page walks: a few pages, all others are missing.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>

#include "reader/translate/types.h"

namespace gcore::tests {

class FakeMemory {
 public:
  static constexpr uint64_t kPage = 4096;

  /// Adds a page of zeros, if there is none yet.
  void add_page(uint64_t address) { pages_.try_emplace(address / kPage); }

  /// Writes an integer of `size` bytes, within a page, adding the page.
  void store(uint64_t address, uint64_t value, size_t size, bool big_endian = false) {
    auto& page = pages_[address / kPage];
    for (size_t i = 0; i < size; ++i)
      page[address % kPage + i] = static_cast<std::byte>(value >> 8 * (big_endian ? size - 1 - i : i));
  }

  reader::ReadResult read(reader::PhysAddr address, std::span<std::byte> into) const {
    size_t done = 0;
    while (done < into.size()) {
      const uint64_t at = address.value + done;
      const auto page = pages_.find(at / kPage);
      if (page == pages_.end()) return {done, reader::Missing::not_in_any_segment};
      const size_t count = std::min<uint64_t>(kPage - at % kPage, into.size() - done);
      std::copy_n(page->second.begin() + static_cast<ptrdiff_t>(at % kPage), count,
                  into.begin() + static_cast<ptrdiff_t>(done));
      done += count;
    }
    return {done, reader::Missing::none};
  }

  translate::ReadPhysical reader() const {
    return [this](reader::PhysAddr address, std::span<std::byte> into) { return read(address, into); };
  }

 private:
  std::unordered_map<uint64_t, std::array<std::byte, kPage>> pages_;
};

}  // namespace gcore::tests
