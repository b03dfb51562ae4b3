// The symbol file that --write-symbols makes, judged by those who read it: LLVM's verifier, readelf, gdb.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <sstream>
#include <utility>

#include "reader/guest/guest.h"
#include "reader/guest/linux/kernel.h"
#include "tests/reader_linux/guests.h"
#include "tests/reader_linux/kallsyms.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/regex.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using testing::Not;

/// readelf shows the control characters that names of assembler's labels have: "^B" is 2.
std::string without_carets(const std::string& shown) {
  std::string name;
  for (size_t i = 0; i < shown.size(); i++)
    name += shown[i] == '^' && i + 1 < shown.size() ? static_cast<char>(shown[++i] - 0x40) : shown[i];
  return name;
}

struct Frame {
  uint64_t address = 0;
  std::string name;  // "<signal handler called>" has no address
};

/// The stacks of the vCPUs in kernel mode, in what gdb says to "thread apply all bt".
std::vector<std::vector<Frame>> kernel_stacks(const std::string& said) {
  static const Regex kFrame(R"(#[0-9]+ +(?:0x([0-9a-f]+) in )?(<signal handler called>|[^ ]+).*)");
  std::vector<std::vector<Frame>> stacks;
  std::istringstream lines(said);
  bool wanted = false;
  for (std::string line; std::getline(lines, line);) {
    RegexMatch frame;
    if (line.starts_with("Thread ")) {
      wanted = line.find("[kernel") != std::string::npos;
      if (wanted) stacks.emplace_back();
    } else if (wanted && regex_match(line, frame, kFrame)) {
      stacks.back().push_back({!frame[1].empty() ? std::stoull(frame[1], nullptr, 16) : 0, frame[2]});
    }
  }
  return stacks;
}

/// Where code is by which the kernel is entered and left, by what the guest said; nowhere where it has no names for it.
std::pair<uint64_t, uint64_t> entry_code(const LinuxOracle& oracle) {
  std::pair<uint64_t, uint64_t> range{};
  for (const KnownSymbol& symbol : parse_kallsyms(oracle.said("/proc/kallsyms"))) {
    if (symbol.name == "__entry_text_start") range.first = symbol.address;
    if (symbol.name == "__entry_text_end") range.second = symbol.address;
  }
  return range;
}

/// Wherever the vCPU was, its stack goes right down: to where the vCPU or the thread was started, to user mode, or to
/// instructions of the entry code that have no stack yet, or none any more.
void expect_whole(const std::vector<Frame>& stack, const std::pair<uint64_t, uint64_t>& entry_code) {
  static const Regex kEnds(
      "(common|secondary)_startup_64.*|x86_64_start_kernel|ret_from_fork.*|__(primary|secondary)_switched");
  std::string text;
  for (const Frame& frame : stack) text += frame.name + '\n';
  ASSERT_FALSE(stack.empty());
  // aarch64: in the entry code itself, which may not yet have stored, or have taken back, the registers.
  if (stack[0].name == "<signal handler called>" || stack[0].name == "vectors") return;
  for (size_t i = 0; i < stack.size(); i++) {
    const bool is_user = i > 0 && stack[i - 1].name == "<signal handler called>" && stack[i].address < 1ULL << 47;
    if (is_user && stack[i].name != "<signal handler called>") return;
    EXPECT_NE(stack[i].name, "??") << "frame " << i << " of\n" << text;
  }
  if (stack.size() == 1 && stack[0].address >= entry_code.first && stack[0].address < entry_code.second) return;
  EXPECT_TRUE(regex_match(stack.back().name, kEnds)) << text;
}

class SymbolFileOfGuest : public testing::TestWithParam<Guest> {
 protected:
  void SetUp() override {
    const Completed written = run({program("gcore-inspect"), oracle_.dump(), "--write-symbols", file_}, 120s);
    ASSERT_EQ(written.status, (ExitStatus{0, 0})) << written.err;
    EXPECT_THAT(written.out, HasSubstr(" symbols, "));
    EXPECT_THAT(written.err, Not(HasSubstr("BTF"))) << "a kernel's types are sound";
    has_data_ = oracle_.said("/proc/kallsyms").find(" init_task\n") != std::string::npos;
    EXPECT_EQ(written.err.find("no variables") == std::string::npos, has_data_) << written.err;
  }

