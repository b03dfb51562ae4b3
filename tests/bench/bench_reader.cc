// One work of the reader, or of a peer, on one dump; for run-reader. Prints one number: seconds of processor time for
// the work, or nanoseconds for one of many.
//
//   bench_reader translate DUMP FILE      ns a translation of the addresses in FILE (8 bytes each), first time
//   bench_reader translate-warm DUMP FILE the same, each address for the second time
//   bench_reader addrxlat[-warm] DUMP FILE   the same with libkdumpfile's addrxlat_fulladdr_conv
//   bench_reader addrxlat-walk[-warm] DUMP FILE   the same with its addrxlat_launch and addrxlat_walk alone
//   bench_reader addresses DUMP FILE N    writes N addresses into FILE: of mapped kernel pages, at random
//   bench_reader read-addresses DUMP FILE     ns a read of the 4 KiB page of an address (the first 20,000)
//   bench_reader read-virtual DUMP START SIZE   seconds to read guest-virtual memory from a mapped file, by 1 MiB
//   bench_reader memcpy FILE OFFSET SIZE  seconds to copy from the mapped file, by 1 MiB
//   bench_reader memcpy-pages DUMP START SIZE   the same, page by page: those that read-virtual reads, in its order
//   bench_reader random-reads DUMP N      ms a read of 4 KiB at a random place of its segments
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "reader/dump/dump.h"
#include "reader/space/address_space.h"

#ifdef GCORE_BENCH_KDUMPFILE
#include <libkdumpfile/addrxlat.h>
#include <libkdumpfile/kdumpfile.h>
#endif

