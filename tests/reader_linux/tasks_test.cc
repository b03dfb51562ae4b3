// Tasks, their stacks and their memory, compared with what the guests said of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <sstream>
#include <string_view>

#include "reader/guest/guest.h"
#include "reader/guest/linux/kernel.h"
#include "tests/reader_linux/guests.h"
#include "tests/reader_linux/known_tasks.h"
#include "tests/reader_linux/opened.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using reader::VirtAddr;
using reader::linux_guest::Kernel;
using reader::linux_guest::Stack;
using reader::linux_guest::Task;

class TasksOfGuest : public testing::TestWithParam<Guest> {
 protected:
  void SetUp() override {
    oracle_ = &linux_oracle(GetParam().recipe());
    said_ = known_tasks(*oracle_);
    ASSERT_GT(said_.size(), 40U);
    auto dump = reader::Dump::open(oracle_->dump());
    ASSERT_TRUE(dump) << dump.error().text;
    dump_ = std::move(*dump);
    guest_ = std::make_unique<reader::Guest>(*dump_);
    auto kernel = Kernel::find(*dump_, guest_->system());
    ASSERT_TRUE(kernel) << kernel.error().text;
    kernel_ = std::move(*kernel);
    ASSERT_TRUE(kernel_->tasks()) << kernel_->tasks().error().text;
    for (const Task& task : kernel_->tasks()->list) tasks_[task.pid] = &task;
  }

  /// Those that have not run since the guest spoke of them: all of it must be as it said.
  std::vector<std::pair<const KnownTask*, const Task*>> unchanged() const {
    std::vector<std::pair<const KnownTask*, const Task*>> pairs;
    for (const auto& [pid, known] : said_) {
      const auto found = tasks_.find(pid);
      if (found != tasks_.end() && !found->second->running_on && found->second->switches == known.switches)
        pairs.emplace_back(&known, found->second);
    }
    return pairs;
  }

  /// The process that asked, once it has said all: it has no memory any more, or loses it just now.
  bool may_have_ended(const Task& task) const {
    const auto known = said_.find(task.pid);
    return known != said_.end() && known->second.asked;
  }

  bool is_in(VirtAddr pc, const char* start, const char* end) const {
    const auto from = kernel_->address_of(start), to = kernel_->address_of(end);
    return from && to && pc >= *from && pc < *to;
  }

  /// As /proc/PID/stack shows it: without the scheduler's functions.
  std::vector<std::string> as_proc_shows(const Stack& stack) const {
    std::vector<std::string> lines;
    for (const auto& frame : stack.frames)
      if (!is_in(frame.pc, "__sched_text_start", "__sched_text_end") &&
          !is_in(frame.pc, "__lock_text_start", "__lock_text_end"))
        lines.push_back(frame.place ? frame.place->text() : "??");
    return lines;
  }

  const LinuxOracle* oracle_ = nullptr;
  std::map<int, KnownTask> said_;
  std::map<int, const Task*> tasks_;
  std::unique_ptr<reader::Dump> dump_;
  std::unique_ptr<reader::Guest> guest_;
  std::unique_ptr<Kernel> kernel_;
};

TEST_P(TasksOfGuest, AreThoseOfProc) {
  EXPECT_THAT(kernel_->tasks()->problems, testing::IsEmpty());
  std::set<int> missing;
  for (const auto& [pid, known] : said_)
    if (!tasks_.contains(pid) && !known.asked && known.name != "sh" && known.name != "cat" &&
        !known.name.starts_with("kworker"))
      missing.insert(pid);
  EXPECT_THAT(missing, testing::IsEmpty());
  for (const auto& [pid, known] : said_) {
    const auto found = tasks_.find(pid);
    if (found == tasks_.end()) continue;
    const Task& task = *found->second;
    EXPECT_EQ(task.tgid, known.tgid);
    // Of kernel threads proc shows longer names, which are kept elsewhere.
    if (known.name != "sh" && !known.name.starts_with("kworker")) {
      EXPECT_EQ(task.name, known.name.substr(0, 15)) << pid;
    }
    if (!known.parent_asked || tasks_.contains(known.parent)) {
      EXPECT_THAT(task.parent, testing::AnyOf(known.parent, known.parent_asked ? 1 : known.parent)) << pid;
    } else {
      EXPECT_EQ(task.parent, 1) << pid;  // whom children of a process that has ended belong to
    }
    if (may_have_ended(task)) continue;
    EXPECT_EQ(task.is_kernel_thread, !known.has_memory && known.state != 'Z') << pid;
  }
}

