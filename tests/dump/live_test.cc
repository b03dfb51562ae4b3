// gcore-dump --live: QEMU's background-snapshot, of machines that run no operating system.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <stdexcept>
#include <thread>

#include "tests/dump/gcore_dump.h"
#include "tests/support/regex.h"
#include "tests/support/small_disk.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

// Writes a number into all of the first 64 KiB, word by word, then the next number, without end: at any moment the
// words before DI have the number that is in AX, and those from there on the one before.
//     xor di, di; mov cx, 0x8000; rep stosw; inc ax; jmp $-8
const std::string kCounting("\x31\xff\xb9\x00\x80\xf3\xab\x40\xeb\xf6", 10);

const std::vector<std::string> kPrivate{"-m", "64M"};

std::string memory_of(const reader::Dump& dump, uint64_t address, size_t size) {
  std::string bytes(size, '\0');
  EXPECT_EQ(dump.read(reader::PhysAddr(address), std::as_writable_bytes(std::span(bytes))).bytes, size);
  return bytes;
}

/// Where two dumps have not the same memory; "" when they do.
std::string difference(const reader::Dump& a, const reader::Dump& b) {
  if (a.memory_bytes() != b.memory_bytes()) return "sizes";
  constexpr size_t kPiece = 1 << 20;
  for (const reader::Segment& segment : a.segments())
    for (uint64_t done = 0; done < segment.memory_size; done += kPiece) {
      const uint64_t address = segment.address.value + done;
      const size_t size = static_cast<size_t>(std::min<uint64_t>(kPiece, segment.memory_size - done));
      if (memory_of(a, address, size) != memory_of(b, address, size)) return "near " + std::to_string(address);
    }
  return "";
}

/// Memory and registers of one moment, as the guest's own work tells.
void expect_one_moment(const std::string& path) {
  const auto dump = open_dump(path);
  ASSERT_EQ(dump->cpus().size(), 1u);
  const auto& registers = dump->cpus()[0].registers;
  const auto number = static_cast<uint16_t>(registers.get("rax").value_or(0));
  const size_t words = 0x8000, done = words - (registers.get("rcx").value_or(0) & 0xffff);
  const uint64_t at = registers.get("rip").value_or(0) & 0xffff;
  const std::string memory = memory_of(*dump, 0, words * 2);
  std::vector<uint16_t> values(words);
  std::memcpy(values.data(), memory.data(), memory.size());
  // Which of the instructions comes next says how far it is: before the stores, in them, behind them.
  const bool next_round = at == 0xfff8;              // AX counted already, nothing stored yet
  const bool before = at == 0xfff0 || at == 0xfff2;  // likewise; CX is of the round before
  const size_t boundary = next_round || before ? 0 : done;
  for (size_t word = 0; word < words; ++word) {
    const uint16_t expected = word < boundary ? number : static_cast<uint16_t>(number - 1);
    ASSERT_EQ(values[word], expected) << "word " << word << " of " << boundary << " at " << std::hex << at;
  }
}

TEST(Live, MemoryAndRegistersAreOfOneMoment) {
  for (const auto& memory :
       {kPrivate, std::vector<std::string>{"-machine", "q35,memory-backend=mem", "-m", "64M", "-object",
                                           "memory-backend-memfd,id=mem,size=64M,share=on"}}) {
    BareMachine machine(kX86, kCounting, memory);
    machine.start();
    const TempDir out;
    for (int i = 0; i < 5; ++i) {
      const Completed done = gcore_dump({"--qmp", machine.socket(), "--live", "--no-sync", out.path()});
      ASSERT_EQ(done.status, kDone) << done.err;
      EXPECT_EQ(done.err, "");
      EXPECT_TRUE(machine.runs());
      expect_one_moment(line(done.out));
      const auto dump = open_dump(line(done.out));
      EXPECT_EQ(dump->info().consistency, "snapshot");
      EXPECT_THAT(std::vector<std::string>(dump->warnings().begin(), dump->warnings().end()), IsEmpty());
      EXPECT_GT(dump->info().pause_ns.value_or(0), 0u);
    }
  }
}

