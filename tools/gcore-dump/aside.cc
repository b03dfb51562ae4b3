#include "tools/gcore-dump/aside.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <system_error>
#include <thread>

namespace gcore::tools::qemu {
namespace {

constexpr uint64_t kPiece = 16 << 20;  // of one thread, between two looks at the limits
constexpr size_t kBlock = 256 << 10;   // stays in the processor's cache
constexpr unsigned kMostThreads = 4;

struct Piece {
  uint64_t from, to, size;  // offsets
};

std::optional<uint64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  std::string text;
  uint64_t value = 0;
  if (!(file >> text) || std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc())
    return std::nullopt;  // "max", too
  return value;
}

/// Where data is in [at, end) of a file; all of it where the file system knows no holes.
std::vector<Piece> data_in(int fd, uint64_t at, uint64_t end, uint64_t to) {
  std::vector<Piece> pieces;
  const uint64_t start = at;
  while (at < end) {
    const off_t data = lseek(fd, static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    const off_t hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
    uint64_t from = std::min(end, data < 0 ? at : static_cast<uint64_t>(data));
    const uint64_t until = hole < 0 ? end : std::min(end, static_cast<uint64_t>(hole));
    for (at = until; from < until;) {
      const uint64_t size = std::min(kPiece, until - from);
      pieces.push_back({from, to + (from - start), size});
      from += size;
    }
  }
  return pieces;
}

/// 0, or errno.
int copy(int from, int to, const Piece& piece, std::vector<char>& block) {
  for (uint64_t done = 0; done < piece.size;) {
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(block.size(), piece.size - done));
    const ssize_t got = pread(from, block.data(), wanted, static_cast<off_t>(piece.from + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return got == 0 ? ENODATA : errno;
    for (ssize_t put = 0; put < got;) {
      const ssize_t now = pwrite(to, block.data() + put, static_cast<size_t>(got - put),
                                 static_cast<off_t>(piece.to + done + static_cast<uint64_t>(put)));
      if (now < 0 && errno == EINTR) continue;
      if (now <= 0) return now == 0 ? ENOSPC : errno;
      put += now;
    }
    done += static_cast<uint64_t>(got);
  }
  return 0;
}

}  // namespace

uint64_t available_memory() {
  uint64_t available = 0;
  std::ifstream meminfo("/proc/meminfo");
  for (std::string word; meminfo >> word;)
    if (word == "MemAvailable:" && meminfo >> available) available <<= 10;
  std::ifstream groups("/proc/self/cgroup");  // "0::/a/b" (version 2), "9:memory:/a/b" (version 1)
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const bool is_second = line.starts_with("0::"), is_first = controllers.find(",memory,") != std::string::npos;
    if (!is_second && !is_first) continue;
    const std::string root = is_second ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    const char* const most_name = is_second ? "/memory.max" : "/memory.limit_in_bytes";
    const char* const used_name = is_second ? "/memory.current" : "/memory.usage_in_bytes";
    // From this group up to the root, which in a container is the container's own group.
    for (std::string group = line.substr(second + 1);; group.erase(group.rfind('/'))) {
      const auto most = number_in(root + group + most_name), used = number_in(root + group + used_name);
      if (most && used) available = std::min(available, *most - std::min(*most, *used));
      if (group.find('/') == std::string::npos) break;
    }
  }
  return available;
}

bool Aside::make() {
  if (!file_) file_ = base::UniqueFd(memfd_create("gcore-dump", MFD_CLOEXEC));
  return static_cast<bool>(file_);
}

std::expected<std::optional<writer::MemoryRange>, std::string> Aside::take(const writer::MemoryRange& range,
                                                                           const CaptureLimits& limits) {
  struct stat info;
  if (fstat(range.fd, &info) != 0 || !S_ISREG(info.st_mode) || range.fd_offset > UINT64_MAX - range.size ||
      static_cast<uint64_t>(info.st_size) < range.fd_offset + range.size)
    return std::nullopt;
  const auto pieces = data_in(range.fd, range.fd_offset, range.fd_offset + range.size, size_);
  uint64_t data = 0;
  for (const Piece& piece : pieces) data += piece.size;
  if (data > room_ || !make() || ftruncate(file_.get(), static_cast<off_t>(size_ + range.size)) != 0)
    return std::nullopt;

  std::atomic<size_t> next{0};
  std::atomic<int> problem{0};
  std::atomic<bool> late{false}, told{false};
  const auto work = [&] {
    std::vector<char> block(kBlock);
    for (size_t i; (i = next++) < pieces.size() && problem == 0 && !late && !told;) {
      pollfd give_up{limits.give_up, POLLIN, 0};
      if (poll(&give_up, 1, 0) > 0)
        told = true;
      else if (std::chrono::steady_clock::now() > limits.deadline)
        late = true;
      else if (const int error = copy(range.fd, file_.get(), pieces[i], block); error != 0)
        problem = error;
    }
  };
  {
    std::vector<std::jthread> helpers;
    const unsigned most = std::min<unsigned>(kMostThreads, std::max(1u, std::thread::hardware_concurrency()));
    try {
      while (helpers.size() + 1 < std::min<size_t>(most, pieces.size())) helpers.emplace_back(work);
    } catch (const std::system_error&) {  // this thread does it alone
    }
    work();
  }
  if (told) return std::unexpected("told to end");
  if (late) return std::unexpected("it was not copied aside when the pause deadline came (--deadline, --aside)");
  if (problem != 0) {  // let go of what was copied: who has no memory needs it
    (void)ftruncate(file_.get(), static_cast<off_t>(size_));
    return std::nullopt;
  }
  room_ -= data;
  const writer::MemoryRange copied{
      .address = range.address, .size = range.size, .fd = file_.get(), .fd_offset = size_, .is_copy = true};
  size_ += range.size;
  return copied;
}

}  // namespace gcore::tools::qemu
