#include "tools/gcore-inspect/facts/memory_pages.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>

#include "tools/common/progress.h"
#include "writer/base/sparse_file.h"

namespace gcore::tools::inspect {
namespace {

// A run is a unit of work; a piece of it is read at once, and stays in the second-level cache until it has been looked
// at.
constexpr uint64_t kRunPages = 1024, kPiecePages = 64;

/// Cuts extents, which end anywhere, into runs of whole pages.
class RunList {
 public:
  explicit RunList(uint64_t max_data) : max_data_(max_data) {}

  void add(const reader::Dump::Extent& extent) {
    using Kind = reader::Dump::Extent::Kind;
    const uint64_t first = extent.address.value, last = first + (extent.size - 1);
    const uint64_t first_page = first / kPageSize, last_page = last / kPageSize;
    if (extent.kind == Kind::data) return append(first_page, last_page, PageRun::State::data);
    // A page that this extent does not fill may have data in another one: it has to be looked at.
    const bool starts = first % kPageSize == 0, ends = last % kPageSize == kPageSize - 1;
    if (first_page == last_page && !(starts && ends)) return append(first_page, first_page, PageRun::State::data);
    if (!starts) append(first_page, first_page, PageRun::State::data);
    const uint64_t inner_first = first_page + (starts ? 0 : 1), inner_end = last_page + (ends ? 1 : 0);
    if (inner_first < inner_end)
      append(inner_first, inner_end - 1, extent.kind == Kind::zero ? PageRun::State::zero : PageRun::State::missing);
    if (!ends) append(last_page, last_page, PageRun::State::data);
  }

  std::vector<PageRun> take() { return std::move(runs_); }

 private:
  void append(uint64_t first, uint64_t last, PageRun::State state) {
    first = std::max(first, next_);
    if (first > last) return;
    uint64_t count = last - first + 1;
    next_ = last + 1;
    if (!runs_.empty() && runs_.back().state == state && runs_.back().first + runs_.back().count == first) {
      PageRun& back = runs_.back();
      const uint64_t room = state == PageRun::State::data ? max_data_ - std::min(max_data_, back.count) : count;
      const uint64_t more = std::min(room, count);
      back.count += more;
      first += more;
      count -= more;
    }
    while (count > 0) {
      const uint64_t part = state == PageRun::State::data ? std::min(max_data_, count) : count;
      runs_.push_back({first, part, state});
      first += part;
      count -= part;
    }
  }

  const uint64_t max_data_;
  uint64_t next_ = 0;  // pages below it are in a run already
  std::vector<PageRun> runs_;
};

/// n * log2(n) for the counts that a page's bytes can have.
const std::array<float, kPageSize + 1>& logarithms() {
  static const auto table = [] {
    std::array<float, kPageSize + 1> values{};
    for (size_t n = 1; n < values.size(); ++n) values[n] = static_cast<float>(n) * std::log2(static_cast<float>(n));
    return values;
  }();
  return table;
}

struct Look {
  Content content;
  uint8_t entropy;
};

Look look_at(const std::byte* page) {
  // Four histograms, because adding to one counter twice in a row stalls.
  std::array<std::array<uint16_t, 256>, 4> counts{};
  for (size_t at = 0; at < kPageSize; at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, page + at, sizeof word);
    for (unsigned i = 0; i < 8; ++i) ++counts[i % 4][word >> (8 * i) & 0xff];
  }
  const auto& table = logarithms();
  float sum = 0;
  unsigned printable = 0, zeros = 0;
  for (unsigned value = 0; value < 256; ++value) {
    const unsigned count = counts[0][value] + counts[1][value] + counts[2][value] + counts[3][value];
    sum += table[count];
    if (value == 0) zeros = count;
    if ((value >= 0x20 && value < 0x7f) || value == '\n' || value == '\t' || value == '\r') printable += count;
  }
  const float entropy = std::log2(static_cast<float>(kPageSize)) - sum / static_cast<float>(kPageSize);
  const auto level = static_cast<uint8_t>(std::clamp(entropy * 16, 0.0F, 128.0F));
  if (printable >= 1024 && printable * 10 >= (kPageSize - zeros) * 9) return {Content::text, level};
  return {level >= 120 ? Content::random : Content::data, level};
}

PageHash hash_of(std::span<const std::byte> page) {
  const XXH128_hash_t hash = XXH3_128bits(page.data(), page.size());
  return {hash.low64, hash.high64};
}

LookedAt look_at_run(const reader::Dump& dump, const PageRun& run, bool content, std::atomic<uint64_t>& partial) {
  LookedAt found;
  found.hashes.resize(run.count);
  found.contents.resize(run.count, Content::zero);
  if (content) found.entropies.resize(run.count);
  read_pages(dump, run, [&](uint64_t n, std::span<const std::byte> page) {
    if (page.empty()) {
      PageBytes part;
      read_page(dump, run.first + n, part);
      partial += part.present.count();
      found.contents[n] = part.present.none() ? Content::missing : Content::partial;
      return;
    }
    if (base::is_zero(page)) return;
    found.hashes[n] = hash_of(page);
    const Look look = content ? look_at(page.data()) : Look{Content::data, 0};
    found.contents[n] = look.content;
    if (content) found.entropies[n] = look.entropy;
  });
  return found;
}

bool is_stored(Content content) {
  return content == Content::data || content == Content::text || content == Content::random;
}

}  // namespace