std::string capabilities(BareMachine& machine) { return machine.qmp().execute("query-migrate-capabilities"); }
std::string parameters(BareMachine& machine) { return machine.qmp().execute("query-migrate-parameters"); }

TEST(Live, HasWhatAPausedDumpHasAndLeavesTheMigrationAsItWas) {
  const struct {
    std::string qemu, code;
    std::vector<std::string> arguments;
  } cases[] = {{kX86, kLoop, with(kPrivate, {"-vga", "std", "-smp", "2"})},
               {"qemu-system-aarch64", "", {"-machine", "virt", "-cpu", "cortex-a57", "-m", "64M", "-smp", "2"}}};
  for (const auto& one : cases) {
    BareMachine machine(one.qemu, one.code, one.arguments);
    machine.qmp().execute("migrate-set-capabilities", R"({"capabilities": [{"capability": "xbzrle", "state": true}]})");
    const std::string capabilities_before = capabilities(machine), parameters_before = parameters(machine);
    machine.start();
    const TempDir out;
    const Completed live = gcore_dump({"--qmp", machine.socket(), "--live", out.path()});
    ASSERT_EQ(live.status, kDone) << live.err;
    EXPECT_EQ(capabilities(machine), capabilities_before);
    EXPECT_EQ(parameters(machine), parameters_before);
    EXPECT_TRUE(machine.runs());
    const Completed paused = gcore_dump({"--qmp", machine.socket(), out.path()});
    ASSERT_EQ(paused.status, kDone) << paused.err;
    const auto a = open_dump(line(live.out)), b = open_dump(line(paused.out));
    EXPECT_EQ(difference(*a, *b), "");
    ASSERT_EQ(a->cpus().size(), b->cpus().size());
    for (size_t cpu = 0; cpu < a->cpus().size(); ++cpu)
      for (const auto& known : format::registers(a->machine())) {
        const auto expected = b->cpus()[cpu].registers.get(known.name);
        if (known.name == "par_el1") continue;  // QEMU's stream does not have it
        // An idle or looping vCPU is somewhere in its loop.
        if (known.name == "rip" || known.name == "elr") continue;
        if (expected) {
          EXPECT_EQ(a->cpus()[cpu].registers.get(known.name), expected) << known.name;
        }
      }
  }
}

TEST(Live, GoesToACommandAndCompressed) {
  BareMachine machine(kX86, kCounting, kPrivate);
  machine.start();
  const TempDir out;
  const Completed piped =
      gcore_dump({"--qmp", machine.socket(), "--live", "--dialect", "vmcore", "|cat > " + out.path("piped.gcore")});
  ASSERT_EQ(piped.status, kDone) << piped.err;
  expect_one_moment(out.path("piped.gcore"));
  const Completed packed = gcore_dump({"--qmp", machine.socket(), "--live=try", "--compress", "gzip", out.path()});
  ASSERT_EQ(packed.status, kDone) << packed.err;
  EXPECT_EQ(open_dump(line(packed.out))->info().consistency, "snapshot");
}

// Guest memory in a file on a disk is what QEMU 7.2 refuses.
TEST(Live, ThatQemuRefusesIsSaidAndPausesOnlyWhenToldTo) {
  BareMachine machine(kX86, kLoop, kShared);
  machine.start();
  const TempDir out;
  const std::string before = capabilities(machine);
  const Completed refused = gcore_dump({"--qmp", machine.socket(), "--live", out.path()});
  EXPECT_EQ(refused.status, kFailed);
  EXPECT_THAT(refused.err, testing::ContainsRegex("^gcore-dump: dump .*: it cannot be dumped while it runs: "
                                                  "migrate-set-capabilities: .*; --live=try pauses it then\n$"));
  EXPECT_THAT(out.entries(), IsEmpty());
  EXPECT_TRUE(machine.runs());
  EXPECT_EQ(capabilities(machine), before);
  const Completed tried = gcore_dump({"--qmp", machine.socket(), "--live=try", out.path()});
  EXPECT_EQ(tried.status, kDone);
  EXPECT_THAT(tried.err, HasSubstr("the guest is paused meanwhile: it cannot be dumped while it runs: "));
  EXPECT_EQ(open_dump(line(tried.out))->info().consistency, "paused");
  EXPECT_TRUE(machine.runs());
}

