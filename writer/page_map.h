// Which pages of private anonymous memory were never touched, as /proc/self/pagemap tells. To read such a page costs
// the kernel page tables and the VMM time, and it is all zeros.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "writer/unique_fd.h"

namespace gcore::writer {

class PageMap {
 public:
  struct Extent {
    uint64_t size;  // bytes; at most what was asked for
    bool touched;
  };

  /// Takes a look at this process's mappings as they are now. In a process that uses userfaultfd nothing is known:
  /// there, a page that is not mapped may be one that is yet to be fetched. `own_userfaultfd` fetches none; or -1.
  explicit PageMap(int own_userfaultfd);

  /// What is known of the memory at `address`, a multiple of 4096; what is not private anonymous memory counts as
  /// touched. Nothing when nothing is known.
  std::optional<Extent> find(uintptr_t address, uint64_t size);

 private:
  struct Mapping {
    uint64_t start, end;
  };
  void add_mapping(const char* line);

  UniqueFd file_;
  std::vector<Mapping> anonymous_;  // by address, neighbours joined
  std::unique_ptr<uint64_t[]> entries_;
};

}  // namespace gcore::writer
