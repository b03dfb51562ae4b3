// The guest's threads as threads of the debugger: a Linux guest that said what it knows of itself, and the installed
// gdb.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>

#include "reader/guest/guest.h"
#include "reader/guest/linux/kernel.h"
#include "tests/reader_linux/guests.h"
#include "tests/support/gdb_session.h"
#include "tests/support/linux_oracle.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/regex.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr uint64_t kFirstTaskId = 10'000'000;

/// Names by PID of each thread, as the guest's own /proc had them.
std::map<uint64_t, std::string> threads_of(const LinuxOracle& guest) {
  std::map<uint64_t, std::string> names;
  const Regex path("/proc/[0-9]+/task/([0-9]+)/comm");
  for (const std::string& name : guest.names()) {
    RegexMatch match;
    if (regex_match(name, match, path))
      names[std::stoull(match[1])] = guest.said(name).substr(0, guest.said(name).find('\n'));
  }
  return names;
}

/// By PID, of lines "stack PID 0x... 0x...".
std::map<int32_t, std::vector<uint64_t>> stacks_in(const std::string& text) {
  std::map<int32_t, std::vector<uint64_t>> stacks;
  std::istringstream lines(text);
  for (std::string line, word; std::getline(lines, line);) {
    std::istringstream words(line);
    int32_t pid = 0;
    if (!(words >> word >> pid) || word != "stack") continue;
    auto& frames = stacks[pid];
    while (words >> word) frames.push_back(std::stoull(word, nullptr, 16));
  }
  return stacks;
}

struct LinuxThreads : testing::TestWithParam<Guest> {
  const LinuxOracle& guest = linux_oracle(GetParam().recipe());
  std::string debugger = std::string(GetParam().machine) == "aarch64" ? "gdb-multiarch" : "gdb";

  GdbResult gdb(const std::vector<std::string>& commands, const std::string& options = "--threads tasks") {
    std::vector<std::string> all = commands;
    all.insert(all.begin(), "target remote | " + program("gcore-serve") + " --stdio " + options + " " + guest.dump());
    auto result = run_gdb(all, {}, 120s, debugger);
    EXPECT_FALSE(result.timed_out) << result.output;
    EXPECT_EQ(result.of.size(), all.size()) << result.output;
    result.of.resize(all.size());
    return result;
  }

  /// As the reader has them, which other tests hold beside /proc/PID/stack; or up to where an interrupt came.
  std::map<int32_t, std::vector<uint64_t>> stacks_of_sleeping_tasks(bool to_interrupt = false) const {
    const auto dump = open_dump(guest);
    const reader::Guest system(*dump);
    const auto kernel = reader::linux_guest::Kernel::find(*dump, system.system(reader::GuestSearch::thorough));
    std::map<int32_t, std::vector<uint64_t>> stacks;
    if (!kernel || !(*kernel)->tasks()) return stacks;
    for (const auto& task : (*kernel)->tasks()->list) {
      if (task.running_on || task.pid == 0) continue;
      auto& frames = stacks[task.pid];
      for (const auto& frame : (*kernel)->stack_of(task).frames) {
        frames.push_back(frame.pc.value);
        if (to_interrupt && frame.is_interrupt) break;
      }
    }
    return stacks;
  }
};