TEST(Live, LeavesAPausedGuestPaused) {
  BareMachine machine(kX86, kLoop, kPrivate);
  const TempDir out;
  const Completed done = gcore_dump({"--qmp", machine.socket(), "--live", out.path()});
  EXPECT_EQ(done.status, kDone) << done.err;
  EXPECT_FALSE(machine.runs());
  EXPECT_EQ(open_dump(line(done.out))->info().consistency, "paused");
}

TEST(Live, KilledAtAnyMomentTheGuestRuns) {
  BareMachine machine(kX86, kCounting, kPrivate);
  machine.start();
  for (int moment = 0; moment < 50; ++moment) {
    const TempDir out;  // a second has no more than eleven names
    Process dumper({program("gcore-dump"), "--qmp", machine.socket(), "--live", "--no-sync", out.path()});
    (void)dumper.wait(std::chrono::milliseconds(4 * moment));
    dumper.signal(SIGKILL);
    EXPECT_TRUE(dumper.wait());
    while (!machine.runs()) ASSERT_FALSE(machine.process().wait(0ms));  // QEMU's own pause may not be over
  }
  // QEMU has put the last one away when it takes another.
  for (;;) {
    const std::string status = machine.qmp().execute("query-migrate");
    if (!regex_search(status, Regex("\"(active|setup|cancelling|device)\""))) break;
    ASSERT_FALSE(machine.process().wait(0ms));
  }
  const TempDir out;
  const Completed done = gcore_dump({"--qmp", machine.socket(), "--live", out.path()});
  ASSERT_EQ(done.status, kDone) << done.err;
  expect_one_moment(line(done.out));
  EXPECT_TRUE(machine.runs());
}

/// Whatever there is under a dump's name is a whole dump.
void expect_whole_dumps(const TempDir& folder) {
  for (const std::string& name : folder.entries()) {
    EXPECT_TRUE(name.ends_with(".gcore")) << name;
    const Completed verified = run({program("gcore-inspect"), "--verify", folder.path(name)});
    EXPECT_EQ(verified.status, kDone) << verified.out << verified.err;
  }
}

TEST(Live, ToldToEndAtAnyMomentTheGuestRuns) {
  BareMachine machine(kX86, kCounting, kPrivate);
  machine.start();
  const std::string before = capabilities(machine);
  for (int moment = 0; moment < 50; ++moment) {
    const TempDir out;
    Process dumper({program("gcore-dump"), "--qmp", machine.socket(), "--live", "--no-sync", out.path()});
    (void)dumper.wait(std::chrono::milliseconds(4 * moment));
    dumper.signal(moment % 2 == 0 ? SIGTERM : SIGINT);
    ASSERT_TRUE(dumper.wait()) << dumper.err();
    EXPECT_TRUE(machine.runs()) << moment << dumper.err();
    ASSERT_EQ(capabilities(machine), before) << moment << dumper.err();
    expect_whole_dumps(out);
  }
}

TEST(Live, QemuThatDiesAtAnyMomentIsSaid) {
  for (int moment = 0; moment < 10; ++moment) {
    BareMachine machine(kX86, kCounting, kPrivate);
    machine.start();
    const TempDir out;
    Process dumper({program("gcore-dump"), "--qmp", machine.socket(), "--live", "--no-sync", out.path()});
    (void)dumper.wait(std::chrono::milliseconds(12 * moment));
    machine.process().signal(SIGKILL);
    const auto status = dumper.wait();
    ASSERT_TRUE(status) << dumper.err();
    if (*status != kDone) {
      EXPECT_EQ(*status, kFailed);
      EXPECT_THAT(dumper.err(), HasSubstr("gcore-dump: ")) << moment;
    }
    expect_whole_dumps(out);
  }
}

/// 24 MiB of which no page is like another.
std::string dense_bytes() {
  std::string bytes(24 << 20, '\0');
  for (size_t at = 0; at < bytes.size(); at += 8) {
    const uint64_t number = at * 0x9e3779b97f4a7c15 + 1;
    std::memcpy(&bytes[at], &number, sizeof number);
  }
  return bytes;
}