/// A dump's memory and nothing else.
class MemoryOf final : public reader::Source {
 public:
  explicit MemoryOf(const reader::Dump& dump) : dump_(dump) {
    const auto& largest = *std::ranges::max_element(dump.segments(), {}, &reader::Segment::memory_size);
    size_ = largest.address.value + largest.memory_size - start().value;
  }
  reader::PhysAddr start() const { return dump_.segments().front().address; }
  uint64_t size() const override { return size_; }
  Result read(reader::FileOffset offset, std::span<std::byte> into) const override {
    Result result;
    const size_t size = std::min<uint64_t>(into.size(), size_ - std::min(offset.value, size_));
    while (result.bytes < size) {
      const auto rest = into.first(size).subspan(result.bytes);
      const size_t got = dump_.read(start() + offset.value + result.bytes, rest).bytes;
      if (got == 0) rest[0] = std::byte{0};
      result.bytes += std::max<size_t>(got, 1);
    }
    return result;
  }

 private:
  const reader::Dump& dump_;
  uint64_t size_ = 0;
};

// Registers that a task had when it was last taken off a CPU say nothing of where it is when it runs.
TEST_P(TasksOfGuest, AreKnownToRunWithoutRegisters) {
  auto source = std::make_unique<MemoryOf>(*dump_);
  const reader::OpenOptions options{.progress = nullptr, .raw = reader::RawMemory{dump_->machine(), source->start()}};
  const auto bare = reader::Dump::open_source(std::move(source), "memory", options);
  ASSERT_TRUE(bare) << bare.error().text;
  const reader::Guest guest(**bare);
  const auto kernel = Kernel::find(**bare, guest.system());
  ASSERT_TRUE(kernel) << kernel.error().text;
  ASSERT_TRUE((*kernel)->tasks()) << (*kernel)->tasks().error().text;
  std::set<uint64_t> known_to_run;
  for (const auto* list : {&(*kernel)->tasks()->list, &(*kernel)->tasks()->idle})
    for (const Task& task : *list) {
      EXPECT_FALSE(task.running_on);
      if (!task.runs_unseen) continue;
      known_to_run.insert(task.address.value);
      EXPECT_THAT((*kernel)->stack_of(task).frames, testing::IsEmpty());
    }
  EXPECT_EQ(known_to_run.size(), dump_->cpus().size());
  size_t others = 0;
  for (size_t vcpu = 0; vcpu < dump_->cpus().size(); ++vcpu) {
    const auto current = kernel_->current_task(vcpu);
    ASSERT_TRUE(current) << vcpu;
    if (known_to_run.erase(current->value) != 0) continue;
    // The runqueue has the next task some time before the CPU goes over to it.
    ++others;
    const auto frames = kernel_->stack_of_cpu(vcpu).frames;
    EXPECT_TRUE(std::ranges::any_of(frames, [](const auto& frame) {
      return frame.place && frame.place->symbol.name == "__schedule";
    })) << vcpu;
  }
  EXPECT_EQ(known_to_run.size(), others);
}

TEST_P(TasksOfGuest, HaveTheStatesOfProc) {
  const auto pairs = unchanged();
  EXPECT_GT(pairs.size(), 30U);
  size_t woken = 0;  // since, and not yet running
  for (const auto& [known, task] : pairs) {
    if (task->state == 'R' && std::string_view("SDI").contains(known->state)) {
      ++woken;
      continue;
    }
    EXPECT_EQ(task->state, known->state) << known->pid << " " << known->name;
  }
  EXPECT_LE(woken, pairs.size() / 4);
}

TEST_P(TasksOfGuest, HaveTheStacksOfProc) {
  size_t frames = 0;
  for (const auto& [known, task] : unchanged()) {
    const Stack stack = kernel_->stack_of(*task);
    EXPECT_TRUE(stack.complete) << known->pid << " " << stack.why_ended;
    EXPECT_EQ(as_proc_shows(stack), known->stack) << known->pid << " " << known->name;
    for (const auto& frame : stack.frames) EXPECT_FALSE(frame.is_guess) << known->pid;
    frames += stack.frames.size();
  }
  EXPECT_GT(frames, 100U);
}