namespace {

using namespace gcore::reader;  // NOLINT: a program of one file
/// Processor time: all of this runs on one thread and waits for nothing, and other load disturbs it less.
struct Clock {
  using time_point = double;
  static double now() {
    timespec time{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
  }
};

constexpr size_t kPiece = 1 << 20;

[[noreturn]] void fail(const std::string& text) {
  std::fprintf(stderr, "bench_reader: %s\n", text.c_str());
  std::exit(1);
}

double since(Clock::time_point start) { return Clock::now() - start; }

std::unique_ptr<Dump> open_dump(const char* path, bool lasting = false) {
  auto dump = Dump::open(path, {.progress = {}, .lasting = lasting});
  if (!dump) fail(dump.error().text);
  return std::move(*dump);
}

AddressSpace space_of(const Dump& dump) {
  auto space = AddressSpace::of_cpu(dump, 0);
  if (!space) fail(space.error().text);
  return std::move(*space);
}

std::vector<uint64_t> read_addresses(const char* path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  std::vector<uint64_t> addresses(text.size() / 8);
  std::memcpy(addresses.data(), text.data(), addresses.size() * 8);
  if (addresses.empty()) fail("no addresses");
  return addresses;
}

void write_addresses(const char* path, const Dump& dump, size_t count) {
  struct Run {
    uint64_t start, pages, before;
  };
  std::vector<Run> runs;
  uint64_t pages = 0;
  space_of(dump).enumerate([&](const Mapping& mapping) {
    if (mapping.start.value >> 63 == 0) return true;
    runs.push_back({mapping.start.value, mapping.size >> 12, pages});
    pages += mapping.size >> 12;
    return true;
  });
  if (runs.empty()) fail("no kernel pages are mapped");
  std::mt19937_64 random(1);
  std::ofstream file(path, std::ios::binary);
  for (size_t i = 0; i < count; ++i) {
    // Half at random among pages (nearly all of the direct map), half at random among mappings.
    const uint64_t page = random() % pages;
    const Run& run =
        i % 2 == 0 ? *(std::ranges::upper_bound(runs, page, {}, &Run::before) - 1) : runs[random() % runs.size()];
    const uint64_t address = run.start + (random() % run.pages << 12) + random() % 4096;
    file.write(reinterpret_cast<const char*>(&address), 8);
  }
  if (!file.flush()) fail("cannot write the addresses");
}

/// Nanoseconds for each of `addresses`; `translate` returns false when it cannot.
template <class Translate>
double nanoseconds(const std::vector<uint64_t>& addresses, bool warm, const Translate& translate) {
  double took = 0;
  size_t good = 0;
  for (int round = 0; round < (warm ? 2 : 1); ++round) {
    good = 0;
    const auto start = Clock::now();
    for (const uint64_t address : addresses) good += translate(address) ? 1 : 0;
    took = since(start);
  }
  if (good != addresses.size())
    std::fprintf(stderr, "bench_reader: %zu of %zu addresses have no translation\n", addresses.size() - good,
                 addresses.size());
  return took * 1e9 / static_cast<double>(addresses.size());
}

#ifdef GCORE_BENCH_KDUMPFILE
/// By the function that translates addresses (walk = false), or by the steps that it takes inside, on the page tables.
double addrxlat(const char* path, const std::vector<uint64_t>& addresses, bool warm, bool walk) {
  kdump_ctx_t* dump = kdump_new();
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || kdump_set_number_attr(dump, KDUMP_ATTR_FILE_FD, static_cast<kdump_num_t>(fd)) != KDUMP_OK)
    fail(std::string("libkdumpfile: ") + kdump_get_err(dump));
  if (kdump_set_string_attr(dump, KDUMP_ATTR_OSTYPE, "linux") != KDUMP_OK)
    fail(std::string("libkdumpfile: ") + kdump_get_err(dump));
  addrxlat_ctx_t* context = nullptr;
  addrxlat_sys_t* system = nullptr;
  if (kdump_get_addrxlat(dump, &context, &system) != KDUMP_OK)
    fail(std::string("libkdumpfile: ") + kdump_get_err(dump));
  if (!walk) {
    return nanoseconds(addresses, warm, [&](uint64_t address) {
      addrxlat_fulladdr_t full{address, ADDRXLAT_KVADDR};
      return addrxlat_fulladdr_conv(&full, ADDRXLAT_KPHYSADDR, context, system) == ADDRXLAT_OK;
    });
  }
  addrxlat_map_t* map = addrxlat_sys_get_map(system, ADDRXLAT_SYS_MAP_HW);
  if (map == nullptr) fail("libkdumpfile has no page table map");
  addrxlat_step_t step{};
  step.ctx = context;
  step.sys = system;
  return nanoseconds(addresses, warm, [&](uint64_t address) {
    const addrxlat_sys_meth_t method = addrxlat_map_search(map, address);
    if (method == ADDRXLAT_SYS_METH_NONE) return false;
    step.meth = addrxlat_sys_get_meth(system, method);
    if (addrxlat_launch(&step, address) == ADDRXLAT_OK && addrxlat_walk(&step) == ADDRXLAT_OK) return true;
    addrxlat_ctx_clear_err(context);
    return false;
  });
}
#endif

double read_virtual(const Dump& dump, uint64_t start, uint64_t size) {
  const AddressSpace space = space_of(dump);
  std::vector<std::byte> piece(kPiece);
  const auto begin = Clock::now();
  for (uint64_t done = 0; done < size; done += kPiece) {
    const auto got = space.read(VirtAddr(start + done), piece);
    if (got.bytes != kPiece) fail(got.why);
  }
  return since(begin);
}

/// Copies `size` bytes in pieces that are copied into 1 MiB again and again; `offset_of(done)` says where each is.
template <class OffsetOf>
double copy_mapped(const char* path, uint64_t size, size_t piece_size, const OffsetOf& offset_of) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  std::vector<std::byte> buffer(kPiece);
  struct stat status{};
  if (fd < 0 || fstat(fd, &status) != 0) fail(std::string("cannot open ") + path);
  const auto begin = Clock::now();  // with the mapping and its faults: who reads once has them as well
  void* at = mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) fail(std::string("cannot map ") + path);
  const auto* bytes = static_cast<const std::byte*>(at);
  volatile std::byte sink{};
  for (uint64_t done = 0; done < size; done += piece_size) {
    std::memcpy(buffer.data() + done % kPiece, bytes + offset_of(done), piece_size);
    sink = buffer[done / kPiece % kPiece];
  }
  (void)sink;
  return since(begin);
}

