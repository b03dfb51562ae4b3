// A guest that was stopped before its kernel had set up what is read of it: in firmware, in the kernel's first
// instructions, and on the way through start_kernel. What can be shown is shown, and nothing is claimed that is not so.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <sstream>

#include "tests/dump/bare_machine.h"
#include "tests/reader_linux/guests.h"
#include "tests/reader_linux/kallsyms.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/regex.h"
#include "tests/support/rsp_client.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using testing::AnyOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

constexpr ExitStatus kDone{0, 0}, kFailed{1, 0};

struct Early {
  const Guest* guest;
  std::string qemu;
  std::vector<std::string> arguments;
  uint64_t entry;      // where its first instruction is, guest-physical
  uint64_t unpacked;   // and that of the kernel that it unpacks; 0: it is not packed
  uint64_t linked_to;  // of _text, without KASLR
};

Early early(const std::string& machine) {
  const std::string files = guests_dir() + "/linux-" + machine + (machine == "x86_64" ? "" : "-6.12");
  const bool x86 = machine == "x86_64";
  return {.guest = &kIsolating[x86 ? 0 : 1],
          .qemu = "qemu-system-" + machine,
          .arguments = {"-machine", x86 ? "q35" : "virt", "-cpu", "max", "-smp", "2", "-m", "128M", "-device",
                        "vmcoreinfo", "-kernel", files + "/vmlinuz", "-append",
                        x86 ? "nokaslr ignore_loglevel console=ttyS0"
                            : "nokaslr ignore_loglevel keep_bootcon earlycon=pl011,0x9000000 console=ttyAMA0",
                        "-serial", "file:FOLDER/console", "-gdb", "unix:FOLDER/gdb,server=on,wait=off"},
          .entry = x86 ? 0x100000u : 0x40200000u,
          .unpacked = x86 ? 0x1000000u : 0u,
          .linked_to = x86 ? 0xffffffff81000000 : 0xffff800080000000};
}

/// In the order in which the kernel comes there, on its first CPU and before it has started another one. The last two
/// are of its first process.
const std::vector<std::string> kWay = {"start_kernel", "setup_arch", "setup_per_cpu_areas", "sched_init",
                                       "console_init", "rest_init",  "kernel_init",         "smp_init"};

class StoppedEarly : public testing::TestWithParam<const char*> {
 protected:
  StoppedEarly() : early_(early(GetParam())) {}

  void SetUp() override {
    const auto symbols = parse_kallsyms(linux_oracle(early_.guest->recipe()).said("/proc/kallsyms"));
    const auto address = [&](const std::string& name) {
      const auto found = std::ranges::find(symbols, name, &KnownSymbol::name);
      return found == symbols.end() ? std::nullopt : std::optional(found->address);
    };
    moved_ = address("_text").value() - early_.linked_to;
    for (const std::string& name : kWay)
      if (const auto at = address(name)) way_.emplace_back(name, *at - moved_);
    ASSERT_EQ(way_.size(), kWay.size());
    machine_.emplace(early_.qemu, "", early_.arguments);
    stub_.emplace(RspClient::unix_socket(machine_->folder().path("gdb")));
    stub_->timeout = 120s;
    stub_->handshake();
  }

  void run_to(uint64_t address) {
    std::ostringstream at;
    at << std::hex << address;
    ASSERT_EQ(stub_->request("Z1," + at.str() + ",1"), "OK");
    ASSERT_THAT(stub_->request("vCont;c"), StartsWith("T05"));
    ASSERT_EQ(stub_->request("z1," + at.str() + ",1"), "OK");
  }

  std::string dump(const std::string& name) {
    const std::string path = folder_.path(name);
    machine_->qmp().execute("dump-guest-memory", R"({"paging": false, "protocol": )" + Qmp::quote("file:" + path) + "}",
                            120s);
    return path;
  }