  bool is_x86() const { return std::string_view(GetParam().machine) == "x86_64"; }

  /// What gdb prints for each of the commands; `target` before them.
  std::string gdb(std::vector<std::string> commands) const {
    std::vector<std::string> argv{is_x86() ? "gdb" : "gdb-multiarch",
                                  "-nx",
                                  "-batch",
                                  "-ex",
                                  "set pagination off",
                                  "-ex",
                                  "set print null-stop on"};
    for (std::string& command : commands) argv.insert(argv.end(), {"-ex", std::move(command)});
    argv.push_back(file_);
    const Completed done = run(std::move(argv), 300s);
    EXPECT_EQ(done.status, (ExitStatus{0, 0}));
    return done.out + done.err;
  }

  const LinuxOracle& oracle_ = linux_oracle(GetParam().recipe());
  TempDir folder_;
  const std::string file_ = folder_.path("symbols");
  bool has_data_ = false;
};

/// Of one guest: the verifier takes a minute for each. tests/long/symbol-files has them all verified.
class VerifiedSymbolFile : public SymbolFileOfGuest {};

TEST_P(VerifiedSymbolFile, IsSoundDwarf) {
  const Completed done = run({"llvm-dwarfdump-19", "--verify", file_}, 300s);
  EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.out.substr(0, 4000);
  EXPECT_THAT(done.out, HasSubstr("No errors."));
}

TEST_P(SymbolFileOfGuest, HasAllNamesAndTheBuildId) {
  const Completed symbols = run({"readelf", "-sW", file_}, 120s);
  EXPECT_EQ(symbols.err, "");
  std::multiset<std::pair<std::string, uint64_t>> found, said;
  std::istringstream lines(symbols.out);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string number, value, size, type, binding, visibility, section, name;
    if (!(words >> number >> value >> size >> type >> binding >> visibility >> section >> name)) continue;
    if (number != "Num:") found.emplace(without_carets(name), std::stoull(value, nullptr, 16));
  }
  for (const KnownSymbol& symbol : parse_kallsyms(oracle_.said("/proc/kallsyms")))
    said.emplace(symbol.name, symbol.address);
  EXPECT_EQ(found.size(), said.size());
  EXPECT_EQ(found, said);
  const auto dump = open_dump(oracle_);
  RegexMatch id;
  const std::string info(reader::Guest(*dump).system().vmcoreinfo);
  ASSERT_TRUE(regex_search(info, id, Regex("BUILD-ID=([0-9a-f]+)")));
  EXPECT_THAT(run({"readelf", "-nW", file_}, 60s).out, HasSubstr("Build ID: " + id[1]));
}

TEST_P(SymbolFileOfGuest, GivesGdbTypesAndFunctions) {
  const std::string said =
      gdb({"ptype struct list_head", "whatis schedule", "print sizeof(struct page)", "print (int)PIDTYPE_SID",
           "print &((struct module *)0)->name", "whatis fw_cfg_sysfs_probe"});
  EXPECT_THAT(said, HasSubstr("struct list_head *next;\n    struct list_head *prev;"));
  EXPECT_THAT(said, HasSubstr("type = void (void)"));
  EXPECT_THAT(said, HasSubstr("$1 = 64\n"));
  EXPECT_THAT(said, HasSubstr("$2 = 3\n"));
  EXPECT_THAT(said, HasSubstr("(char (*)[56]) 0x18"));
  EXPECT_THAT(said, HasSubstr(GetParam().has_module_types() ? "type = int (struct platform_device *)"
                                                            : "type = <text variable, no debug info>"));
  EXPECT_THAT(said, Not(HasSubstr("warning")));
}