TEST_P(LinuxThreads, AreTheGuestsOwn) {
  const auto truth = threads_of(guest);
  ASSERT_GT(truth.size(), 20u);
  const auto session = gdb({"info threads", "thread apply all -q x/i $pc"});
  const std::string& list = session.of[1];
  EXPECT_THAT(list, testing::ContainsRegex("\n?\\* 1 +Thread 1\\.[12] \"vCPU "));
  EXPECT_THAT(list, Not(HasSubstr("unavailable")));
  const Regex line("Thread 1\\.([0-9]+) \"([^\"]*)\" \\(PID ([0-9]+)");
  std::map<uint64_t, std::string> shown;
  for (const RegexMatch& thread : regex_search_all(list, line)) {
    const uint64_t id = std::stoull(thread[1]);
    if (id > kFirstTaskId) {
      EXPECT_EQ(id - kFirstTaskId, std::stoull(thread[3]));
      shown[id - kFirstTaskId] = thread[2];
    }
  }
  std::set<uint64_t> on_cpus;
  for (const RegexMatch& vcpu : regex_search_all(list, Regex("\"vCPU [^\"]*\" \\([^\n]*PID ([0-9]+)")))
    on_cpus.insert(std::stoull(vcpu[1]));
  size_t missing = 0;
  for (const auto& [pid, name] : truth) {
    if (on_cpus.contains(pid)) continue;
    const auto found = shown.find(pid);
    if (found == shown.end()) {
      // Those that asked have ended, and workers may.
      missing += name != "sh" && name != "cat" && !name.starts_with("kworker") ? 1 : 0;
    } else if (found->second != name) {
      // A name has 15 letters. The kernel puts what a worker works on after it when it is asked: "kworker/0:0-events".
      const size_t letters = found->second.size() - std::min<size_t>(2, found->second.size());
      std::string asked = name.substr(0, 15);
      if (name.starts_with("kworker/") && letters < asked.size() && (name[letters] == '-' || name[letters] == '+'))
        asked.resize(letters);
      EXPECT_EQ(found->second, "[" + asked + "]") << pid;
    }
  }
  EXPECT_LE(missing, 2u) << list;
  // Where a process runs on a vCPU of which QEMU's dump has no TTBR0, its memory cannot be told from others'.
  const auto count = [](std::string_view text, std::string_view what) {
    size_t found = 0;
    for (size_t at = text.find(what); at != text.npos; at = text.find(what, at + 1)) ++found;
    return found;
  };
  const size_t without_root = std::string_view(GetParam().machine) == "aarch64" ? count(list, "[user") : 0;
  const size_t without_stack = count(list, ", Z)");  // of which nothing is known any more
  EXPECT_LE(count(session.of[2], "Cannot access memory"), without_root + without_stack) << session.of[2];
}

TEST_P(LinuxThreads, EachHasItsOwnProcessesMemory) {
  // Two processes' stacks, by what the guest said of them: neither has anything where the other has its own.
  std::vector<std::pair<std::string, std::string>> stacks;  // PID, and an address just below the end
  const Regex stack("[0-9a-f]+-([0-9a-f]+) [^\n]*\\[stack\\]"), path("/proc/([0-9]+)/maps");
  const auto truth = threads_of(guest);
  for (const std::string& name : guest.names()) {
    RegexMatch of, found;
    const std::string& maps = guest.said(name);
    if (regex_match(name, of, path) && regex_search(maps, found, stack) && truth.contains(std::stoull(of[1])))
      stacks.emplace_back(of[1], "0x" + found[1] + " - 64");
  }
  ASSERT_GE(stacks.size(), 2u);
  TempDir folder;
  std::string script =
      "import gdb\n"
      "def look(pid, address):\n"
      "    for thread in gdb.selected_inferior().threads():\n"
      "        if thread.ptid[1] == 10000000 + pid:\n"
      "            thread.switch()\n"
      "            try:\n"
      "                print(pid, address, bytes(gdb.selected_inferior().read_memory(address, 64)).hex())\n"
      "            except gdb.MemoryError:\n"
      "                print(pid, address, 'nothing')\n";
  for (int time = 0; time < 2; ++time)
    for (const auto& [pid, own] : stacks)
      for (const auto& [other, address] : stacks) script += "look(" + pid + ", " + address + ")\n";
  const auto session = gdb({"source " + folder.write("look.py", script)});
  std::map<std::pair<std::string, std::string>, std::string> seen;
  std::istringstream lines(session.of[1]);
  std::string pid, address, what;
  size_t own = 0, others = 0;
  while (lines >> pid >> address >> what) {
    const auto [before, first] = seen.try_emplace({pid, address}, what);
    EXPECT_EQ(before->second, what) << "the same at the second time";
    (what == "nothing" ? others : own) += 1;
  }
  EXPECT_GE(own, 4u) << session.of[1];
  EXPECT_GE(others, 2u) << session.of[1];  // a process that runs on a vCPU is not among them
}

TEST_P(LinuxThreads, CanBeShownLater) {
  const auto session = gdb({"info threads", "monitor threads tasks", "info threads", "thread find PID 2,",
                            "monitor threads cpus", "info threads", "monitor threads"},
                           "");
  EXPECT_THAT(session.of[1], Not(HasSubstr("PID 2,")));
  EXPECT_THAT(session.of[2], testing::ContainsRegex("threads are the vCPUs, and the [0-9]+ threads of the guest"));
  EXPECT_THAT(session.of[3], HasSubstr("\"[kthreadd]\" (PID 2,"));
  EXPECT_THAT(session.of[4], testing::ContainsRegex("Thread [0-9]+ has extra info 'PID 2, "));
  EXPECT_THAT(session.of[6], Not(HasSubstr("PID 2,")));
  EXPECT_THAT(session.of[7], HasSubstr("vCPUs only"));
}

