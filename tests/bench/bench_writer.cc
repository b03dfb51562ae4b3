// Takes one dump of a guest whose memory is a file, for run-writer.
//
//   bench_writer [--zstd | --gzip] [--sync] [--copy] [--cancel-after MS | --signals N] FILE TARGET
//
// FILE stands for the guest's RAM: it is mapped shared, as a VMM has it. TARGET is the dump option's argument. Prints
// one line: seconds of the dump, seconds of the pause, bytes, peak of anonymous resident KiB, milliseconds from
// cancel() to the running guest and to the end of the dump (-1 without a cancellation), how many dumps were taken, and
// how many requests the last one answers. --signals raises SIGUSR2 N times while the first dump is written.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>

#include "writer/dump.h"

namespace {

using namespace gcore;  // NOLINT: a program of one file
using Clock = std::chrono::steady_clock;

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

class FileGuest final : public writer::Guest {
 public:
  explicit FileGuest(const char* path) : fd_(open(path, O_RDWR | O_CLOEXEC)) {
    struct stat info = {};
    if (fd_ < 0 || fstat(fd_, &info) != 0) {
      std::perror(path);
      std::exit(1);
    }
    size_ = static_cast<uint64_t>(info.st_size);
    host_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd_, 0);
    if (host_ == MAP_FAILED) host_ = nullptr;
  }

  std::string_view name() override { return "bench"; }
  format::Machine machine() override { return format::Machine::x86_64; }
  writer::Status pause() override { return {}; }
  void resume() override { resumed = Clock::now(); }
  size_t cpu_count() override { return 2; }
  bool read_cpu(size_t, format::RegisterFile& registers) override { return registers.set("rip", 0x1000); }
  std::vector<writer::MemoryRange> memory() override { return {{0, size_, host_, fd_, 0}}; }

  Clock::time_point resumed{};

 private:
  int fd_;
  uint64_t size_ = 0;
  void* host_ = nullptr;
};

long peak_kib() {
  std::FILE* status = std::fopen("/proc/self/status", "re");
  long kib = -1;
  char line[256];
  while (status && std::fgets(line, sizeof line, status))
    if (std::sscanf(line, "RssAnon: %ld", &kib) == 1) break;
  if (status) std::fclose(status);
  return kib;
}

writer::Dumper* g_dumper = nullptr;

void wait_until_writing(const writer::Dumper& dumper) {
  while (dumper.progress().phase != writer::Progress::Phase::writing && dumper.progress().dumps == 0)
    std::this_thread::yield();
}

int usage() {
  std::fprintf(
      stderr,
      "usage: bench_writer [--zstd | --gzip] [--sync] [--copy] [--cancel-after MS | --signals N] FILE TARGET\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  writer::Options options;
  options.program = "bench_writer";
  options.sync = false;
  long cancel_after = -1, signals = 0;
  int at = 1;
  for (; at < argc && std::string_view(argv[at]).starts_with("--"); ++at) {
    const std::string_view argument = argv[at];
    if (argument == "--zstd") {
      options.compression = writer::Compression::zstd;
    } else if (argument == "--gzip") {
      options.compression = writer::Compression::gzip;
    } else if (argument == "--copy") {
      options.pipe_memory = writer::PipeMemory::copy;
    } else if (argument == "--sync") {
      options.sync = true;
    } else if (argument == "--cancel-after" && at + 1 < argc) {
      cancel_after = std::atol(argv[++at]);
    } else if (argument == "--signals" && at + 1 < argc) {
      signals = std::atol(argv[++at]);
    } else {
      return usage();
    }
  }
  if (argc - at != 2) return usage();
  FileGuest guest(argv[at]);
  options.target = argv[at + 1];

  writer::Status status;
  const auto dumper = writer::Dumper::create(guest, options, {}, status);
  if (!dumper) {
    std::fprintf(stderr, "bench_writer: %s\n", status.text().c_str());
    return 1;
  }
  const auto start = Clock::now();
  dumper->request({writer::Reason::Kind::api, "benchmark", 0, 0});
  auto cancelled = start;
  if (cancel_after >= 0) {
    wait_until_writing(*dumper);
    std::this_thread::sleep_for(std::chrono::milliseconds(cancel_after));
    cancelled = Clock::now();
    dumper->cancel();
  }
  if (signals > 0) {
    g_dumper = dumper.get();
    std::signal(SIGUSR2, [](int) { g_dumper->request(); });
    wait_until_writing(*dumper);
    for (long i = 0; i < signals; ++i) std::raise(SIGUSR2);
  }
  const writer::Result result = dumper->wait();
  const auto end = Clock::now();
  if (!result.status.ok() && !(cancel_after >= 0 && result.cancelled)) {
    std::fprintf(stderr, "bench_writer: %s\n", result.status.text().c_str());
    return 1;
  }
  const bool was_cancelled = result.cancelled;
  std::printf("%.6f %.6f %llu %ld %.3f %.3f %llu %llu\n", seconds(end - start), seconds(result.paused),
              static_cast<unsigned long long>(result.bytes), peak_kib(),
              was_cancelled ? seconds(guest.resumed - cancelled) * 1e3 : -1.0,
              was_cancelled ? seconds(end - cancelled) * 1e3 : -1.0,
              static_cast<unsigned long long>(dumper->progress().dumps),
              static_cast<unsigned long long>(result.requests));
  return 0;
}
