// Of which moment a dump's memory is, and for how long the guest stands still for it.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <span>
#include <utility>

#include "tests/dump/gcore_dump.h"
#include "tests/support/regex.h"

namespace gcore::tests {
namespace {

using testing::Contains;
using testing::HasSubstr;

constexpr char kNotOfOneMoment[] =
    "somebody else let the guest go on while it was dumped: its memory is not of one moment";

/// 64 MiB of which so many are no zeros, private or shared.
std::vector<std::string> memory_file(const TempDir& folder, const std::string& share, size_t mib = 32) {
  const std::string path = folder.write("ram", std::string(mib << 20, 'r') + std::string((64 - mib) << 20, '\0'));
  return {"-machine", "q35,memory-backend=mem",
          "-m",       "64M",
          "-object",  "memory-backend-file,id=mem,size=64M,mem-path=" + path + ",share=" + share};
}

/// A command that takes the beginning of a dump, says so by a file, and waits before it takes the rest into another.
class SlowCommand {
 public:
  SlowCommand() { EXPECT_EQ(mkfifo(folder_.path("go").c_str(), 0600), 0); }
  std::string text() const {
    return "|cd " + folder_.path() + "; head -c 4096 > dump; touch begun; read word < go; cat >> dump";
  }
  void wait_until_begun(Process& dumper) const {
    while (!std::filesystem::exists(folder_.path("begun"))) ASSERT_FALSE(dumper.wait(0ms)) << dumper.err();
  }
  void let_go_on() const {
    const int fd = open(folder_.path("go").c_str(), O_WRONLY | O_CLOEXEC);
    EXPECT_EQ(write(fd, "go\n", 3), 3);
    close(fd);
  }
  std::string dump() const { return folder_.path("dump"); }

