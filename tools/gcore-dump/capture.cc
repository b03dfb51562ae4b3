#include "tools/gcore-dump/capture.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>
#include <vector>

#include "tools/gcore-dump/scratch.h"
#include "writer/format/elf.h"

namespace gcore::tools::qemu {
namespace {

namespace json = llvm::json;

constexpr size_t kBufferSize = 1 << 20;
constexpr uint64_t kSlowestPerSecond = 20 << 20;  // bytes that QEMU writes in a second, if it is not stuck
constexpr char kFdName[] = "gcore-dump";

QmpError failure(std::string text) { return {QmpError::Kind::unavailable, std::move(text)}; }

std::string os_error() { return std::strerror(errno); }

/// Takes everything out of a pipe into a file, blocks of zeros as holes. Stops early when the file cannot be written;
/// QEMU then gets EPIPE, once the pipe is closed.
class Drain {
 public:
  Drain(UniqueFd from, int to)
      : from_(std::move(from)), to_(to), give_up_(eventfd(0, EFD_CLOEXEC)), thread_([this] { run(); }) {}
  ~Drain() {
    if (thread_.joinable()) give_up();
  }
  /// Waits for the end of the pipe; 0 or errno.
  int finish() {
    thread_.join();
    return errno_;
  }
  int problem() const { return errno_; }
  /// Closes the pipe, whatever else is to come: a QEMU that writes into it gets an error and stops writing.
  void give_up() {
    eventfd_write(give_up_.get(), 1);
    thread_.join();
  }

 private:
  /// Like read(), but 0 when given up.
  ssize_t read_some(char* to, size_t size) {
    pollfd both[2] = {{from_.get(), POLLIN, 0}, {give_up_.get(), POLLIN, 0}};
    while (poll(both, 2, -1) < 0)
      if (errno != EINTR) return -1;
    return both[1].revents ? 0 : read(from_.get(), to, size);
  }

  void run() {
    std::vector<char> buffer(kBufferSize);
    uint64_t offset = 0;
    for (;;) {
      size_t filled = 0;  // whole blocks, so that a block of zeros is seen as one
      bool end = false;
      while (filled < buffer.size()) {
        const ssize_t got = read_some(buffer.data() + filled, buffer.size() - filled);
        if (got < 0 && errno == EINTR) continue;
        end = got <= 0;
        if (end) break;
        filled += static_cast<size_t>(got);
      }
      errno_ = write_sparse(to_, buffer.data(), filled, offset);
      if (errno_ != 0) break;
      offset += filled;
      if (end) break;
    }
    if (errno_ == 0 && ftruncate(to_, static_cast<off_t>(offset)) != 0) errno_ = errno;
    from_.reset();
  }