/// Right down. On aarch64 return addresses on the stacks are signed.
TEST_P(LinuxThreads, HaveWholeStacks) {
  TempDir folder;
  const std::string script = folder.write("stacks.py",
                                          "import gdb\n"
                                          "for thread in gdb.selected_inferior().threads():\n"
                                          "    if thread.ptid[1] > 10000000:\n"
                                          "        thread.switch()\n"
                                          "        frame = gdb.newest_frame()\n"
                                          "        pcs = []\n"
                                          "        while frame is not None and frame.pc() >> 63 and len(pcs) < 100:\n"
                                          "            pcs.append(hex(frame.pc()))\n"
                                          "            frame = frame.older()\n"
                                          "        print('stack', thread.ptid[1] - 10000000, *pcs)\n");
  const auto session = gdb({"source " + script});
  auto shown = stacks_in(session.of[1]);
  size_t deepest = 0;
  const auto stacks = stacks_of_sleeping_tasks();
  for (const auto& [pid, frames] : stacks) {
    EXPECT_EQ(shown[pid], frames) << "PID " << pid;
    deepest = std::max(deepest, frames.size());
  }
  EXPECT_GT(stacks.size(), 20u);
  EXPECT_GE(deepest, 5u);
}

/// LLDB takes the rules of a function's start for all of it. Those of the outermost, where the kernel is entered or a
/// thread starts, change their sort on the way, and it leaves that frame out.
TEST_P(LinuxThreads, HaveTheirStacksInLldb) {
  TempDir folder;
  const std::string symbols = folder.path("vm.symbols"), script = folder.write("stacks.py", R"(
for thread in lldb.debugger.GetSelectedTarget().process:
    if thread.id > 10000000:
        print('stack', thread.id - 10000000, *[hex(frame.pc) for frame in thread if frame.pc >> 63])
)");
  ASSERT_EQ(run({program("gcore-inspect"), guest.dump(), "--write-symbols", symbols}).status.code, 0);
  Process server(
      {program("gcore-serve"), guest.dump(), "--symbols", symbols, "--threads", "tasks", "--listen", "127.0.0.1:0"});
  const auto line = server.wait_for_line(Process::Stream::err, "gcore-serve: listening on ");
  ASSERT_TRUE(line) << server.err();
  Process::Options options;
  options.merge_stderr = true;
  options.environment = {"LC_ALL=C", "TERM=dumb", "HOME=" + folder.path()};
  const Completed lldb =
      run({"lldb-19", "--no-lldbinit", "--batch", "-o", "gdb-remote " + line->substr(line->rfind(' ') + 1), "-o",
           "script exec(open('" + script + "').read())"},
          120s, {}, options);
  const auto shown = stacks_in(lldb.out);
  const auto stacks = stacks_of_sleeping_tasks();
  // aarch64's 7.x ends the chain of frames there (a preempted task has such a one); what follows is in the registers.
  const auto to_interrupt = stacks_of_sleeping_tasks(true);
  size_t whole = 0;
  for (auto [pid, frames] : stacks) {
    const auto found = shown.find(pid);
    ASSERT_NE(found, shown.end()) << pid << "\n" << lldb.out;
    whole += found->second == frames ? 1 : 0;
    if (GetParam().series[0] == '7' && found->second == to_interrupt.at(pid)) continue;
    if (found->second != frames && !frames.empty()) frames.pop_back();
    EXPECT_EQ(found->second, frames) << "PID " << pid;
  }
  EXPECT_GT(stacks.size(), 20u);
  // Most stacks of 6.1 and later on aarch64 have no such frame; of 5.10 most have one.
  const bool has_few =
      std::string_view(GetParam().machine) == "aarch64" && !std::string_view(GetParam().series).starts_with("5.10");
  EXPECT_GE(whole, has_few ? stacks.size() / 2 : 0);
}

