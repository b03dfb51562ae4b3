#include "tools/gcore-dump/process_memory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>

namespace gcore::tools::qemu {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kInMemoryOrSwap = uint64_t{3} << 62;

std::string proc(int task, const char* what) { return "/proc/" + std::to_string(task) + "/" + what; }

/// A page that is not there may be one that is yet to be fetched (an incoming postcopy migration).
bool uses_userfaultfd(int task) {
  const std::string path = proc(task, "fd");
  DIR* folder = opendir(path.c_str());
  if (!folder) return true;  // who knows
  constexpr std::string_view kName = "anon_inode:[userfaultfd]";
  bool found = false;
  while (const dirent* entry = readdir(folder)) {
    char link[kName.size() + 1];
    const ssize_t length = readlinkat(dirfd(folder), entry->d_name, link, sizeof link);
    found = found || (length > 0 && std::string_view(link, static_cast<size_t>(length)) == kName);
  }
  closedir(folder);
  return found;
}

struct Mapped {
  bool whole = false, anonymous = true;  // private and without a file
};

/// How [address, end) is mapped.
Mapped look_up(int task, uint64_t address, uint64_t end) {
  Mapped mapped;
  uint64_t covered = address;
  std::ifstream maps(proc(task, "maps"));
  for (std::string line; covered < end && std::getline(maps, line);) {
    uint64_t first = 0, last = 0, inode = 0;
    char flags[5] = "";
    if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %4s %*x %*x:%*x %" SCNu64, &first, &last, flags, &inode) !=
        4)
      continue;
    if (last <= covered) continue;
    if (first > covered || flags[0] != 'r') return mapped;
    mapped.anonymous = mapped.anonymous && inode == 0 && flags[3] == 'p';
    covered = last;
  }
  mapped.whole = covered >= end;
  return mapped;
}

size_t copy(int task, uint64_t address, void* to, size_t size) {
  const iovec local{to, size};
  const iovec remote{reinterpret_cast<void*>(static_cast<uintptr_t>(address)), size};
  const ssize_t got = process_vm_readv(task, &local, 1, &remote, 1, 0);
  return got > 0 ? static_cast<size_t>(got) / kPage * kPage : 0;
}

}  // namespace

std::expected<ProcessMemory, std::string> ProcessMemory::open(int task, uint64_t address, uint64_t size) {
  char probe = 0;
  const iovec local{&probe, 1};
  const iovec remote{reinterpret_cast<void*>(static_cast<uintptr_t>(address)), 1};
  if (process_vm_readv(task, &local, 1, &remote, 1, 0) != 1)
    return std::unexpected(std::string("cannot read QEMU's process: ") + std::strerror(errno));
  const Mapped mapped = look_up(task, address, address + size);
  if (!mapped.whole) return std::unexpected("cannot read QEMU's process: it has not mapped all of it");
  ProcessMemory memory;
  memory.task_ = task;
  if (mapped.anonymous && !uses_userfaultfd(task)) {
    memory.page_map_ = base::UniqueFd(::open(proc(task, "pagemap").c_str(), O_RDONLY | O_CLOEXEC));
  }
  return memory;
}

/// The page map's entries from there on; none where nobody knows.
std::span<uint64_t> ProcessMemory::load(uint64_t address, uint64_t size, Entries& entries) const {
  if (!page_map_) return {};
  const auto wanted = std::span(entries).first(std::min<uint64_t>(entries.size(), size / kPage));
  const ssize_t got = pread(page_map_.get(), wanted.data(), wanted.size_bytes(),
                            static_cast<off_t>(address / kPage * sizeof(uint64_t)));
  return got == static_cast<ssize_t>(wanted.size_bytes()) ? wanted : std::span<uint64_t>();
}

uint64_t ProcessMemory::untouched(uint64_t address, uint64_t size) const {
  Entries buffer;
  uint64_t done = 0;
  while (size - done >= kPage) {
    const auto entries = load(address + done, size - done, buffer);
    const auto touched = std::ranges::find_if(entries, [](uint64_t entry) { return (entry & kInMemoryOrSwap) != 0; });
    done += static_cast<uint64_t>(touched - entries.begin()) * kPage;
    if (touched != entries.end() || entries.empty()) break;
  }
  return done;
}

size_t ProcessMemory::read(uint64_t address, void* to, size_t size) const {
  auto* bytes = static_cast<char*>(to);
  Entries buffer;
  size_t done = 0;
  while (size - done >= kPage) {
    const auto entries = load(address + done, size - done, buffer);
    const bool known = !entries.empty();
    const size_t end = known ? done + entries.size() * kPage : size;
    while (done < end) {
      const size_t first = known ? entries.size() - (end - done) / kPage : 0;
      const auto is_touched = [&](size_t page) { return !known || (entries[page] & kInMemoryOrSwap) != 0; };
      size_t length = known ? kPage : end - done;
      const bool touched = is_touched(first);
      while (done + length < end && is_touched(first + length / kPage) == touched) length += kPage;
      if (touched) {
        const size_t got = copy(task_, address + done, bytes + done, length);
        done += got;
        if (got < length) return done;
      } else {
        std::memset(bytes + done, 0, length);
        done += length;
      }
    }
  }
  return done;
}

}  // namespace gcore::tools::qemu