/// A guest whose snapshot takes its time.
class DenseMachine {
 public:
  DenseMachine() {
    machine.start();
    machine.qmp().wait_event("RESUME");
  }
  void wait_for_pause_of_qemu() { machine.qmp().wait_event("RESUME"); }

  TempDir source;
  BareMachine machine{
      kX86,
      kCounting,
      {"-m", "64M", "-device", "loader,addr=0x200000,force-raw=on,file=" + source.write("dense", dense_bytes())}};
};

TEST(Live, SomebodyElseWhoPausesTheGuestMeanwhileFindsItPaused) {
  DenseMachine dense;
  const TempDir out;
  Process dumper({program("gcore-dump"), "--qmp", dense.machine.socket(), "--live", "--no-sync", out.path()});
  dense.wait_for_pause_of_qemu();
  dense.machine.qmp().execute("stop");
  EXPECT_EQ(dumper.wait(), kDone) << dumper.err();
  EXPECT_FALSE(dense.machine.runs());
  expect_one_moment(line(dumper.out()));
}

TEST(Live, KilledWithFewDescriptorsItsSnapshotIsReadToItsEnd) {
  DenseMachine dense;
  const TempDir out;
  Process dumper({"/bin/sh", "-c", R"(ulimit -n 64; exec "$@")", "sh", program("gcore-dump"), "--qmp",
                  dense.machine.socket(), "--live", "--no-sync", out.path()});
  dense.wait_for_pause_of_qemu();
  dumper.signal(SIGKILL);
  std::string status;
  do {
    status = dense.machine.qmp().execute("query-migrate");
    ASSERT_FALSE(dense.machine.process().wait(0ms));
  } while (regex_search(status, Regex("\"(active|setup|cancelling|device)\"")));
  EXPECT_THAT(status, HasSubstr(R"("completed")"));
}

/// A connection to QMP on which `stop` does not arrive.
class RelayWithoutStop {
 public:
  explicit RelayWithoutStop(const std::string& to) : listener_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const sockaddr_un own = address(path()), other = address(to);
    if (bind(listener_, reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0 || listen(listener_, 1) != 0)
      throw std::runtime_error(std::strerror(errno));
    qemu_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(qemu_, reinterpret_cast<const sockaddr*>(&other), sizeof other) != 0)
      throw std::runtime_error(std::strerror(errno));
    thread_ = std::thread([this] { serve(); });
  }
  ~RelayWithoutStop() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
    close(qemu_);
  }
  std::string path() const { return folder_.path("relay"); }
  bool has_seen_stop() const { return has_seen_stop_; }

 private:
  static sockaddr_un address(const std::string& path) {
    sockaddr_un made{};
    made.sun_family = AF_UNIX;
    std::strcpy(made.sun_path, path.c_str());
    return made;
  }
  void serve() {
    const int client = accept(listener_, nullptr, nullptr);
    char bytes[1 << 16];
    for (std::string text;;) {
      pollfd both[2] = {{client, POLLIN, 0}, {qemu_, POLLIN, 0}};
      if (poll(both, 2, -1) < 0) continue;
      if (both[1].revents != 0) {
        const ssize_t got = read(qemu_, bytes, sizeof bytes);
        if (got <= 0) break;
        send(client, bytes, static_cast<size_t>(got), MSG_NOSIGNAL);
      }
      if (both[0].revents == 0) continue;
      const ssize_t got = read(client, bytes, sizeof bytes);
      if (got <= 0) break;
      text.append(bytes, static_cast<size_t>(got));
      for (size_t end; (end = text.find('\n')) != std::string::npos; text.erase(0, end + 1)) {
        const std::string one = text.substr(0, end + 1);
        if (one.find(R"("stop")") != std::string::npos)
          has_seen_stop_ = true;
        else
          send(qemu_, one.data(), one.size(), MSG_NOSIGNAL);
      }
    }
    close(client);
  }

  TempDir folder_;
  int listener_, qemu_ = -1;
  std::atomic<bool> has_seen_stop_{false};
  std::thread thread_;
};