/// `guest scripts` loads scripts/gdb of a kernel's sources. Here are some that stand for them
/// (tests/long/kernel-scripts has the real ones): they say what they were told in place of the kernel's build.
TEST_P(LinuxThreads, KernelsOwnScriptsGetWhatABuildWouldTellThem) {
  TempDir sources;
  std::filesystem::create_directories(sources.path("scripts/gdb/linux"));
  sources.write("scripts/gdb/linux/__init__.py", "");
  sources.write("scripts/gdb/linux/cpus.py",
                "def get_current_cpu():\n    return 'of a thread that counts otherwise'\n");
  sources.write("scripts/gdb/linux/constants.py.in", R"(#define LX_VALUE(x) LX_##x = x
<!-- end-c-headers -->
LX_VALUE(SB_RDONLY)
LX_GDBPARSED(IRQD_LEVEL)
LX_VALUE(NR_CPUS)
LX_CONFIG(CONFIG_SMP)
if IS_BUILTIN(CONFIG_ARM64):
    LX_CONFIG(CONFIG_ARM64)
LX_CONFIG(CONFIG_PAGE_SHIFT)
LX_VALUE(MAPLE_RANGE64_SLOTS)
LX_CONFIG(CONFIG_OF_WHICH_NOTHING_TELLS)
)");
  sources.write("scripts/gdb/vmlinux-gdb.py", R"(import os
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)) + "/scripts/gdb")
import linux.constants
import linux.cpus
class Says(gdb.Command):
    def __init__(self):
        super().__init__("lx-says", gdb.COMMAND_DATA)
    def invoke(self, argument, from_tty):
        for name in ("SB_RDONLY", "IRQD_LEVEL", "NR_CPUS", "CONFIG_SMP", "CONFIG_ARM64", "CONFIG_PAGE_SHIFT"):
            print(name, int(getattr(linux.constants, "LX_" + name)))
        slots = linux.constants.LX_MAPLE_RANGE64_SLOTS  # of an array in a union without a name
        print("slots", slots if isinstance(slots, int) else "unknown")
        for thread in gdb.selected_inferior().threads():
            thread.switch()
            try:
                print(thread.name, "is CPU", linux.cpus.get_current_cpu())
            except gdb.GdbError as error:
                print(error)
        print(linux.constants.LX_CONFIG_OF_WHICH_NOTHING_TELLS + 1)
Says()
)");
  const auto session = gdb({"source " + build_dir() + "/share/gcore/gdb/guest.py", "guest scripts " + sources.path(),
                            "lx-says", "guest scripts " + sources.path("scripts"), "guest scripts"});
  const bool arm = GetParam().machine == std::string("aarch64");
  // Debian's arm64 kernels before 6.12 have names of functions only.
  const std::string series = GetParam().series;
  if (arm && (series == "6.1." || series == "5.10.")) {
    EXPECT_THAT(session.of[2], HasSubstr("guest scripts: gdb knows no variable init_task: "));
    return;
  }
  EXPECT_EQ(session.of[2], "");
  const std::string kernel = GetParam().kernel;
  const bool other = kernel.ends_with("k") || (series != "6.1." && series != "6.12.");
  const std::string cpus = other ? "[0-9]+" : arm ? "512" : "8192";
  const std::string page_shift = kernel.ends_with("-16k") ? "14" : kernel.ends_with("-64k") ? "16" : "12";
  EXPECT_THAT(session.of[3],
              testing::ContainsRegex("SB_RDONLY 1\nIRQD_LEVEL 8192\nNR_CPUS " + cpus + "\nCONFIG_SMP 1\nCONFIG_ARM64 " +
                                     (arm ? "1" : "0") + "\nCONFIG_PAGE_SHIFT " + page_shift + "\n"));
  EXPECT_THAT(session.of[3], HasSubstr(series == "5.10." ? "\nslots unknown\n" : "\nslots 16\n"));
  const Regex line("vCPU ([0-9]+) [^\n]*is CPU ([0-9]+)\n");
  size_t vcpus = 0;
  for (const RegexMatch& vcpu : regex_search_all(session.of[3], line)) {
    ++vcpus;
    EXPECT_EQ(vcpu[1], vcpu[2]);
  }
  EXPECT_EQ(vcpus, 2u) << session.of[3];
  EXPECT_THAT(session.of[3], HasSubstr("\nthe selected thread is no vCPU: say which CPU, as in $lx_current(0)\n"));
  EXPECT_THAT(session.of[3], HasSubstr("CONFIG_OF_WHICH_NOTHING_TELLS is not known: it comes from the kernel's build"));
  EXPECT_THAT(session.of[3], Not(HasSubstr("Python Exception")));
  EXPECT_THAT(session.of[4], HasSubstr("/scripts has no vmlinux-gdb.py: give scripts/gdb of the kernel's sources"));
  EXPECT_THAT(session.of[5], HasSubstr("guest scripts: which directory?"));
}

/// Debian 12's own kernels; where others are asked for, all of them (tests/long/linux-kernels).
INSTANTIATE_TEST_SUITE_P(Machines, LinuxThreads,
                         testing::ValuesIn(std::getenv("GCORE_TEST_KERNELS") != nullptr
                                               ? kGuests
                                               : std::vector<Guest>{kGuests[0], kGuests[2]}),
                         guest_name);

}  // namespace
}  // namespace gcore::tests