  Completed inspect(const std::string& dump, std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {program("gcore-inspect"), dump});
    Completed done = run(arguments, 120s);
    EXPECT_THAT(done.status, AnyOf(kDone, kFailed));
    if (done.status != kDone) {
      EXPECT_EQ(done.out, "");
      EXPECT_THAT(done.err, StartsWith("gcore-inspect: "));
      EXPECT_EQ(std::ranges::count(done.err, '\n'), 1) << done.err;
    }
    return done;
  }

  /// What holds at each moment. No vCPU idles, and one has not been started.
  void check_all_modes(const std::string& dump) {
    for (const char* mode : {"--registers", "--json"}) EXPECT_EQ(inspect(dump, {mode}).status, kDone) << mode;
    EXPECT_EQ(inspect(dump, {"--html", folder_.path("page.html")}).status, kDone);
    inspect(dump, {"--modules"});
    EXPECT_THAT(inspect(dump, {"--backtrace", "--task", "all"}).err, Not(HasSubstr("PID all")));
    const Completed why = inspect(dump, {"--why"});
    if (why.status == kDone) {
      EXPECT_THAT(why.out, StartsWith("nothing found"));
      EXPECT_THAT(why.out, Not(HasSubstr("idle")));
      EXPECT_THAT(why.out, HasSubstr("\nvCPU 1: not in the kernel\n"));
    }
    const Completed messages = inspect(dump, {"--dmesg"});
    std::istringstream lines(messages.out);
    for (std::string line; std::getline(lines, line);) told_.push_back(line);
  }

  /// PIDs of --tasks; nothing where there is no list.
  std::optional<std::set<int>> pids(const std::string& dump) const {
    const Completed tasks = inspect(dump, {"--tasks"});
    if (tasks.status != kDone) return std::nullopt;
    std::set<int> found;
    std::istringstream lines(tasks.out);
    RegexMatch match;
    for (std::string line; std::getline(lines, line);)
      if (regex_search(line, match, Regex("^ +([0-9]+) +[0-9]+  "))) found.insert(std::stoi(match[1]));
    return found;
  }

  Early early_;
  uint64_t moved_ = 0;
  std::vector<std::pair<std::string, uint64_t>> way_;
  TempDir folder_;
  std::optional<BareMachine> machine_;
  std::optional<RspClient> stub_;
  std::vector<std::string> told_;  // lines of all that --dmesg printed
};

TEST_P(StoppedEarly, SaysWhatIsThereAndNoMore) {
  std::vector<std::pair<std::string, uint64_t>> before{{"reset", 0}, {"entry", early_.entry}};
  if (early_.unpacked != 0) before.emplace_back("unpacked", early_.unpacked);
  for (const auto& [name, address] : before) {
    SCOPED_TRACE(name);
    if (address != 0) {
      ASSERT_NO_FATAL_FAILURE(run_to(address));
    }
    const std::string path = dump(name);
    check_all_modes(path);
    EXPECT_FALSE(pids(path));
    EXPECT_THAT(told_, IsEmpty()) << "no kernel has said anything";
    EXPECT_THAT(inspect(path, {}).out, ContainsRegex("vCPU"));
    std::filesystem::remove(path);
  }
  bool has_processes = false;
  for (const auto& [name, address] : way_) {
    SCOPED_TRACE(name);
    ASSERT_NO_FATAL_FAILURE(run_to(address));
    const std::string path = dump(name);
    check_all_modes(path);
    const std::string summary = inspect(path, {}).out;
    EXPECT_THAT(summary, Not(HasSubstr("(idle)")));
    // QEMU's dumps of aarch64 have no root, and the kernel has its own tables only when setup_arch is done.
    const bool is_found = early_.unpacked != 0 || (name != "start_kernel" && name != "setup_arch");
    EXPECT_EQ(inspect(path, {"--tasks"}).status, is_found ? kDone : kFailed);
    has_processes |= name == "kernel_init";
    if (is_found) {
      // Its first instruction, in the function where it is. Who called it is known from the start.
      EXPECT_THAT(summary, HasSubstr(" " + name + "+0x0/0x"));
      const std::string trace = inspect(path, {"--backtrace", "--vcpu", "0"}).out;
      EXPECT_THAT(trace, HasSubstr(" " + name + "+0x0/0x"));
      if (!has_processes) {
        EXPECT_THAT(trace, HasSubstr(" start_kernel+0x"));
      }
      EXPECT_THAT(trace, Not(HasSubstr("no further")));
    }
    const auto found = pids(path).value_or(std::set<int>{});
    if (name == "smp_init") {
      EXPECT_THAT(found, testing::IsSupersetOf({1, 2}));
    } else if (has_processes) {
      EXPECT_THAT(found, testing::Contains(1));
    } else {
      EXPECT_THAT(found, testing::IsSubsetOf({0}));
    }
    std::filesystem::remove(path);
  }
  // The guest has printed all of it on its console.
  std::string console = read_file(machine_->folder().path("console"));
  std::erase(console, '\r');
  std::set<std::string> printed;
  std::istringstream lines(console);
  for (std::string line; std::getline(lines, line);) printed.insert(line);
  EXPECT_GT(told_.size(), 100U);
  for (const std::string& line : told_) EXPECT_TRUE(printed.contains(line)) << line;
}

INSTANTIATE_TEST_SUITE_P(Each, StoppedEarly, testing::Values("x86_64", "aarch64"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace gcore::tests