/// "7 0x3 0x7ffd... 0x... 0x7fff12345678 0x7f1234567890": the number, six arguments, sp and pc.
TEST_P(TasksOfGuest, HaveTheUserRegistersOfProc) {
  const bool x86 = dump_->machine() == format::Machine::x86_64;
  size_t compared = 0;
  for (const auto& [known, task] : unchanged()) {
    std::vector<std::string> words;
    std::istringstream in(known->syscall);
    for (std::string word; in >> word;) words.push_back(word);
    const auto registers = kernel_->user_registers(*task);
    if (!known->has_memory) {
      EXPECT_FALSE(registers) << known->pid;
      continue;  // of some kernel threads proc shows zeros
    }
    if (words.size() != 9) continue;
    ASSERT_TRUE(registers) << known->pid << " " << known->name;
    EXPECT_EQ(registers->get(x86 ? "rsp" : "sp"), std::stoull(words[7], nullptr, 16)) << known->pid;
    EXPECT_EQ(registers->get(x86 ? "rip" : "elr"), std::stoull(words[8], nullptr, 16)) << known->pid;
    EXPECT_EQ(kernel_->stack_of(*task).user->registers.get(x86 ? "rip" : "elr"), registers->get(x86 ? "rip" : "elr"));
    ++compared;
  }
  EXPECT_GE(compared, 1U);
}

TEST_P(TasksOfGuest, HaveTheAreasOfProc) {
  size_t compared = 0, pathless = 0, deleted = 0;
  for (const auto& [pid, task] : tasks_) {
    if (may_have_ended(*task)) continue;
    const std::string name = "/proc/" + std::to_string(pid) + "/maps";
    if (!std::ranges::count(oracle_->names(), name) || oracle_->said(name).empty()) continue;
    std::vector<std::string> said;
    for (const std::string& line : lines_of(oracle_->said(name)))
      if (!line.empty() && !line.ends_with("[vsyscall]")) said.push_back(line);  // belongs to no process
    const auto areas = kernel_->areas_of(*task);
    ASSERT_TRUE(areas) << areas.error().text;
    ASSERT_EQ(areas->size(), said.size()) << name;
    for (size_t i = 0; i < said.size(); i++) {
      const auto& area = (*areas)[i];
      std::istringstream words(said[i]);  // "00400000-00401000 r--p 00000000 00:02 15      /bin/busybox"
      std::string range, permissions, offset, device, inode, file;
      words >> range >> permissions >> offset >> device >> inode;
      std::getline(words >> std::ws, file);
      pathless += file.starts_with("/SYSV") ? 1 : 0;
      deleted += file == "/tmp/busybox is gone (deleted)" ? 1 : 0;
      EXPECT_EQ(area.start.value, std::stoull(range, nullptr, 16)) << said[i];
      EXPECT_EQ(area.end.value, std::stoull(range.substr(range.find('-') + 1), nullptr, 16)) << said[i];
      EXPECT_EQ(area.permissions, permissions) << said[i];
      EXPECT_EQ(area.file_offset, std::stoull(offset, nullptr, 16)) << said[i];
      EXPECT_EQ(area.file, file) << said[i];
    }
    ++compared;
  }
  EXPECT_GE(compared, 1U);
  EXPECT_GE(pathless, 1U);
  EXPECT_GE(deleted, 1U);
}

TEST_P(TasksOfGuest, HaveTheCommandLinesOfProc) {
  size_t compared = 0;
  for (const auto& [pid, task] : tasks_) {
    if (may_have_ended(*task)) continue;
    const std::string name = "/proc/" + std::to_string(pid) + "/cmdline";
    if (!std::ranges::count(oracle_->names(), name)) continue;
    std::string said = oracle_->said(name);
    std::ranges::replace(said, '\0', ' ');
    said.erase(said.find_last_not_of(" \n") + 1);
    if (task->name == "sh" && said != task->command_line) continue;  // a shell that has become something else since
    EXPECT_EQ(task->command_line, said) << pid;
    compared += said.empty() ? 0 : 1;
  }
  EXPECT_GE(compared, 1U);
}

