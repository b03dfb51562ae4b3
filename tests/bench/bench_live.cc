// Takes one dump of a guest that goes on writing its memory, for run-writer.
//
//   bench_live [--paused] [--rate PAGES] [--hot MIB] [--aside MIB] KIND MIB TARGET
//
// KIND is memfd, anonymous, huge (transparent huge pages) or hugetlb; all MIB of it are resident and not zero. A thread
// stands for the vCPUs: it writes PAGES pages a second (default 180,000), 95 of 100 within the first HOT MiB (default
// 256), at random. --aside is Options::live_memory. TARGET is the dump option's argument. Prints one line: seconds of
// the dump, milliseconds of the pause, the longest stall of the writing thread in milliseconds outside the pause, the
// same in as long a time before the dump (what the machine's other load makes), pages a second while the dump was
// taken, and before.
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>

#include "writer/dump.h"

namespace {

using namespace gcore;  // NOLINT: a program of one file
using Clock = std::chrono::steady_clock;

constexpr uint64_t kPage = 4096;

double ms(Clock::duration duration) { return std::chrono::duration<double, std::milli>(duration).count(); }

class BusyGuest final : public writer::Guest {
 public:
  BusyGuest(std::string_view kind, uint64_t bytes, uint64_t rate, uint64_t hot) : size_(bytes), rate_(rate), hot_(hot) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    if (kind == "memfd" || kind == "hugetlb") {
      fd_ = memfd_create("guest", MFD_CLOEXEC | (kind == "hugetlb" ? MFD_HUGETLB : 0));
      if (fd_ < 0 || ftruncate(fd_, static_cast<off_t>(bytes)) != 0) fail("memory");
      flags = MAP_SHARED;
    }
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, fd_, 0);
    if (at == MAP_FAILED) fail("mmap");
    host_ = static_cast<char*>(at);
    madvise(host_, bytes, kind == "huge" ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    for (uint64_t i = 0; i < bytes; i += 8) *reinterpret_cast<uint64_t*>(host_ + i) = i * 0x9e3779b97f4a7c15 + 1;
  }

  std::string_view name() override { return "bench"; }
  format::Machine machine() override { return format::Machine::x86_64; }
  writer::Status pause() override {
    wanted_ = true;
    while (!is_paused_) std::this_thread::yield();
    return {};
  }
  void resume() override {
    wanted_ = false;
    wanted_.notify_all();
  }
  size_t cpu_count() override { return 2; }
  bool read_cpu(size_t, format::RegisterFile& registers) override { return registers.set("rip", 0x1000); }
  std::vector<writer::MemoryRange> memory() override { return {{0, size_, host_, fd_, 0}}; }

  void run() {
    const auto start = Clock::now();
    uint64_t done = 0;
    while (!end) {
      if (wanted_) {
        is_paused_ = true;
        wanted_.wait(true);
        is_paused_ = false;
      }
      // As many as are due. Behind, it makes up for at most a tenth of a second.
      const auto due = static_cast<uint64_t>(std::chrono::duration<double>(Clock::now() - start).count() *
                                             static_cast<double>(rate_));
      if (done >= due) {
        std::this_thread::sleep_for(std::chrono::microseconds(200));
        continue;
      }
      if (due - done > rate_ / 10) done = due - rate_ / 10;
      ++done;
      write_one();
    }
  }

  std::atomic<bool> end{false};
  std::atomic<uint64_t> writes{0};
  std::atomic<int64_t> longest_ns{0};

 private:
  [[noreturn]] static void fail(const char* what) {
    std::perror(what);
    std::exit(1);
  }
  uint64_t random() {
    seed_ ^= seed_ << 13;
    seed_ ^= seed_ >> 7;
    seed_ ^= seed_ << 17;
    return seed_;
  }
  void write_one() {
    const uint64_t pages = (random() % 100 < 95 ? std::min(hot_, size_) : size_) / kPage;
    auto* word = reinterpret_cast<volatile uint64_t*>(host_ + random() % pages * kPage);
    const auto before = Clock::now();
    *word = seed_;
    const int64_t took = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - before).count();
    if (took > longest_ns) longest_ns = took;
    ++writes;
  }

  uint64_t size_, rate_, hot_, seed_ = 88172645463325252;
  int fd_ = -1;
  char* host_ = nullptr;
  std::atomic<bool> wanted_{false}, is_paused_{false};
};

}  // namespace

int main(int argc, char** argv) {
  bool live = true;
  uint64_t rate = 180000, hot = 256, aside = 0;
  int at = 1;
  for (; at < argc && std::string_view(argv[at]).starts_with("--"); ++at) {
    const std::string_view argument = argv[at];
    if (argument == "--paused") live = false;
    if (argument == "--rate" && at + 1 < argc) rate = std::strtoull(argv[++at], nullptr, 10);
    if (argument == "--aside" && at + 1 < argc) aside = std::strtoull(argv[++at], nullptr, 10);
    if (argument == "--hot" && at + 1 < argc) hot = std::strtoull(argv[++at], nullptr, 10);
  }
  if (argc - at != 3) {
    std::fprintf(stderr, "usage: bench_live [--paused] [--rate PAGES] [--hot MIB] [--aside MIB] KIND MIB TARGET\n");
    return 2;
  }
  BusyGuest guest(argv[at], std::strtoull(argv[at + 1], nullptr, 10) << 20, rate, hot << 20);
  writer::Options options;
  options.target = argv[at + 2];
  options.live = live;
  options.sync = false;
  if (aside > 0) options.live_memory = aside << 20;
  std::thread vcpu([&] { guest.run(); });
  constexpr auto kBefore = std::chrono::seconds(1);
  std::this_thread::sleep_for(kBefore);
  const double before = static_cast<double>(guest.writes.exchange(0)) / std::chrono::duration<double>(kBefore).count();
  const double stall_before = static_cast<double>(guest.longest_ns.exchange(0)) / 1e6;
  const auto start = Clock::now();
  const writer::Result result = writer::dump(guest, options);
  const auto took = Clock::now() - start;
  const double during = static_cast<double>(guest.writes) / std::chrono::duration<double>(took).count();
  const double stall = static_cast<double>(guest.longest_ns) / 1e6;
  guest.end = true;
  vcpu.join();
  if (!result.status.ok() || result.live != live) {
    std::fprintf(stderr, "bench_live: %s%s\n", result.status.text().c_str(), result.notice.c_str());
    return 1;
  }
  std::printf("%.3f %.3f %.3f %.3f %.0f %.0f\n", ms(took) / 1e3, ms(result.paused), stall, stall_before, during,
              before);
  return 0;
}
