// Translations per second over a synthetic 4-level table in plain memory.
//
// Warm: a working set of 256 pages, again and again. LastTable: pages that share last-level tables. Cold: pages at
// random in 16 GiB, so that most translations walk. Run: ninja bench_translate && tests/bin/bench_translate
#include <benchmark/benchmark.h>

#include <cstring>
#include <random>
#include <vector>

#include "reader/translate/translator.h"

namespace {

using namespace gcore::translate;  // NOLINT: a program of one file

constexpr uint64_t kGiB = uint64_t{1} << 30;

/// Maps `size` bytes from virtual address 0 on with 4 KiB pages; no two neighbours are contiguous.
class Tables {
 public:
  explicit Tables(uint64_t size) {
    const uint64_t pages = size / 4096, tables = pages / 512, directories = (tables + 511) / 512;
    words_.resize((2 + directories + tables) * 512);
    const uint64_t first_directory = 2, first_table = 2 + directories;
    words_[0] = 1 * 4096 | 7;
    for (uint64_t i = 0; i < directories; ++i) words_[512 + i] = (first_directory + i) * 4096 | 7;
    for (uint64_t i = 0; i < tables; ++i) words_[first_directory * 512 + i] = (first_table + i) * 4096 | 7;
    for (uint64_t i = 0; i < pages; ++i) words_[first_table * 512 + i] = (i ^ 1) * 4096 | 7;
  }

  Translator translator() const {
    X86Registers registers;
    registers.cr0 = 0x80000001;
    registers.cr3 = 0;
    registers.cr4 = 0x20;
    registers.efer = 0xd00;
    return {*x86_paging(registers), [this](PhysAddr address, std::span<std::byte> into) {
              if (address.value + into.size() > words_.size() * 8)
                return gcore::reader::ReadResult{0, gcore::reader::Missing::not_in_any_segment};
              std::memcpy(into.data(), reinterpret_cast<const std::byte*>(words_.data()) + address.value, into.size());
              return gcore::reader::ReadResult{into.size(), gcore::reader::Missing::none};
            }};
  }

 private:
  std::vector<uint64_t> words_;
};

const Tables& tables() {
  static const Tables kTables(16 * kGiB);
  return kTables;
}

void run(benchmark::State& state, uint64_t range) {
  const Translator translator = tables().translator();
  std::mt19937_64 random(1);
  std::vector<VirtAddr> addresses;
  for (int i = 0; i < 1 << 16; ++i) addresses.emplace_back(random() % range);
  size_t next = 0;
  for (auto _ : state) {
    const auto got = translator.translate(addresses[next++ % addresses.size()]);
    benchmark::DoNotOptimize(got->address);
  }
  state.SetItemsProcessed(state.iterations());
}

void warm(benchmark::State& state) { run(state, 256 * 4096); }
void last_table(benchmark::State& state) { run(state, 32 << 20); }
void cold(benchmark::State& state) { run(state, 16 * kGiB); }

void walk(benchmark::State& state) {
  const Translator translator = tables().translator();
  for (auto _ : state) benchmark::DoNotOptimize(translator.walk(VirtAddr(0x12345678)).steps.size());
  state.SetItemsProcessed(state.iterations());
}

void list_mappings(benchmark::State& state) {
  const Translator translator = tables().translator();
  uint64_t mappings = 0;
  for (auto _ : state) translator.enumerate([&](const Mapping&) { return ++mappings, true; });
  state.SetItemsProcessed(static_cast<int64_t>(mappings));
}

BENCHMARK(warm);
BENCHMARK(last_table);
BENCHMARK(cold);
BENCHMARK(walk);
BENCHMARK(list_mappings)->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