/// Code that runs for its task, in a system call, in a fault or in a kernel thread, says that the task sleeps or ends
/// some time before the CPU leaves it. In user mode, or interrupted there, no task has said so.
bool may_be_about_to_sleep(const Stack& stack) {
  static const std::set<std::string_view> kForTask = {"do_syscall_64", "exc_page_fault", "el0_svc",
                                                      "el0_da",        "el0_ia",         "kthread"};
  return std::ranges::any_of(
      stack.frames, [](const auto& frame) { return frame.place && kForTask.contains(frame.place->symbol.name); });
}

TEST_P(TasksOfGuest, RunOnTheVcpus) {
  std::set<uint64_t> running;
  for (size_t vcpu = 0; vcpu < dump_->cpus().size(); ++vcpu) {
    const auto address = kernel_->current_task(vcpu);
    ASSERT_TRUE(address) << vcpu;
    EXPECT_TRUE(running.insert(address->value).second) << "two vCPUs run one task";
    const auto task = kernel_->task_at(*address);
    ASSERT_TRUE(task);
    EXPECT_EQ(task->cpu, kernel_->cpu_number(vcpu).value_or(static_cast<uint32_t>(vcpu)));
    const Stack stack = kernel_->stack_of_cpu(vcpu);
    EXPECT_TRUE(stack.complete) << vcpu << ": " << stack.why_ended;
    if (may_be_about_to_sleep(stack)) {
      EXPECT_THAT(task->state, testing::AnyOf('R', 'S', 'D', 'I', 'Z', 'X')) << task->name;
    } else {
      EXPECT_EQ(task->state, 'R') << task->name;
    }
  }
}

class TasksOfX86Guest : public TasksOfGuest {};

/// Indirect calls go through thunks, of which the unwind tables say nothing: at the start the return address is at sp.
TEST_P(TasksOfX86Guest, HaveCompleteStacksAtTheStartOfAThunk) {
  const auto thunk = kernel_->address_of("__x86_indirect_thunk_rax");
  ASSERT_TRUE(thunk);
  size_t compared = 0;
  for (const auto& [pid, task] : tasks_) {
    if (task->running_on) continue;
    const auto sleeping = kernel_->stack_of(*task).frames;
    if (sleeping.size() < 4) continue;
    // As if what the second frame called were the thunk.
    format::RegisterFile registers(format::Machine::x86_64);
    for (const auto& [slot, value] : {std::pair<const char*, std::optional<uint64_t>>{"rip", thunk->value},
                                      {"rsp", sleeping[1].sp.value - 8},
                                      {"rbp", sleeping[1].registers.registers.get("rbp")},
                                      {"rflags", 0x46},
                                      {"cs", 0x10}})
      if (value) {
        EXPECT_TRUE(registers.set(slot, *value)) << slot;
      }
    const Stack stack = reader::linux_guest::unwind(*kernel_, registers);
    ASSERT_EQ(stack.frames.size(), sleeping.size()) << pid << ": " << stack.why_ended;
    EXPECT_TRUE(stack.complete) << pid << ": " << stack.why_ended;
    for (size_t i = 0; i < sleeping.size(); ++i) {
      EXPECT_FALSE(stack.frames[i].is_guess) << pid << ", frame " << i;
      EXPECT_EQ(stack.frames[i].pc, i == 0 ? *thunk : sleeping[i].pc) << pid << ", frame " << i;
    }
    ++compared;
  }
  EXPECT_GT(compared, 20U);
}

class TasksOfAarch64Guest : public TasksOfGuest {
 protected:
  /// Where the kernel's code is mapped a second time: in the fixed mappings, which are the last 16 MiB.
  std::optional<VirtAddr> second_address_of(VirtAddr code) const {
    const auto& space = kernel_->memory().space();
    const auto there = space.translate(code);
    for (uint64_t page = uint64_t{0} - (16 << 20); page != 0 && there; page += 4096)
      if (const auto here = space.translate(VirtAddr(page)); here && here->address == there->address)
        return VirtAddr(page);
    return std::nullopt;
  }
  Stack stack_at(VirtAddr pc, uint64_t x29) const {
    format::RegisterFile registers(format::Machine::aarch64);
    for (const auto& [slot, value] :
         {std::pair<const char*, uint64_t>{"elr", pc.value}, {"pstate", 0x3c5}, {"x29", x29}, {"x30", 0x4f7c10}})
      EXPECT_TRUE(registers.set(slot, value)) << slot;
    return reader::linux_guest::unwind(*kernel_, registers);
  }
};