 private:
  TempDir folder_;
};

void expect_torn(const std::string& path) {
  const auto dump = open_dump(path);
  EXPECT_EQ(dump->info().consistency, "torn");
  EXPECT_THAT(std::vector<std::string>(dump->warnings().begin(), dump->warnings().end()),
              Contains(HasSubstr("is not of one moment")));
  const Completed shown = run({program("gcore-inspect"), path});
  EXPECT_THAT(shown.out + shown.err, HasSubstr("is not of one moment"));
}

TEST(Moment, SomebodyElsesContIsInTheDumpAndInTheExitStatus) {
  const TempDir folder;
  BareMachine machine(kX86, kLoop, memory_file(folder, "on"));
  machine.start();
  const SlowCommand command;
  Process dumper({program("gcore-dump"), "--qmp", machine.socket(), "--aside", "0", command.text()});
  command.wait_until_begun(dumper);
  EXPECT_FALSE(machine.runs());
  machine.qmp().execute("cont");
  command.let_go_on();
  EXPECT_EQ(dumper.wait(), kFailed);
  EXPECT_EQ(dumper.out(), command.text() + "\n");
  EXPECT_THAT(dumper.err(), HasSubstr(kNotOfOneMoment));
  EXPECT_TRUE(machine.runs());
  expect_torn(command.dump());
}

TEST(Moment, TwoDumpersOfAGuestDoItToEachOther) {
  const TempDir folder, out;
  BareMachine machine(kX86, kLoop, with(memory_file(folder, "on"), {"-qmp", "unix:FOLDER/qmp2,server=on,wait=off"}));
  machine.start();
  const SlowCommand one, two;
  Process first({program("gcore-dump"), "--qmp", machine.socket(), "--aside", "0", one.text()});
  one.wait_until_begun(first);
  Process second({program("gcore-dump"), "--qmp", machine.folder().path("qmp2"), "--aside", "0", two.text()});
  two.wait_until_begun(second);
  one.let_go_on();
  EXPECT_EQ(first.wait(), kDone) << first.err();
  EXPECT_TRUE(machine.runs());  // though the second one is at it yet
  two.let_go_on();
  EXPECT_EQ(second.wait(), kFailed);
  EXPECT_THAT(second.err(), HasSubstr(kNotOfOneMoment));
  EXPECT_EQ(open_dump(one.dump())->info().consistency, "paused");
  expect_torn(two.dump());
}

// What is private to QEMU is copied, by QEMU or out of it, and the guest need not wait until that is written.
TEST(Pause, OfAPrivateGuestEndsWhenItIsCopied) {
  const TempDir folder;
  BareMachine machine(kX86, kLoop, memory_file(folder, "off"));
  machine.start();
  const std::vector<std::string> itself{program("gcore-dump")},
      untraced{"setpriv", "--bounding-set", "-sys_ptrace", program("gcore-dump")};
  for (std::vector<std::string> argv : {itself, untraced}) {
    const SlowCommand command;
    argv.insert(argv.end(), {"--qmp", machine.socket(), command.text()});
    Process dumper(argv);
    command.wait_until_begun(dumper);
    EXPECT_TRUE(machine.runs());
    command.let_go_on();
    EXPECT_EQ(dumper.wait(), kDone) << dumper.err();
    EXPECT_EQ(open_dump(command.dump())->info().consistency, "paused");
  }
}

// What the guest writes when it goes on is not in the dump.
TEST(Pause, OfASharedGuestEndsWhenItsMemoryIsAside) {
  const TempDir folder;
  BareMachine machine(kX86, kLoop, memory_file(folder, "on"));
  machine.start();
  const std::vector<std::string> nothing;
  for (const auto& [options, is_enough] :
       {std::pair(nothing, true), std::pair(std::vector<std::string>{"--aside", "64M"}, true),
        std::pair(std::vector<std::string>{"--aside", "4M"}, false),
        std::pair(std::vector<std::string>{"--aside", "0"}, false)}) {
    const std::string aside = options.empty() ? "default" : options.back();
    const SlowCommand command;
    std::vector<std::string> argv{program("gcore-dump"), "--qmp", machine.socket()};
    argv.insert(argv.end(), options.begin(), options.end());
    argv.push_back(command.text());
    Process dumper(argv);
    command.wait_until_begun(dumper);
    while (is_enough && !machine.runs()) ASSERT_FALSE(dumper.wait(1ms)) << dumper.err();
    EXPECT_EQ(machine.runs(), is_enough) << aside;
    const int ram = open(folder.path("ram").c_str(), O_WRONLY | O_CLOEXEC);
    EXPECT_EQ(pwrite(ram, is_enough ? "later" : "rrrrr", 5, 8 << 20), 5);
    command.let_go_on();
    EXPECT_EQ(dumper.wait(), kDone) << dumper.err();
    EXPECT_EQ(pwrite(ram, "rrrrr", 5, 8 << 20), 5);
    close(ram);
    EXPECT_EQ(dumper.err(), "");
    const auto dump = open_dump(command.dump());
    EXPECT_EQ(dump->info().consistency, "paused");
    std::string bytes(6, '\0');
    EXPECT_EQ(dump->read(reader::PhysAddr(8 << 20), std::as_writable_bytes(std::span(bytes))).bytes, 6U);
    EXPECT_EQ(bytes, "rrrrrr") << aside;
    EXPECT_TRUE(machine.runs());
  }
  const Completed wrong = gcore_dump({"--qmp", machine.socket(), "--aside", "much", folder.path()});
  EXPECT_EQ(wrong.status, kUsage);
  EXPECT_THAT(wrong.err, HasSubstr("--aside: "));
}

TEST(Pause, OfAPrivateGuestIsNotTheRatesNorOverItsDeadline) {
  const TempDir folder, out;
  BareMachine machine(kX86, kLoop, memory_file(folder, "off", 8));
  machine.start();
  // Eight seconds of writing.
  const Completed done = gcore_dump({"--qmp", machine.socket(), "--rate", "1M", "--deadline", "6", out.path()});
  ASSERT_EQ(done.status, kDone) << done.err;
  EXPECT_LT(*open_dump(line(done.out))->info().pause_ns, 6'000'000'000u);
}

TEST(Pause, IsTheSumOfWhatTimingSays) {
  const TempDir folder, out;
  BareMachine machine(kX86, kLoop, memory_file(folder, "off"));
  machine.start();
  for (const bool untraced : {false, true}) {
    const std::vector<std::string> arguments{"--qmp", machine.socket(), "--timing", out.path()};
    const Completed done = untraced ? untraced_gcore_dump(arguments) : gcore_dump(arguments);
    ASSERT_EQ(done.status, kDone) << done.err;
    RegexMatch found;
    ASSERT_TRUE(regex_search(done.err, found, Regex("guest paused ([0-9.]+) ms: (.*)\n"))) << done.err;
    const double all = std::stod(found[1]);
    double sum = 0;
    const std::string parts = found[2];
    const Regex number("[a-z]+ ([0-9]+\\.[0-9])");
    for (const RegexMatch& part : regex_search_all(parts, number)) sum += std::stod(part[1]);
    // Between two of them a thread may be kept waiting; what was missing was half of it.
    EXPECT_GE(sum, 0.8 * all) << done.err;
    EXPECT_LE(sum, all + 1) << done.err;
  }
}

}  // namespace
}  // namespace gcore::tests
