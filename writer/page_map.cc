#include "writer/page_map.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "writer/memory.h"

namespace gcore::writer {
namespace {

constexpr size_t kEntries = 4096;                    // a read: 16 MiB of memory
constexpr uint64_t kMostAtOnce = uint64_t{1} << 30;  // so that a dump of nothing but holes can be cancelled

bool uses_userfaultfd(int own) {
  DIR* folder = opendir("/proc/self/fd");
  if (!folder) return true;  // who knows
  constexpr char kName[] = "anon_inode:[userfaultfd]";
  bool found = false;
  while (const dirent* entry = readdir(folder)) {
    char link[sizeof kName + 1];
    const ssize_t length = readlinkat(dirfd(folder), entry->d_name, link, sizeof link);
    if (length == sizeof kName - 1 && std::memcmp(link, kName, sizeof kName - 1) == 0)
      found = found || std::atoi(entry->d_name) != own;
  }
  closedir(folder);
  return found;
}

}  // namespace

PageMap::PageMap(int own_userfaultfd) {
  if (sysconf(_SC_PAGESIZE) != static_cast<long>(kPageSize) || uses_userfaultfd(own_userfaultfd)) return;
  std::FILE* maps = std::fopen("/proc/self/maps", "re");
  if (!maps) return;
  char line[512];
  bool at_start = true;  // not in the rest of a line with a long path
  while (std::fgets(line, sizeof line, maps)) {
    if (at_start) add_mapping(line);
    at_start = std::strchr(line, '\n') != nullptr;
  }
  std::fclose(maps);
  if (anonymous_.empty()) return;
  file_ = UniqueFd(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  entries_.reset(new uint64_t[kEntries]);
}

// "START-END PERMISSIONS OFFSET DEVICE INODE PATH", see proc(5). Without 'r' reading fails, and should be seen to.
void PageMap::add_mapping(const char* line) {
  uint64_t start, end, inode;
  char permissions[5];
  int path = 0;
  if (std::sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %*x:%*x %" SCNu64 " %n", &start, &end, permissions, &inode,
                  &path) != 4)
    return;
  const char* name = line + path;
  const bool special = *name == '[' && std::strncmp(name, "[anon:", 6) != 0 && std::strncmp(name, "[heap]", 6) != 0;
  if (inode != 0 || special || permissions[0] != 'r' || permissions[3] != 'p') return;
  if (!anonymous_.empty() && anonymous_.back().end == start) {
    anonymous_.back().end = end;
  } else {
    anonymous_.push_back({start, end});
  }
}

std::optional<PageMap::Extent> PageMap::find(uintptr_t address, uint64_t size) {
  if (!file_) return std::nullopt;
  const auto after = std::upper_bound(anonymous_.begin(), anonymous_.end(), uint64_t{address},
                                      [](uint64_t at, const Mapping& mapping) { return at < mapping.end; });
  if (after == anonymous_.end()) return std::nullopt;
  if (address < after->start) return Extent{std::min(size, after->start - address), true};
  size = std::min({size, after->end - address, kMostAtOnce});

  constexpr uint64_t kInMemoryOrSwap = uint64_t{3} << 62;
  Extent extent = {0, false};
  while (extent.size < size) {
    const size_t wanted = std::min<uint64_t>(kEntries, (size - extent.size) / kPageSize);
    const auto offset = static_cast<off_t>((address + extent.size) / kPageSize * sizeof(uint64_t));
    const ssize_t got = pread(file_.get(), entries_.get(), wanted * sizeof(uint64_t), offset);
    const size_t count = got > 0 ? static_cast<size_t>(got) / sizeof(uint64_t) : 0;
    if (count == 0) break;
    if (extent.size == 0) extent.touched = (entries_[0] & kInMemoryOrSwap) != 0;
    size_t same = 0;
    while (same < count && ((entries_[same] & kInMemoryOrSwap) != 0) == extent.touched) ++same;
    extent.size += same * kPageSize;
    if (same < count) break;
  }
  return extent.size > 0 ? std::optional(extent) : std::nullopt;
}

}  // namespace gcore::writer
