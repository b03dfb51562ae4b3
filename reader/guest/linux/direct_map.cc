#include "reader/guest/linux/direct_map.h"

#include <algorithm>
#include <vector>

namespace gcore::reader {
namespace {

using translate::Mapping;
using translate::Translator;

constexpr size_t kSamples = 32, kMaxCandidates = 256;
constexpr uint64_t kTables = 4096;
// Linux moves the direct map by whole gigabytes (x86_64), and aligns the start of memory (aarch64) to 2 MiB at least.
constexpr uint64_t kAlignment = uint64_t{2} << 20;

/// Places all over memory, as many in each part as it is large.
std::vector<PhysAddr> samples_of(const Dump& dump) {
  uint64_t total = 0;
  for (const Segment& segment : dump.segments()) total += segment.memory_size / kSamples;
  std::vector<PhysAddr> samples;
  uint64_t next = total / 2;  // of the first sample, counted in memory without its gaps
  for (const Segment& segment : dump.segments()) {
    for (; next < segment.memory_size && samples.size() < kSamples; next += std::max<uint64_t>(total, 1))
      samples.push_back(segment.address + next);
    next -= std::min(next, segment.memory_size);
  }
  return samples;
}

bool maps_memory_at(const Translator& translator, const std::vector<PhysAddr>& samples, uint64_t offset) {
  size_t right = 0;
  for (const PhysAddr sample : samples) {
    const auto there = translator.translate(VirtAddr(sample.value + offset));
    if (there && there->address != sample) return false;
    right += there ? 1 : 0;
  }
  return right > samples.size() / 2;
}

}  // namespace

std::optional<uint64_t> find_direct_map(const Dump& dump, const Translator& translator) {
  const std::vector<PhysAddr> samples = samples_of(dump);
  std::vector<uint64_t> tried;
  std::optional<uint64_t> found;
  translate::Limits limits;
  limits.table_visits = kTables;
  translator.enumerate(
      [&](const Mapping& mapping) {
        const uint64_t offset = mapping.start.value - mapping.physical.value;
        if (mapping.start.value >> 63 == 0 || offset % kAlignment != 0 ||
            std::ranges::find(tried, offset) != tried.end())
          return true;
        if (maps_memory_at(translator, samples, offset)) found = offset;
        tried.push_back(offset);
        return !found && tried.size() < kMaxCandidates;
      },
      limits);
  return found;
}

}  // namespace gcore::reader
