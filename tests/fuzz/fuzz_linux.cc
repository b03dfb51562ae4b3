// All that is read of a Linux guest (names, types, unwind tables, tasks, messages, modules, waiting, the diagnosis, the
// symbol file) over the memory of a real one that is damaged where it is read.
//
// $GCORE_FUZZ_IMAGES has dumps of real guests, separated by colons; none of them is ever written to. Of each it is
// found out once which pages of the file each part reads: damage elsewhere would say nothing.
//
// Input: one byte of choices, then damages of 16 bytes. Bits of the choices: 0-1 the image, 2 nothing is damaged before
// the kernel was found, 3-5 all zero: the symbol file too, which takes ten times as long as the rest. A damage: the
// part that reads the page (u8), how (u8), which page (u16), where in it (u16, of 4096), how far (u16), a value (u64).
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "reader/dump/dump.h"
#include "reader/guest/guest.h"
#include "reader/guest/linux/kernel.h"
#include "reader/guest/linux/symbols/symbol_file.h"
#include "reader/guest/linux/waiting.h"
#include "reader/guest/linux/why.h"
#include "tests/fuzz/input_file.h"

namespace {

using namespace gcore::reader;               // NOLINT: a program of one file
using namespace gcore::reader::linux_guest;  // NOLINT
using gcore::tests::require;

constexpr size_t kPage = 4096;
constexpr size_t kDamage = 16;
constexpr size_t kMaxDamages = 64;

/// In the order in which they are run, each after those before it.
enum Part : uint8_t { kOpen, kFind, kNames, kTypes, kTasks, kMessages, kModules, kUnwind, kWhy, kParts };

struct Patch {
  uint64_t at = 0;  // offset in the file
  std::vector<std::byte> bytes{};
};

/// What every pread of the program passes through.
struct Reads {
  bool record = false;
  std::set<uint64_t> pages{};  // offsets
  std::vector<Patch> patches{};
};
Reads reads;  // NOLINT: of the process, as pread is

struct Image {
  std::string path;
  std::array<std::vector<uint64_t>, kParts> pages;  // that each part is the first to read
};

void check_task(const Kernel& kernel, const Task& task) {
  const Stack stack = kernel.stack_of(task);
  require(stack.frames.size() <= 256 && (stack.complete || !stack.why_ended.empty()));
  require(task.name.size() <= 16);
  if (const auto areas = kernel.areas_of(task))
    require(areas->size() <= 1'000'000);
  else
    require(!areas.error().text.empty());
  static_cast<void>(kernel.user_registers(task));
}

void run(const Kernel& kernel, Part part) {
  switch (part) {
    case kNames:
      if (!kernel.names()) {
        require(!kernel.names().error().text.empty());
        break;
      }
      require(kernel.names()->all().size() <= 1 << 22);
      for (const Symbol& symbol : kernel.names()->all()) require(symbol.name.size() < 1024);
      static_cast<void>(kernel.lookup(VirtAddr(0xffffffff81000000)));
      break;
    case kTypes:
      if (!kernel.types()) break;
      for (TypeId id = 0; id < kernel.types()->end_id(); id += 1 + kernel.types()->end_id() / 2000)
        if (const auto type = kernel.types()->type(id)) require(type->fields.size() <= 1 << 16);
      break;
    case kTasks:
      if (!kernel.tasks()) break;
      require(kernel.tasks()->list.size() <= 1 << 22);
      for (size_t i = 0; i < kernel.tasks()->list.size(); i += 1 + i / 40) check_task(kernel, kernel.tasks()->list[i]);
      break;
    case kMessages:
      if (!kernel.messages()) break;
      require(dmesg_text(*kernel.messages()).size() <= 256 << 20);
      break;
    case kModules:
      if (!kernel.modules()) break;
      for (const Module& module : *kernel.modules()) static_cast<void>(kernel.module_types(module.name));
      break;
    case kUnwind:
      for (const std::string& problem : kernel.unwind_tables().problems) require(!problem.empty());
      for (size_t cpu = 0; cpu < kernel.dump().cpus().size(); ++cpu)
        require(kernel.stack_of_cpu(cpu).frames.size() <= 256);
      static_cast<void>(kernel.uptime_ns());
      static_cast<void>(kernel.load());
      break;
    case kWhy: {
      const Diagnosis diagnosis = diagnose(kernel);
      require(!diagnosis.signature.empty() && (diagnosis.signature == "none") == diagnosis.findings.empty());
      require(diagnosis.cpus.size() == kernel.dump().cpus().size());
      for (const Finding& finding : diagnosis.findings) require(!finding.text.empty());
      require(why_text(diagnosis).size() <= 64 << 20);
      break;
    }
    case kOpen:
    case kFind:
    case kParts:
      break;
  }
}

/// `before` is called before each part.
template <class Before>
void run_all(const std::string& path, bool symbols, const Before& before) {
  before(kOpen);
  const auto dump = Dump::open(path);
  if (!dump) return;
  before(kFind);
  const Guest guest(**dump);
  const auto kernel = Kernel::find(**dump, guest.system());
  if (!kernel) {
    require(!kernel.error().text.empty());
    return;
  }
  for (int part = kNames; part < kParts; ++part) {
    before(static_cast<Part>(part));
    run(**kernel, static_cast<Part>(part));
  }
  if (!symbols) return;
  if (const auto file = make_symbol_file(**kernel, {}))
    require(file->bytes.size() <= 512 << 20);
  else
    require(!file.error().text.empty());
}

/// Nullptr where there is none of that number.
const Image* image(size_t number) {
  static std::vector<std::unique_ptr<Image>> images = [] {
    std::vector<std::unique_ptr<Image>> found;
    const char* paths = std::getenv("GCORE_FUZZ_IMAGES");
    std::istringstream list(paths ? paths : "");
    for (std::string path; std::getline(list, path, ':');) {
      found.push_back(std::make_unique<Image>());
      found.back()->path = path;
    }
    return found;
  }();
  if (images.empty()) return nullptr;
  Image& it = *images[number % images.size()];
  if (it.pages[kFind].empty()) {
    reads = {.record = true};
    Part running = kOpen;
    std::set<uint64_t> seen;
    const auto take = [&](Part next) {
      for (const uint64_t page : reads.pages)
        if (seen.insert(page).second) it.pages[running].push_back(page);
      reads.pages.clear();
      running = next;
    };
    run_all(it.path, false, take);
    take(kParts);
    reads = {};
    // A guest that is whole. A part whose pages others have read before it gets those of names.
    require(!it.pages[kFind].empty() && !it.pages[kNames].empty());
  }
  return &it;
}

template <class T>
T take(const uint8_t* data) {
  T value;
  std::memcpy(&value, data, sizeof value);
  return value;
}

/// Reads the file as it is.
uint64_t number_at(int fd, uint64_t offset) {
  uint64_t value = 0;
  require(::lseek(fd, static_cast<off_t>(offset), SEEK_SET) >= 0);
  return ::read(fd, &value, sizeof value) == sizeof value ? value : 0;
}

Patch damage(const Image& image, int fd, const uint8_t* data) {
  const auto& pages = image.pages[data[0] % kParts].empty() ? image.pages[kNames] : image.pages[data[0] % kParts];
  const uint64_t page = pages[take<uint16_t>(data + 2) % pages.size()];
  const uint64_t at = page + take<uint16_t>(data + 4) % kPage;
  const auto far = take<uint16_t>(data + 6);
  const auto value = take<uint64_t>(data + 8);
  const auto number = [](uint64_t where, uint64_t what) {
    Patch patch{.at = where, .bytes = std::vector<std::byte>(8)};
    std::memcpy(patch.bytes.data(), &what, 8);
    return patch;
  };
  const uint64_t aligned = at & ~uint64_t{7};
  switch (data[1] % 8) {
    case 0:
      return number(at, value);
    case 1:
      return number(aligned, value);
    case 2:
      return {.at = at, .bytes = {static_cast<std::byte>(value)}};
    case 3:
      return {.at = page, .bytes = std::vector<std::byte>(kPage, static_cast<std::byte>(value))};  // torn
    case 4:
      return {.at = at, .bytes = std::vector<std::byte>(1 + far % kPage, static_cast<std::byte>(value))};
    // Pointers that lead astray, but to something: into a neighbour, back to where they came from, to one another.
    case 5:
      return number(aligned, number_at(fd, aligned) + static_cast<uint64_t>(int64_t{static_cast<int16_t>(far)}));
    case 6:
      return number(aligned, number_at(fd, pages[far % pages.size()] + (value & 0xff8)));
    default: {
      Patch patch{.at = page, .bytes = std::vector<std::byte>(kPage)};  // another page in its place
      require(::lseek(fd, static_cast<off_t>(pages[far % pages.size()]), SEEK_SET) >= 0);
      static_cast<void>(!::read(fd, patch.bytes.data(), kPage));
      return patch;
    }
  }
}

}  // namespace