  UniqueFd from_;
  int to_;
  int errno_ = 0;
  UniqueFd give_up_;
  std::thread thread_;
};

/// Puts right what QEMU's headers say of an aarch64 guest whose vCPUs have SVE vectors of different lengths at the
/// moment: it counts each vCPU's notes like the first one's (cpu_get_note_size() of target/arm/arch_dump.c), and then
/// writes what each has, so that the notes are longer or shorter than their segment, and all behind them is elsewhere.
/// The file is written in order, so that its length tells by how much. False when the file cannot be read or changed.
bool repair_headers(int fd) {
  format::Elf64Header header;
  if (pread(fd, &header, sizeof header, 0) != sizeof header) return false;
  const size_t count = header.program_header_count;
  if (count == format::kProgramHeadersExtended || header.machine != static_cast<uint16_t>(format::Machine::aarch64))
    return true;
  std::vector<format::Elf64ProgramHeader> segments(count);
  const auto size = static_cast<ssize_t>(count * sizeof segments[0]);
  if (pread(fd, segments.data(), static_cast<size_t>(size), static_cast<off_t>(header.program_headers)) != size)
    return false;
  uint64_t end = 0;  // of the file, by its headers
  for (const auto& segment : segments) end = std::max<uint64_t>(end, segment.offset + segment.file_size);
  for (size_t i = 0; i < header.section_header_count; ++i) {
    format::Elf64SectionHeader section;
    if (pread(fd, &section, sizeof section, static_cast<off_t>(header.section_headers + i * sizeof section)) !=
        sizeof section)
      return false;
    end = std::max<uint64_t>(end, section.offset + section.size);
  }
  struct stat facts;
  if (fstat(fd, &facts) != 0) return false;
  const uint64_t more = static_cast<uint64_t>(facts.st_size) - end;  // modulo 2^64: it may be less
  if (more == 0) return true;
  for (auto& segment : segments) {
    if (segment.type == format::kSegmentNote) {
      segment.file_size = segment.file_size + more;
    } else if (segment.type == format::kSegmentLoad) {
      segment.offset = segment.offset + more;
    }
  }
  return pwrite(fd, segments.data(), static_cast<size_t>(size), static_cast<off_t>(header.program_headers)) == size;
}

}  // namespace

QmpResult<Capture> capture(Qmp& qmp, uint64_t address, uint64_t size, const CaptureLimits& to) {
  using std::chrono::milliseconds;
  auto file = scratch_file(size, to.directory);
  if (!file) return std::unexpected(failure(file.error()));
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return std::unexpected(failure("cannot make a pipe: " + os_error()));
  UniqueFd read_end(ends[0]), write_end(ends[1]);
  fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);  // fewer switches; where it is refused, the default serves

  std::string way = std::string("fd:") + kFdName;
  if (qmp.passes_descriptors()) {
    if (auto given = qmp.execute("getfd", json::Object{{"fdname", kFdName}}, Qmp::kTimeout, write_end.get()); !given)
      return std::unexpected(given.error());
    write_end.reset();
  } else {  // QEMU opens it; when it has answered, it has written all
    way = "file:/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(write_end.get());
  }
  Drain drain(std::move(read_end), file->get());
  const std::chrono::steady_clock::duration left = to.deadline - std::chrono::steady_clock::now();
  const milliseconds most = std::chrono::seconds(30 + size / kSlowestPerSecond);
  const bool hurried = left < most;
  const milliseconds patience = hurried ? std::max(milliseconds(1), std::chrono::ceil<milliseconds>(left)) : most;
  auto dumped = qmp.execute("dump-guest-memory",
                            json::Object{{"paging", false},
                                         {"protocol", way},
                                         {"begin", static_cast<int64_t>(address)},
                                         {"length", static_cast<int64_t>(size)}},
                            patience);
  write_end.reset();
  if (!dumped) {
    drain.give_up();
    // QEMU has closed its end if it took it at all; if it did not, nobody else would.
    if (dumped.error().kind == QmpError::Kind::refused) (void)qmp.execute("closefd", json::Object{{"fdname", kFdName}});
  }
  const int problem = dumped ? drain.finish() : drain.problem();
  if (problem != 0)
    return std::unexpected(failure("cannot write the copy that QEMU makes to a temporary file in " + to.directory +
                                   ": " + std::strerror(problem)));
  if (!dumped && dumped.error().kind == QmpError::Kind::deadline && hurried) dumped.error().text = kDeadlineCame;
  if (!dumped) return std::unexpected(dumped.error());

  if (!repair_headers(file->get()))
    return std::unexpected(failure("QEMU's dump-guest-memory gave a file without headers"));
  const int again = fcntl(file->get(), F_DUPFD_CLOEXEC, 3);
  if (again < 0) return std::unexpected(failure(os_error()));
  auto dump = reader::Dump::open_descriptor(again, "QEMU's dump");
  if (!dump)
    return std::unexpected(failure("QEMU's dump-guest-memory gave a file that cannot be read: " + dump.error().text));
  return Capture{std::move(*dump), std::move(*file)};
}

}  // namespace gcore::tools::qemu
