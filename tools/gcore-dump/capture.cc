#include "tools/gcore-dump/capture.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <thread>
#include <vector>

#include "tools/gcore-dump/scratch.h"
#include "writer/base/sparse_file.h"

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
  Drain(base::UniqueFd from, int to)
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
      errno_ = base::write_sparse(to_, std::as_bytes(std::span(buffer)).first(filled), offset);
      if (errno_ != 0) break;
      offset += filled;
      if (end) break;
    }
    if (errno_ == 0 && ftruncate(to_, static_cast<off_t>(offset)) != 0) errno_ = errno;
    from_.reset();
  }

  base::UniqueFd from_;
  int to_;
  int errno_ = 0;
  base::UniqueFd give_up_;
  std::thread thread_;
};

}  // namespace

QmpResult<Capture> capture(Qmp& qmp, uint64_t address, uint64_t size, const CaptureLimits& to) {
  using std::chrono::milliseconds;
  auto file = scratch_file(size, to.directory);
  if (!file) return std::unexpected(failure(file.error()));
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return std::unexpected(failure("cannot make a pipe: " + os_error()));
  base::UniqueFd read_end(ends[0]), write_end(ends[1]);
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

  const int again = fcntl(file->get(), F_DUPFD_CLOEXEC, 3);
  if (again < 0) return std::unexpected(failure(os_error()));
  auto dump = reader::Dump::open_descriptor(again, "QEMU's dump");
  if (!dump)
    return std::unexpected(failure("QEMU's dump-guest-memory gave a file that cannot be read: " + dump.error().text));
  return Capture{std::move(*dump), std::move(*file)};
}

}  // namespace gcore::tools::qemu