extern "C" {

ssize_t __real_pread64(int fd, void* into, size_t size, off_t offset);  // NOLINT: the linker's names (--wrap)
ssize_t __wrap_pread64(int fd, void* into, size_t size, off_t offset) {
  const ssize_t got = __real_pread64(fd, into, size, offset);
  if (got <= 0) return got;
  const auto begin = static_cast<uint64_t>(offset), end = begin + static_cast<uint64_t>(got);
  if (reads.record)
    for (uint64_t page = begin / kPage * kPage; page < end; page += kPage) reads.pages.insert(page);
  for (const Patch& patch : reads.patches) {
    const uint64_t first = std::max(begin, patch.at), last = std::min(end, patch.at + patch.bytes.size());
    if (first < last)
      std::memcpy(static_cast<std::byte*>(into) + (first - begin), &patch.bytes[first - patch.at], last - first);
  }
  return got;
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return -1;
  const Image* it = image(data[0] & 3);
  if (!it) return -1;
  const bool late = (data[0] & 4) != 0, symbols = (data[0] >> 3 & 7) == 0;
  std::vector<Patch> patches;
  FILE* file = std::fopen(it->path.c_str(), "re");
  require(file != nullptr);
  for (size_t at = 1; at + kDamage <= size && patches.size() < kMaxDamages; at += kDamage)
    patches.push_back(damage(*it, ::fileno(file), data + at));
  std::fclose(file);
  reads = {};
  if (!late) reads.patches = patches;
  run_all(it->path, symbols, [&](Part next) {
    if (next == kNames) reads.patches = patches;
  });
  reads = {};
  return 0;
}
}