/// Where the file has each of the pages that a virtual range maps.
std::vector<uint64_t> page_offsets(const Dump& dump, uint64_t start, uint64_t size) {
  const AddressSpace space = space_of(dump);
  std::vector<uint64_t> offsets;
  for (uint64_t done = 0; done < size; done += 4096) {
    const auto page = space.translate(VirtAddr(start + done));
    const Segment* segment = page ? dump.segment_at(page->address) : nullptr;
    if (segment == nullptr) fail("a page of the range is not in the dump");
    offsets.push_back(segment->offset.value + (page->address.value - segment->address.value));
  }
  return offsets;
}

double random_reads(const Dump& dump, size_t count) {
  std::mt19937_64 random(1);
  std::vector<std::byte> page(4096);
  std::vector<PhysAddr> addresses;
  for (size_t i = 0; i < count; ++i) {
    const Segment& segment = dump.segments()[random() % dump.segments().size()];
    addresses.push_back(segment.address + (random() % segment.memory_size & ~uint64_t{4095}));
  }
  const auto start = Clock::now();
  for (const PhysAddr address : addresses) dump.read(address, page);
  return since(start) * 1e3 / static_cast<double>(count);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string_view> words(argv + 1, argv + argc);
  const auto number = [&](size_t at) { return std::strtoull(argv[at + 1], nullptr, 0); };
  if (words.size() < 3) fail("see the head of bench_reader.cc");
  const std::string_view work = words[0];
  const bool warm = work.ends_with("-warm");
  if (work == "translate" || work == "translate-warm") {
    const auto dump = open_dump(argv[2]);
    const AddressSpace space = space_of(*dump);
    const auto translate = [&](uint64_t address) { return space.translate(VirtAddr(address)).has_value(); };
    std::printf("%.1f\n", nanoseconds(read_addresses(argv[3]), warm, translate));
#ifdef GCORE_BENCH_KDUMPFILE
  } else if (work.starts_with("addrxlat")) {
    std::printf("%.1f\n", addrxlat(argv[2], read_addresses(argv[3]), warm, work.starts_with("addrxlat-walk")));
#endif
  } else if (work == "addresses" && words.size() == 4) {
    write_addresses(argv[3], *open_dump(argv[2]), number(3));
  } else if (work == "read-addresses") {
    const auto dump = open_dump(argv[2]);
    const AddressSpace space = space_of(*dump);
    auto addresses = read_addresses(argv[3]);
    addresses.resize(std::min<size_t>(addresses.size(), 20000));
    std::vector<std::byte> page(4096);
    const auto read = [&](uint64_t address) {
      return space.read(VirtAddr(address & ~uint64_t{4095}), page).bytes != 0;
    };
    std::printf("%.1f\n", nanoseconds(addresses, false, read));
  } else if (work == "read-virtual" && words.size() == 4) {
    std::printf("%.4f\n", read_virtual(*open_dump(argv[2], true), number(2), number(3)));
  } else if (work == "memcpy" && words.size() == 4) {
    const uint64_t offset = number(2);
    std::printf("%.4f\n", copy_mapped(argv[2], number(3), kPiece, [&](uint64_t done) { return offset + done; }));
  } else if (work == "memcpy-pages" && words.size() == 4) {
    const auto offsets = page_offsets(*open_dump(argv[2]), number(2), number(3));
    std::printf("%.4f\n", copy_mapped(argv[2], number(3), 4096, [&](uint64_t done) { return offsets[done / 4096]; }));
  } else if (work == "random-reads") {
    std::printf("%.6f\n", random_reads(*open_dump(argv[2]), number(2)));
  } else {
    fail("see the head of bench_reader.cc");
  }
}
