#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <span>

#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {
namespace {

constexpr uint64_t kPage = 4096;
constexpr size_t kChunk = 4 << 20;

struct Counts {
  uint64_t holes = 0;            // bytes known to be zero without a look
  uint64_t zero = 0;             // pages of zeros that the file stores
  uint64_t missing = 0;          // bytes
  uint64_t partial = 0;          // bytes of pages that are not whole
  std::vector<uint64_t> hashes;  // of each other page: 8 bytes for 4096
};

uint64_t mix(uint64_t a, uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

/// A hash of a page, after wyhash's construction. Two of 2^24 distinct pages meet with a probability of 1 in 100,000.
uint64_t hash_page(const std::byte* page) {
  constexpr std::array<uint64_t, 4> kSeeds = {0xa0761d6478bd642f, 0xe7037ed1a0b428db, 0x8ebc6af09c88c6e3,
                                              0x589965cc75374cc3};
  std::array<uint64_t, 4> state = kSeeds;
  for (size_t at = 0; at < kPage; at += 64) {
    std::array<uint64_t, 8> words;
    std::memcpy(words.data(), page + at, sizeof words);
    for (size_t i = 0; i < 4; ++i) state[i] = mix(words[2 * i] ^ kSeeds[i], words[2 * i + 1] ^ state[i]);
  }
  return mix(mix(state[0] ^ kSeeds[1], state[1]), mix(state[2] ^ kSeeds[3], state[3] ^ kPage));
}

bool is_zero(const std::byte* page) { return page[0] == std::byte{0} && std::memcmp(page, page + 1, kPage - 1) == 0; }

void count_pages(std::span<const std::byte> bytes, Counts& counts) {
  for (size_t at = 0; at + kPage <= bytes.size(); at += kPage) {
    if (is_zero(&bytes[at]))
      ++counts.zero;
    else
      counts.hashes.push_back(hash_page(&bytes[at]));
  }
  counts.partial += bytes.size() % kPage;
}

/// Bytes that could be read.
uint64_t count_extent(const reader::Dump& dump, const reader::Dump::Extent& extent, std::span<std::byte> buffer,
                      Counts& counts) {
  uint64_t done = 0;
  while (done < extent.size) {
    const auto want = static_cast<size_t>(std::min<uint64_t>(extent.size - done, buffer.size()));
    const size_t got = dump.read(extent.address + done, buffer.first(want)).bytes;
    count_pages(buffer.first(got), counts);
    done += got;
    if (got < want) break;
  }
  return done;
}

Counts count(const reader::Dump& dump) {
  Counts counts;
  std::vector<std::byte> buffer(kChunk);
  auto extent = dump.next_extent(reader::PhysAddr(0));
  while (extent) {
    switch (extent->kind) {
      case reader::Dump::Extent::Kind::zero:
        counts.holes += extent->size;
        break;
      case reader::Dump::Extent::Kind::missing:
        counts.missing += extent->size;
        break;
      case reader::Dump::Extent::Kind::data:
        counts.missing += extent->size - count_extent(dump, *extent, buffer, counts);
        break;
    }
    const reader::PhysAddr next = extent->address + extent->size;
    if (next.value == 0) break;
    extent = dump.next_extent(next);
  }
  return counts;
}

void print_row(const char* what, uint64_t bytes, uint64_t total, const std::string& remark) {
  const double share = total == 0 ? 0 : 100.0 * static_cast<double>(bytes) / static_cast<double>(total);
  std::puts(fmt::format("  {:<10} {:>12}  {:>10}  {:>6.1f} %{}", what, bytes / kPage, human_size(bytes), share,
                        remark.empty() ? "" : "  " + remark)
                .c_str());
}

}  // namespace

int print_stats(const Job& job) {
  Counts counts = count(job.dump);
  std::ranges::sort(counts.hashes);
  const uint64_t stored = counts.hashes.size();
  const auto repeated = std::ranges::unique(counts.hashes);
  const uint64_t distinct = stored - repeated.size();
  const uint64_t zero = counts.zero * kPage + counts.holes;
  const uint64_t total = zero + stored * kPage + counts.missing + counts.partial;
  std::puts(fmt::format("  {:<10} {:>12}  {:>10}  {:>8}", "", "4K pages", "size", "share").c_str());
  print_row(
      "zero", zero, total,
      fmt::format("{} in holes, {} stored in the file", human_size(counts.holes), human_size(counts.zero * kPage)));
  print_row("duplicate", (stored - distinct) * kPage, total, "equal to a page that is counted as distinct");
  print_row("distinct", distinct * kPage, total, "");
  if (counts.partial != 0) print_row("partial", counts.partial, total, "at the ends of ranges that are no whole pages");
  if (counts.missing != 0) print_row("missing", counts.missing, total, "not in the file");
  print_row("all", total, total, "");
  return kExitDone;
}

}  // namespace gcore::tools::inspect