TEST_P(SymbolFileOfGuest, GivesGdbVariablesAndStacks) {
  const std::string serve = "target remote | " + program("gcore-serve") + " --stdio " + oracle_.dump();
  const std::string said = gdb({serve, "print init_task.comm", "print init_uts_ns.name.release",
                                "print prb->desc_ring.count_bits", "thread apply all bt"});
  if (has_data_) {
    EXPECT_THAT(said, HasSubstr("= \"swapper/0\""));
    EXPECT_THAT(said, HasSubstr('"' + oracle_.release() + '"'));
    EXPECT_THAT(said, testing::ContainsRegex("\\$3 = [0-9]+\n"));
  }
  const auto stacks = kernel_stacks(said);
  for (const char* vcpu : {"\"vCPU 0 [", "\"vCPU 1 ["}) EXPECT_THAT(said, HasSubstr(vcpu));
  const auto entries = entry_code(oracle_);
  for (const auto& stack : stacks) expect_whole(stack, entries);
}

/// What the processor was at when an exception came is all in struct pt_regs, which is at sp.
TEST_P(SymbolFileOfGuest, UnwindsExceptionsOfAarch64) {
  if (is_x86()) return;
  const std::string frames = run({"readelf", "--debug-dump=frames", file_}, 120s).out;
  EXPECT_THAT(frames, testing::ContainsRegex("r30 .*at cfa\\+240\n"));
  EXPECT_THAT(frames, testing::ContainsRegex("r31 .*at cfa\\+248\n"));
  EXPECT_THAT(frames, testing::ContainsRegex("r32 .*at cfa\\+256\n"));
  size_t found = 0;
  std::set<std::string> seen;
  const Regex entry(std::string(GetParam().series) == "5.10." ? "el1_(sync|irq|error)" : "el1h_64_[a-z]+");
  for (const KnownSymbol& symbol : parse_kallsyms(oracle_.said("/proc/kallsyms"))) {
    // Of one name the first: 5.10 has others of these, of the code that enters a hypervisor.
    if (!regex_match(symbol.name, entry) || !seen.insert(symbol.name).second) continue;
    std::ostringstream start;
    start << " pc=" << std::hex << symbol.address << "..";
    EXPECT_THAT(frames, HasSubstr(start.str())) << symbol.name;
    found++;
  }
  EXPECT_GE(found, 3U);
  // And straight before that, in the table of vectors.
  for (const KnownSymbol& symbol : parse_kallsyms(oracle_.said("/proc/kallsyms"))) {
    if (symbol.name != "vectors") continue;
    std::ostringstream kernels, others;
    kernels << " pc=" << std::hex << symbol.address << ".." << symbol.address + 0x400 << "\n";
    others << " pc=" << std::hex << symbol.address + 0x400 << "..";
    EXPECT_THAT(frames, HasSubstr(kernels.str()));
    EXPECT_THAT(frames, HasSubstr(others.str()));
  }
}

/// gdb ends a stack whose outer frame lies below its inner one, unless one of both is a signal's: where the kernel goes
/// over to the stack of interrupts, the task's stack may be below that.
TEST_P(SymbolFileOfGuest, GoesOnWhereTheStackChanges) {
  const std::string frames = run({"readelf", "--debug-dump=frames", file_}, 120s).out;
  const auto starting_with = [&](const std::string& start) {
    const size_t at = frames.find(start);
    return at == std::string::npos ? "" : frames.substr(at, frames.find("\n\n", at) - at);
  };
  const auto fde_of = [&](const std::string& name) {
    for (const KnownSymbol& symbol : parse_kallsyms(oracle_.said("/proc/kallsyms"))) {
      std::ostringstream start;
      start << " pc=" << std::hex << symbol.address << "..";
      if (symbol.name == name) return starting_with(start.str());
    }
    return std::string();
  };
  const bool is_old = std::string(GetParam().series) == "5.10.";
  if (is_x86() && is_old) {  // the function that goes over to another stack keeps its frame in rbp
    EXPECT_THAT(fde_of("asm_call_on_stack"), HasSubstr("DW_CFA_def_cfa: r6 (rbp) ofs 16"));
  } else if (is_x86()) {
    // Between it and its caller, which is a signal's, no frame is compared: its own is where sp is.
    const std::string handler = fde_of("sysvec_apic_timer_interrupt");
    EXPECT_THAT(handler, HasSubstr("DW_CFA_val_expression: r7 (rsp) (DW_OP_breg7 (rsp): 0; DW_OP_deref; DW_OP_consts"));
    EXPECT_THAT(handler, HasSubstr("DW_CFA_expression: r16 (rip) (DW_OP_breg7 (rsp): 0; DW_OP_deref; DW_OP_consts"));
    EXPECT_THAT(handler, Not(HasSubstr("DW_CFA_def_cfa_expression")));
  } else if (!is_old) {
    const std::string function = fde_of("call_on_irq_stack");
    ASSERT_NE(function, "");
    RegexMatch cie;
    const std::string line = frames.substr(frames.rfind('\n', frames.find(function)) + 1, 100);
    ASSERT_TRUE(regex_search(line, cie, Regex("FDE cie=([0-9a-f]+) "))) << line;
    EXPECT_THAT(starting_with("\n" + cie[1] + " "), HasSubstr("Augmentation:          \"S\""));
  }
}