std::vector<PageRun> page_runs(const reader::Dump& dump, uint64_t max_data) {
  RunList list(max_data);
  for (auto extent = dump.next_extent(reader::PhysAddr(0)); extent;) {
    list.add(*extent);
    const reader::PhysAddr next = extent->address + extent->size;
    if (next.value == 0) break;
    extent = dump.next_extent(next);
  }
  return list.take();
}

uint64_t data_bytes(std::span<const PageRun> runs) {
  uint64_t bytes = 0;
  for (const PageRun& run : runs)
    if (run.state == PageRun::State::data) bytes += run.bytes();
  return bytes;
}

void parallel_for(size_t count, const std::function<void(size_t)>& work) {
  std::atomic<size_t> next = 0;
  std::mutex failing;
  std::exception_ptr failure;
  const auto worker = [&] {
    try {
      for (size_t i = next++; i < count; i = next++) work(i);
    } catch (...) {
      const std::lock_guard lock(failing);
      if (!failure) failure = std::current_exception();
      next = count;
    }
  };
  const size_t threads = std::min<size_t>(std::max(1U, std::thread::hardware_concurrency()), count);
  {
    std::vector<std::jthread> others;
    for (size_t i = 1; i < threads; ++i) others.emplace_back(worker);
    worker();
  }
  if (failure) std::rethrow_exception(failure);
}

void read_pages(const reader::Dump& dump, const PageRun& run,
                const std::function<void(uint64_t, std::span<const std::byte>)>& on_page) {
  thread_local std::vector<std::byte> buffer(kPiecePages * kPageSize);
  for (uint64_t n = 0; n < run.count;) {
    const auto pages = static_cast<size_t>(std::min(run.count - n, kPiecePages));
    const auto piece = std::span(buffer).first(pages * kPageSize);
    const size_t whole = dump.read(run.address() + n * kPageSize, piece).bytes / kPageSize;
    for (size_t i = 0; i < whole; ++i) on_page(n + i, piece.subspan(i * kPageSize, kPageSize));
    n += whole;
    if (whole < pages) on_page(n++, {});
  }
}

void read_page(const reader::Dump& dump, uint64_t page, PageBytes& into) {
  std::memset(into.bytes, 0, kPageSize);
  into.memory.reset();
  into.present.reset();
  const uint64_t start = page * kPageSize;
  for (uint64_t at = 0; at < kPageSize;) {
    const auto extent = dump.next_extent(reader::PhysAddr(start + at));
    if (!extent || extent->address.value - start >= kPageSize) break;
    at = extent->address.value - start;
    const auto size = static_cast<size_t>(std::min(extent->size, kPageSize - at));
    size_t got = 0;
    if (extent->kind != reader::Dump::Extent::Kind::missing)
      got = dump.read(extent->address, std::span(into.bytes).subspan(at, size)).bytes;
    for (size_t i = 0; i < size; ++i) {
      into.memory.set(at + i);
      into.present.set(at + i, i < got);
    }
    at += size;
  }
}

Scan scan_pages(const reader::Dump& dump, bool content, Progress& progress) {
  Scan scan;
  scan.runs = page_runs(dump, kRunPages);
  scan.looks.resize(scan.runs.size());
  std::atomic<uint64_t> partial = 0;
  parallel_for(scan.runs.size(), [&](size_t i) {
    const PageRun& run = scan.runs[i];
    if (run.state != PageRun::State::data) return;
    scan.looks[i] = look_at_run(dump, run, content, partial);
    progress.add(run.bytes());
  });
  scan.partial_present = partial;
  return scan;
}

std::vector<std::vector<bool>> find_duplicates(const Scan& scan) {
  struct Place {
    PageHash hash;
    size_t run;
    uint32_t page;
    auto operator<=>(const Place&) const = default;
  };
  std::vector<Place> places;
  std::vector<std::vector<bool>> flags(scan.runs.size());
  for (size_t run = 0; run < scan.runs.size(); ++run) {
    const LookedAt& looks = scan.looks[run];
    flags[run].resize(looks.contents.size());
    for (uint32_t page = 0; page < looks.contents.size(); ++page)
      if (is_stored(looks.contents[page])) places.push_back({looks.hashes[page], run, page});
  }
  std::ranges::sort(places);
  for (size_t i = 1; i < places.size(); ++i)
    if (places[i].hash == places[i - 1].hash) flags[places[i].run][places[i].page] = true;
  return flags;
}

PageCounts count_pages(const Scan& scan) {
  PageCounts counts;
  counts.partial_bytes = scan.partial_present;
  std::vector<PageHash> hashes;
  for (size_t i = 0; i < scan.runs.size(); ++i) {
    const PageRun& run = scan.runs[i];
    if (run.state == PageRun::State::zero) counts.hole += run.count;
    if (run.state == PageRun::State::missing) counts.missing += run.count;
    const LookedAt& looks = scan.looks[i];
    for (size_t page = 0; page < looks.contents.size(); ++page) {
      const Content content = looks.contents[page];
      if (content == Content::zero) ++counts.zero;
      if (content == Content::missing) ++counts.missing;
      if (is_stored(content)) hashes.push_back(looks.hashes[page]);
    }
  }
  counts.stored = hashes.size();
  std::ranges::sort(hashes);
  counts.distinct = counts.stored - std::ranges::unique(hashes).size();
  return counts;
}

std::string hash_library() {
  return "xxHash " + std::to_string(XXH_VERSION_MAJOR) + "." + std::to_string(XXH_VERSION_MINOR) + "." +
         std::to_string(XXH_VERSION_RELEASE);
}

}  // namespace gcore::tools::inspect
