// How much memory a process may take without that anybody's is written to a disk, or that it is killed for it.
#pragma once

#include <algorithm>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>

namespace gcore::base {
namespace detail {

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

inline File open_to_read(const std::string& path) { return {std::fopen(path.c_str(), "re"), std::fclose}; }

inline std::optional<uint64_t> number_in(const std::string& path) {
  const File file = open_to_read(path);
  uint64_t value = 0;
  if (!file || std::fscanf(file.get(), "%" SCNu64, &value) != 1) return std::nullopt;  // "max", too
  return value;
}

inline uint64_t available_of_kernel() {
  const File file = open_to_read("/proc/meminfo");
  char line[256];
  uint64_t kib = 0;
  while (file && std::fgets(line, sizeof line, file.get()))
    if (std::sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1) return kib << 10;
  return 0;
}

// From a group up to the root, which in a container is the container's own group.
inline uint64_t left_in(const std::string& root, std::string group, const char* most_name, const char* used_name) {
  uint64_t left = UINT64_MAX;
  for (;; group.erase(group.rfind('/'))) {
    const auto most = number_in(root + group + most_name), used = number_in(root + group + used_name);
    if (most && used) left = std::min(left, *most - std::min(*most, *used));
    if (group.find('/') == std::string::npos) return left;
  }
}

}  // namespace detail

/// Bytes: what the kernel has available (MemAvailable of /proc/meminfo), and what the control groups allow that this
/// process is in, of both versions. 0: nobody knows.
inline uint64_t available_memory() {
  using namespace detail;  // NOLINT
  uint64_t available = available_of_kernel();
  const File groups = open_to_read("/proc/self/cgroup");  // "0::/a/b" (version 2), "9:memory:/a/b" (version 1)
  char line[4096];
  while (groups && std::fgets(line, sizeof line, groups.get())) {
    line[std::strcspn(line, "\n")] = '\0';
    char* controllers = std::strchr(line, ':');
    char* group = controllers ? std::strchr(controllers + 1, ':') : nullptr;
    if (!group) continue;
    *group++ = '\0';
    const std::string names = "," + std::string(controllers + 1) + ",";
    if (std::strncmp(line, "0:", 2) == 0 && names == ",,")
      available = std::min(available, left_in("/sys/fs/cgroup", group, "/memory.max", "/memory.current"));
    if (names.find(",memory,") != std::string::npos)
      available = std::min(available,
                           left_in("/sys/fs/cgroup/memory", group, "/memory.limit_in_bytes", "/memory.usage_in_bytes"));
  }
  return available;
}

}  // namespace gcore::base