/// Where registers still are, or again, those of user mode, and nothing is on the stack.
TEST_P(TasksOfAarch64Guest, HaveCompleteStacksInTheEntryCode) {
  for (const auto& [name, offset] : {std::pair{"vectors", 0x400}, {"vectors", 0x480}, {"ret_to_user", 0}}) {
    const auto start = kernel_->address_of(name);
    ASSERT_TRUE(start) << name;
    const Stack stack = stack_at(*start + offset, 0xffffdf974160);
    EXPECT_TRUE(stack.complete) << name << ": " << stack.why_ended;
    EXPECT_EQ(stack.frames.size(), 1U) << name;
  }
}

class TasksOfIsolatingAarch64Guest : public TasksOfAarch64Guest {};

/// With page-table isolation it is mapped a second time, and programs come and go there.
TEST_P(TasksOfIsolatingAarch64Guest, HaveCompleteStacksInTheTrampoline) {
  const auto vectors = kernel_->address_of("tramp_vectors"), back = kernel_->address_of("ret_to_user");
  ASSERT_TRUE(vectors && back);
  const auto trampoline = second_address_of(*vectors);
  ASSERT_TRUE(trampoline);
  constexpr uint64_t kOffset = 0x480;
  for (const auto& [pc, x29] : {std::pair{*trampoline + kOffset, uint64_t{0xffffdf974160}},
                                {*trampoline + kOffset, uint64_t{0}},
                                {*back, trampoline->value}}) {
    const Stack stack = stack_at(pc, x29);
    EXPECT_TRUE(stack.complete) << stack.why_ended;
    ASSERT_EQ(stack.frames.size(), 1U);
    ASSERT_TRUE(stack.frames[0].place);
    EXPECT_THAT(stack.frames[0].place->text(),
                testing::StartsWith(pc == *back ? "ret_to_user+0x0/" : "tramp_vectors+0x480/"));
  }
  EXPECT_FALSE(kernel_->lookup(VirtAddr(uint64_t{0} - 4096)));
}

/// Where SP_EL0 does not say who runs (in the trampoline it is the program's; QEMU's dump has none), the runqueues do:
/// also those of a kernel that was built without groups of tasks, whose tasks do not lead to them.
TEST_P(TasksOfIsolatingAarch64Guest, RunOnTheVcpusOfAKernelWithoutGroups) {
  std::string bytes = read_file(oracle_->dump());
  constexpr std::string_view kName("\0cfs_rq\0", 8);
  for (size_t at = bytes.find(kName); at != std::string::npos; at = bytes.find(kName, at)) bytes[at + 1] = 'C';
  const TempDir folder;
  const Opened other(folder.write("dump", bytes));
  ASSERT_TRUE(kernel_->offset("cfs_rq", "rq"));
  ASSERT_FALSE(other.kernel->offset("cfs_rq", "rq"));
  for (size_t vcpu = 0; vcpu < dump_->cpus().size(); ++vcpu) {
    EXPECT_FALSE(dump_->cpus()[vcpu].registers.get("sp_el0"));
    ASSERT_TRUE(other.kernel->current_task(vcpu)) << vcpu;
    EXPECT_EQ(other.kernel->current_task(vcpu), kernel_->current_task(vcpu)) << vcpu;
  }
}

INSTANTIATE_TEST_SUITE_P(Each, TasksOfGuest, testing::ValuesIn(guests_and_isolating()), guest_name);
INSTANTIATE_TEST_SUITE_P(Each, TasksOfX86Guest, testing::Values(kGuests[0], kGuests[1]), guest_name);
INSTANTIATE_TEST_SUITE_P(Each, TasksOfAarch64Guest, testing::Values(kGuests[2], kGuests[3]), guest_name);
INSTANTIATE_TEST_SUITE_P(One, TasksOfIsolatingAarch64Guest, testing::Values(kIsolating[1]), guest_name);

}  // namespace
}  // namespace gcore::tests