INSTANTIATE_TEST_SUITE_P(One, VerifiedSymbolFile, testing::Values(kGuests[0]), guest_name);
INSTANTIATE_TEST_SUITE_P(Each, SymbolFileOfGuest, testing::ValuesIn(kGuests), guest_name);

class WriteSymbols : public testing::Test {
 protected:
  const LinuxOracle& oracle_ = linux_oracle(kGuests[0].recipe());
  TempDir folder_;
};

TEST_F(WriteSymbols, ReplacesOnlyItsOwn) {
  const std::string text = folder_.write("letter", "dear all");
  const Completed refused = run({program("gcore-inspect"), oracle_.dump(), "--write-symbols", text}, 60s);
  EXPECT_EQ(refused.status.code, 1);
  EXPECT_THAT(refused.err, HasSubstr("is no symbol file, so it is not replaced"));
  EXPECT_EQ(read_file(text), "dear all");
  const Completed dump = run({program("gcore-inspect"), oracle_.dump(), "--write-symbols", oracle_.dump()}, 60s);
  EXPECT_EQ(dump.status.code, 1);
  const std::string file = folder_.path("file");
  for (int i = 0; i < 2; i++)
    EXPECT_EQ(run({program("gcore-inspect"), oracle_.dump(), "--write-symbols", file}, 60s).status.code, 0);
  EXPECT_EQ(folder_.entries(), (std::vector<std::string>{"file", "letter"}));
  EXPECT_EQ(run({program("gcore-inspect"), oracle_.dump(), "--contents"}, 60s).status.code, 2);
}

TEST_F(WriteSymbols, WithContentsHasTheKernelsText) {
  const std::string file = folder_.path("file");
  ASSERT_EQ(run({program("gcore-inspect"), oracle_.dump(), "--write-symbols", file, "--contents"}, 60s).status.code, 0);
  const Completed text = run({"gdb", "-nx", "-batch", "-ex", "x/s linux_banner", file}, 60s);
  EXPECT_THAT(text.out, HasSubstr("\"Linux version " + oracle_.release()));
}

/// A dump whose notes drgn and crash understand, and a file with the addresses that they then expect.
class OtherTools : public WriteSymbols {
 protected:
  void SetUp() override {
    const Completed converted =
        run({program("gcore-convert"), oracle_.dump(), dump_, "--dialect", "vmcore", "--pids", "tasks"}, 120s);
    ASSERT_EQ(converted.status.code, 0) << converted.err;
    const Completed written = run(
        {program("gcore-inspect"), oracle_.dump(), "--write-symbols", file_, "--contents", "--link-addresses"}, 120s);
    ASSERT_EQ(written.status.code, 0) << written.err;
  }

  /// What gcore-inspect says of the functions on the vCPUs' stacks.
  std::vector<std::string> functions_of_vcpus() const {
    const Completed shown = run({program("gcore-inspect"), oracle_.dump(), "--backtrace"}, 60s);
    std::vector<std::string> names;
    static const Regex kFrame(R"( +#\d+ +0x[0-9a-f]+  ([^+ ]+)\+.*)");
    std::istringstream lines(shown.out);
    RegexMatch frame;
    for (std::string line; std::getline(lines, line);)
      if (regex_match(line, frame, kFrame)) names.push_back(frame[1]);
    return names;
  }

  const std::string dump_ = folder_.path("vmcore"), file_ = folder_.path("symbols");
};