// QEMU refuses a snapshot of memory in a file, and then hangs.
TEST(Live, ToldToEndWhenItPausesTheGuestInsteadItEnds) {
  BareMachine machine(kX86, kLoop, kShared);
  machine.start();
  RelayWithoutStop relay(machine.socket());
  const TempDir out;
  Process dumper({program("gcore-dump"), "--qmp", relay.path(), "--live=try", out.path()});
  while (!relay.has_seen_stop()) ASSERT_FALSE(dumper.wait(0ms)) << dumper.err();
  dumper.signal(SIGTERM);
  EXPECT_EQ(dumper.wait(20s), kFailed) << dumper.err();
  EXPECT_THAT(dumper.err(), HasSubstr("the dump was cancelled"));
  EXPECT_TRUE(machine.runs());
}

int children_of(pid_t parent) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    if (std::atoi(entry.path().filename().c_str()) == 0) continue;
    std::ifstream stat(entry.path() / "stat");  // "PID (NAME) STATE PARENT ..."
    std::string text;
    if (!std::getline(stat, text)) continue;  // it is gone
    const size_t end = text.rfind(')');
    if (end != std::string::npos && std::atoi(text.c_str() + end + 3) == parent) ++count;
  }
  return count;
}

// QEMU refuses to migrate a guest with such a device.
TEST(Live, RefusedAgainAndAgainTheWatcherGathersNoProcesses) {
  BareMachine machine(kX86, kLoop,
                      with(kPrivate, {"-object", "memory-backend-memfd,id=shared,size=1M,share=on", "-device",
                                      "ivshmem-plain,memdev=shared,master=off"}));
  machine.start();
  const TempDir out;
  Process watcher = watch(machine.socket(), {"--live=try", "--no-sync", out.path()});
  for (int dump = 0; dump < 4; ++dump) {
    watcher.signal(SIGUSR2);
    ASSERT_TRUE(watcher.wait_for_line(Process::Stream::err, "paused meanwhile: .* migrate: ")) << watcher.err();
    ASSERT_TRUE(watcher.wait_for_line(Process::Stream::err, "dumped for SIGUSR2")) << watcher.err();
  }
  EXPECT_LE(children_of(watcher.pid()), 1);
}

// Memory is written once: there is no room for it twice.
TEST(Live, MemoryNeedsRoomOnce) {
  const TempDir source;
  const std::string bytes = dense_bytes();
  source.write("dense", bytes);
  BareMachine machine(
      kX86, kCounting,
      with({"-m", "128M"}, {"-device", "loader,addr=0x200000,force-raw=on,file=" + source.path("dense")}));
  machine.start();
  const SmallDisk disk("36m");
  for (const std::string dialect : {"qnx", "vmcore"}) {
    const Completed done =
        gcore_dump({"--qmp", machine.socket(), "--live", "--dialect", dialect, disk.directory().path()});
    ASSERT_EQ(done.status, kDone) << done.err;
    EXPECT_THAT(disk.directory().entries(), testing::SizeIs(1));
    const auto dump = open_dump(line(done.out));
    EXPECT_THAT(std::vector<std::string>(dump->warnings().begin(), dump->warnings().end()), IsEmpty());
    EXPECT_EQ(memory_of(*dump, 0x200000, bytes.size()), bytes);
    expect_one_moment(line(done.out));
    ASSERT_EQ(unlink(line(done.out).c_str()), 0);
  }
}

TEST(Live, DiskFull) {
  BareMachine machine(
      kX86, kCounting,
      with({"-m", "128M"}, {"-device", "loader,addr=0x200000,force-raw=on,file=" + program("gcore-dump")}));
  machine.start();
  const SmallDisk disk("1m");
  const std::string before = capabilities(machine);
  const Completed done = gcore_dump({"--qmp", machine.socket(), "--live", disk.directory().path()});
  EXPECT_EQ(done.status, kFailed);
  EXPECT_THAT(done.err, HasSubstr("No space left on device"));
  EXPECT_THAT(disk.directory().entries(), IsEmpty());
  EXPECT_TRUE(machine.runs());
  EXPECT_EQ(capabilities(machine), before);
}

}  // namespace
}  // namespace gcore::tests
