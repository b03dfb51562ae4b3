// gcore-dump --live: QEMU's background-snapshot, of machines that run no operating system.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <span>

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

// Memory is written once: there is no room for it twice.
TEST(Live, MemoryNeedsRoomOnce) {
  const TempDir source;
  std::string bytes(24 << 20, '\0');
  for (size_t at = 0; at < bytes.size(); at += 8) {
    const uint64_t number = at * 0x9e3779b97f4a7c15 + 1;
    std::memcpy(&bytes[at], &number, sizeof number);
  }
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
