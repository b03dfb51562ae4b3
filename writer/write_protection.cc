#include "writer/write_protection.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>

#include "writer/memory.h"

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0)
#endif

namespace gcore::writer {
namespace {

// Newer than the headers that this has to be built with.
constexpr uint64_t kFaultsOfWrites = 1 << 0;  // UFFD_FEATURE_PAGEFAULT_FLAG_WP
constexpr uint64_t kSharedMemory = 1 << 12;   // UFFD_FEATURE_WP_HUGETLBFS_SHMEM
constexpr uint64_t kUnpopulated = 1 << 13;    // UFFD_FEATURE_WP_UNPOPULATED
// No fault is served while a piece is removed: a GiB at once would keep the guest waiting for 15 ms.
constexpr uint64_t kRemovedAtOnce = 64 << 20;
// A kernel that is not preempted lets a vCPU that has the same CPU run only after the call.
constexpr uint64_t kChangedAtOnce = 2 << 20;
constexpr int kPopulateRead = 22;  // MADV_POPULATE_READ, Linux 5.14

// Faults inside the kernel count as well (KVM's, those of read() into guest memory), so not UFFD_USER_MODE_ONLY.
UniqueFd open_userfaultfd() {
  constexpr int kFlags = O_CLOEXEC | O_NONBLOCK;
  UniqueFd fd(static_cast<int>(syscall(SYS_userfaultfd, kFlags)));
  if (fd || (errno != EPERM && errno != ENOSYS)) return fd;
  const int code = errno;
  const UniqueFd device(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
  if (device) fd = UniqueFd(ioctl(device.get(), USERFAULTFD_IOC_NEW, kFlags));
  if (!fd) errno = code;
  return fd;
}

uint64_t features_of_kernel() {
  const UniqueFd fd = open_userfaultfd();
  uffdio_api api = {UFFD_API, 0, 0};
  return fd && ioctl(fd.get(), UFFDIO_API, &api) == 0 ? api.features : 0;
}

int register_range(int fd, uint64_t start, uint64_t size) {
  uffdio_register range = {};
  range.range = {start, size};
  range.mode = UFFDIO_REGISTER_MODE_WP;
  return ioctl(fd, UFFDIO_REGISTER, &range) == 0 ? 0 : errno;
}

}  // namespace

Status WriteProtection::open() {
  fd_ = open_userfaultfd();
  if (!fd_) {
    const int code = errno;
    return Error{code, system_error(code, "userfaultfd").text() +
                           (code == EPERM ? "; give the VMM access to /dev/userfaultfd, or CAP_SYS_PTRACE" : "")};
  }
  features_ = features_of_kernel() & (kFaultsOfWrites | kSharedMemory | kUnpopulated);
  if ((features_ & kFaultsOfWrites) == 0)
    return Status(std::string("this kernel's userfaultfd cannot protect memory from writes (Linux 5.7 can)"));
  uffdio_api api = {UFFD_API, features_, 0};
  if (ioctl(fd_.get(), UFFDIO_API, &api) != 0) return system_error(errno, "UFFDIO_API");
  return {};
}

Status WriteProtection::add(Address start, uint64_t size, bool is_shared, uint64_t& block) {
  // Of memory in huge pages only whole ones are taken, so a single small one tells.
  constexpr uint64_t kBlocks[] = {kPageSize, 64 << 10, 2 << 20, 32 << 20, 1 << 30};
  block = 0;
  int code = EINVAL;
  for (const uint64_t candidate : kBlocks) {
    if (start % candidate != 0 || size % candidate != 0) break;
    code = register_range(fd_.get(), start, candidate);
    if (code == EINVAL) continue;
    if (code == 0) block = candidate;
    break;
  }
  if (code == 0) code = register_range(fd_.get(), start, size);
  char text[160];
  std::snprintf(text, sizeof text, "write protection of guest memory at host address 0x%" PRIx64, start);
  if (code == EINVAL)
    return Error{code, std::string(text) + ": it is neither anonymous memory nor shared memory" +
                           ((features_ & kSharedMemory) == 0 ? " (shared memory takes Linux 5.19)" : "")};
  if (code == EBUSY) return Error{code, std::string(text) + ": the VMM has a userfaultfd of its own for it"};
  if (code != 0) return system_error(code, text);
  // What is not there cannot be protected by an older kernel: so that a write to it is seen, the page of zeros is put
  // there. It is a matter of anonymous memory only.
  if ((features_ & kUnpopulated) == 0 && !is_shared) madvise(reinterpret_cast<void*>(start), size, kPopulateRead);
  return {};
}

int WriteProtection::change(Address start, uint64_t size, bool protect) const {
  for (uint64_t done = 0; done < size; done += kChangedAtOnce) {
    uffdio_writeprotect range = {};
    range.range = {start + done, std::min(kChangedAtOnce, size - done)};
    range.mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0;
    while (ioctl(fd_.get(), UFFDIO_WRITEPROTECT, &range) != 0)
      if (errno != EAGAIN && errno != EINTR) return errno;
  }
  return 0;
}

void WriteProtection::remove(Address start, uint64_t size) const {
  bool is_removed = true;
  for (uint64_t done = 0; done < size; done += kRemovedAtOnce) {
    uffdio_range range = {start + done, std::min(kRemovedAtOnce, size - done)};
    release(range.start, range.len);
    if (ioctl(fd_.get(), UFFDIO_UNREGISTER, &range) != 0) is_removed = false;
  }
  if (is_removed) return;
  // A part needs a mapping of its own, of which a process has so many.
  uffdio_range whole = {start, size};
  ioctl(fd_.get(), UFFDIO_UNREGISTER, &whole);
}

size_t WriteProtection::waiting(std::span<Address> addresses) const {
  uffd_msg messages[32];
  const size_t room = std::min(addresses.size(), std::size(messages));
  const ssize_t got = read(fd_.get(), messages, room * sizeof *messages);
  size_t count = 0;
  for (size_t i = 0; got > 0 && i < static_cast<size_t>(got) / sizeof *messages; ++i)
    if (messages[i].event == UFFD_EVENT_PAGEFAULT) addresses[count++] = messages[i].arg.pagefault.address;
  return count;
}

}  // namespace gcore::writer