TEST_F(OtherTools, DrgnListsAllTasksAndTheirStacks) {
  const std::string script = folder_.write("tasks.py", R"(
from drgn.helpers.linux.pid import for_each_task
for task in for_each_task(prog):
    print("task", task.pid.value_(), task.comm.string_().decode())
    pcs = []
    for frame in prog.stack_trace(task):
        try:
            pcs.append(hex(frame.pc))
        except LookupError:  # beyond the outermost frame
            break
    print("stack", task.pid.value_(), *pcs)
    if task.comm.string_() == b"rcu_gp":
        print(prog.stack_trace(task))
)");
  const Completed drgn = run({"drgn", "-q", "--no-default-symbols", "-c", dump_, "-s", file_, script}, 120s);
  ASSERT_EQ(drgn.status.code, 0) << drgn.err;
  const auto dump = reader::Dump::open(oracle_.dump());
  ASSERT_TRUE(dump);
  const reader::Guest guest(**dump);
  const auto kernel = reader::linux_guest::Kernel::find(**dump, guest.system(reader::GuestSearch::thorough));
  ASSERT_TRUE(kernel);
  size_t count = 0;
  ASSERT_TRUE((*kernel)->tasks());
  for (const auto& task : (*kernel)->tasks()->list) {
    if (task.pid == 0 || !task.is_process()) continue;
    ++count;
    EXPECT_THAT(drgn.out, HasSubstr("task " + std::to_string(task.pid) + " " + task.name + "\n"));
  }
  EXPECT_GT(count, 40u);
  const auto converted = reader::Dump::open(dump_);
  ASSERT_TRUE(converted);
  for (const auto& cpu : (*converted)->cpus()) EXPECT_EQ(cpu.number, cpu.index) << "its notes have PIDs";
  // Those that run have their vCPU's registers, also where a PID is the number of a vCPU; drgn goes on into user mode.
  for (const auto& task : (*kernel)->tasks()->list) {
    if (task.pid == 0 || !task.is_process()) continue;
    const auto stack = (*kernel)->stack_of(task);
    std::ostringstream frames;
    frames << "\nstack " << task.pid << std::hex;
    for (const auto& frame : stack.frames) frames << " 0x" << frame.pc.value;
    if (stack.frames.empty() && stack.user) frames << " 0x" << stack.user->registers.get("rip").value_or(0);
    EXPECT_THAT(drgn.out, HasSubstr(frames.str())) << task.name;
  }
  for (const char* function : {"__schedule", "schedule", "rescuer_thread", "kthread"})
    EXPECT_THAT(drgn.out, testing::ContainsRegex("#[0-9]+ +" + std::string(function)));
}

TEST_F(OtherTools, CrashShowsStacksMessagesModulesAndTypes) {
  const std::string commands =
      folder_.write("commands", "set scroll off\nsys\nbt -a\nlog\nmod\nstruct list_head\nquit\n");
  const Completed crash = run({"crash", "-s", "-i", commands, file_, dump_}, 240s);
  EXPECT_THAT(crash.out, HasSubstr("RELEASE: " + oracle_.release())) << crash.err;
  EXPECT_THAT(crash.out, HasSubstr("Linux version " + oracle_.release()));
  EXPECT_THAT(crash.out, HasSubstr("struct list_head *prev;"));
  EXPECT_THAT(crash.out, HasSubstr("virtio_pci"));
  // Whom the vCPUs run, and of their functions some at least, where they are in the kernel: how far crash comes depends
  // on what they did at that moment. (With page tables of five levels its release 8.0.2 knows no other tasks;
  // tests/long/crash-frames compares those.)
  for (const char* cpu : {"CPU: 0    COMMAND: ", "CPU: 1    COMMAND: "}) EXPECT_THAT(crash.out, HasSubstr(cpu));
  std::set<std::string> found;
  const std::vector<std::string> functions = functions_of_vcpus();
  for (const std::string& function : functions)
    if (crash.out.find("] " + function + " at ") != std::string::npos) found.insert(function);
  EXPECT_EQ(found.empty(), functions.empty()) << crash.out;
}

}  // namespace
}  // namespace gcore::tests
