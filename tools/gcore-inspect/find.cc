#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <span>

#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {
namespace {

constexpr size_t kChunk = 4 << 20;

/// Looks for a pattern in memory that is handed over piece by piece. A match may lie across pieces whose addresses
/// adjoin.
class Finder {
 public:
  explicit Finder(std::string_view pattern) : pattern_(pattern) {}

  void add(uint64_t address, std::span<const std::byte> bytes) {
    if (address != next_) window_.clear();
    const uint64_t start = address - window_.size();
    const auto* text = reinterpret_cast<const char*>(bytes.data());
    window_.append(text, bytes.size());
    size_t at = 0;
    while ((at = std::string_view(window_).find(pattern_, at)) != std::string_view::npos) {
      std::puts(fmt::format("{:#018x}", start + at).c_str());
      ++found_;
      ++at;
    }
    if (window_.size() >= pattern_.size()) window_.erase(0, window_.size() - (pattern_.size() - 1));
    next_ = address + bytes.size();
  }

  /// The same for zeros, of which any number takes no time: a pattern that is not all zeros meets their edges only.
  void add_zeros(uint64_t address, uint64_t size) {
    const uint64_t edge = std::min<uint64_t>(size, pattern_.size());
    const std::vector<std::byte> zeros(static_cast<size_t>(edge));
    add(address, zeros);
    if (size > 2 * edge) add(address + size - edge, zeros);
    if (size > edge && size <= 2 * edge) add(address + edge, std::span(zeros).first(static_cast<size_t>(size - edge)));
  }

  uint64_t found() const { return found_; }

 private:
  std::string_view pattern_;
  std::string window_;  // the bytes in front of next_ in which a match may still begin
  uint64_t next_ = 0, found_ = 0;
};

}  // namespace

int find(const Job& job, std::string_view pattern) {
  Finder finder(pattern);
  std::vector<std::byte> buffer(kChunk);
  uint64_t searched = 0;
  std::string why;
  auto extent = job.dump.next_extent(reader::PhysAddr(0));
  while (extent && std::ferror(stdout) == 0) {
    if (extent->kind == reader::Dump::Extent::Kind::zero) finder.add_zeros(extent->address.value, extent->size);
    for (uint64_t done = 0; extent->kind == reader::Dump::Extent::Kind::data && done < extent->size;) {
      const auto want = static_cast<size_t>(std::min<uint64_t>(extent->size - done, buffer.size()));
      const auto result = job.dump.read(extent->address + done, std::span(buffer).first(want));
      finder.add(extent->address.value + done, std::span<const std::byte>(buffer).first(result.bytes));
      done += result.bytes;
      if (result.bytes == want) continue;
      why = fmt::format("{:#x}: {}", extent->address.value + done, reader::describe(result.missing));
      break;
    }
    searched += extent->kind == reader::Dump::Extent::Kind::missing ? 0 : extent->size;
    const reader::PhysAddr next = extent->address + extent->size;
    if (next.value == 0) break;
    extent = job.dump.next_extent(next);
  }
  const std::string attempted = "find in " + printable(job.dump.path());
  if (!why.empty()) return job.program.fail(attempted, "cannot read " + why);
  if (finder.found() == 0)
    return job.program.fail(attempted, fmt::format("not found in {} of guest-physical memory", human_size(searched)));
  return kExitDone;
}

}  // namespace gcore::tools::inspect
