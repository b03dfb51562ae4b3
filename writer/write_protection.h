// userfaultfd's write protection of this process's memory: system calls, and what they need of a mapping.
//
// Facts: Documentation/admin-guide/mm/userfaultfd.rst of the Linux kernel. Anonymous memory since 5.7; shared memory
// and hugetlbfs since 5.19; /dev/userfaultfd since 6.1; pages that are not there yet (UFFD_FEATURE_WP_UNPOPULATED)
// since 6.4.
#pragma once

#include <cstdint>
#include <span>

#include "writer/guest.h"
#include "writer/unique_fd.h"

namespace gcore::writer {

class WriteProtection {
 public:
  /// A thread of this process has written, or wants to write, to that address, and waits.
  using Address = uint64_t;

  /// Fails where the system has none, or this process may not have it; the error says what helps.
  Status open();
  /// Puts a mapping under it; nothing is protected yet. `block` becomes the size of its pages, 4096 or larger: what
  /// protect() takes are multiples of that. Fails when memory of that kind cannot be protected. `is_shared` is memory
  /// that has a file.
  Status add(Address start, uint64_t size, bool is_shared, uint64_t& block);
  /// Protects, or releases and wakes who waits. 0 or an errno value.
  int protect(Address start, uint64_t size) const { return change(start, size, true); }
  int release(Address start, uint64_t size) const { return change(start, size, false); }
  /// Lets go of a mapping and of all that wait.
  void remove(Address start, uint64_t size) const;
  /// Becomes readable when somebody waits.
  int fd() const { return fd_.get(); }
  /// At most `room` of those that wait; 0 when none does.
  size_t waiting(std::span<Address> addresses) const;

 private:
  int change(Address start, uint64_t size, bool protect) const;

  UniqueFd fd_;
  uint64_t features_ = 0;
};

}  // namespace gcore::writer
