#include "tests/support/trouble_guest.h"

#include <filesystem>
#include <fstream>
#include <functional>
#include <regex>
#include <stdexcept>
#include <utility>

#include "tests/support/file_lock.h"
#include "tests/support/paths.h"
#include "tests/support/qemu_guest.h"

namespace gcore::tests {
namespace {

namespace fs = std::filesystem;

constexpr auto kLimit = std::chrono::seconds(300);

class Cook {
 public:
  Cook(const std::string& machine, const std::string& kernel, std::string folder)
      : folder_(std::move(folder)), arm_(machine == "aarch64") {
    const std::string files = guests_dir() + "/linux-" + machine + (kernel.empty() ? "" : "-" + kernel);
    QemuGuest::Options options;
    options.machine = machine;
    options.kernel = kernel;
    options.memory_mib = 256;
    // On a busy host tasks that hang are told of again and again. What is set aside for movable pages does not leak.
    options.append = "log_buf_len=1M cma=16M";
    options.files = {{"modules/trouble.ko", files + "/trouble.ko"}, {"trouble", files + "/trouble"}};
    guest_.emplace(options);
    guest_->wait_until_booted(kLimit);
    guest_->command("/bin/busybox sh /trouble load");
    wait_for({"trouble-loaded"});
  }

  /// Until the guest has said all of it, in whatever order: that it was made, and these words of its kernel.
  void make(const std::string& scenario, std::vector<std::string> words = {}) {
    words.push_back("trouble-made " + scenario);
    make_and_wait_for(scenario, std::move(words));
  }
  /// Of one that leaves nobody who could say that it was made.
  void make_last(const std::string& scenario, const std::string& word) {
    make_and_wait_for(scenario, {word});
    is_last_ = true;
  }
  /// Of one that leaves nobody who could write anything to a console, where that is a thread's work (aarch64's 7.x).
  void make_dead(const std::string& scenario) {
    guest_->command("/bin/busybox sh /trouble make " + scenario);
    wait_until_dead();
    is_dead_ = is_last_ = true;
  }
  void words() {
    guest_->command("/bin/busybox sh /trouble words");
    wait_for({"trouble-words-end"});
  }
  void dump(const std::string& stage) {
    guest_->stop();
    while (is_at_bad_moment()) {
      guest_->resume();
      guest_->stop();
    }
    const std::string path = folder_ + "/" + stage;
    fs::remove(path);
    guest_->dump_guest_memory(path);
    run({"fallocate", "--dig-holes", path}, 60s);  // most of it is zeros
    guest_->resume();
  }
  std::string console() { return guest_->console(); }

 private:
  void make_and_wait_for(const std::string& scenario, std::vector<std::string> words) {
    guest_->command("/bin/busybox sh /trouble make " + scenario);
    wait_for(std::move(words));
  }
  /// Both vCPUs have interrupts off each time that one looks, and stay where they are on their stacks: one that works
  /// has them off for moments, and calls.
  void wait_until_dead() {
    const auto end = std::chrono::steady_clock::now() + kLimit;
    std::pair<uint64_t, uint64_t> stacks;
    for (int dead = 0; dead < 20;) {
      if (std::chrono::steady_clock::now() > end)
        throw std::runtime_error("the guest still lives:\n" + guest_->console());
      guest_->stop();
      const auto before = std::exchange(stacks, {register_of(0, "SP|RSP"), register_of(1, "SP|RSP")});
      dead = stacks == before && interrupts_off(0) && interrupts_off(1) ? dead + 1 : 0;
      guest_->resume();
    }
  }
  /// Lines after what was waited for last, in any order.
  void wait_for(std::vector<std::string> words) {
    while (!words.empty()) {
      std::string any;
      for (const std::string& word : words) any += (any.empty() ? "" : "|") + word;
      const auto line = guest_->process().wait_for_line(Process::Stream::out, any, kLimit);
      if (!line) throw std::runtime_error("the guest did not say '" + any + "':\n" + guest_->console());
      std::erase_if(words, [&](const std::string& word) { return std::regex_search(*line, std::regex(word)); });
    }
  }
  uint64_t register_of(int cpu, const std::string& name) {
    const std::string registers = guest_->qmp().human("info registers", cpu);
    std::smatch match;
    if (!std::regex_search(registers, match, std::regex("\\b(" + name + ") *= *([0-9a-f]+)")))
      throw std::runtime_error("no " + name + " in: " + registers);
    return std::stoull(match[2], nullptr, 16);
  }
  bool interrupts_off(int cpu) {
    return arm_ ? (register_of(cpu, "PSTATE") >> 7 & 1) != 0 : (register_of(cpu, "EFL|RFL") >> 9 & 1) == 0;
  }
  /// At the first instruction of an aarch64 vector, what was interrupted is in ELR_EL1 alone, which QEMU's dump lacks.
  /// QEMU likes to stop there. (A loop, too, may be where a vector would be: in a dead guest it can be nothing else.)
  bool enters_exception(int cpu) { return arm_ && interrupts_off(cpu) && register_of(cpu, "PC") % 0x80 == 0; }

  /// One at which a dump cannot show what is so. Both vCPUs with interrupts off, while the guest lives: one may just
  /// wait for the other's spinlock, as in a guest that is dead.
  bool is_at_bad_moment() {
    return (!is_dead_ && (enters_exception(0) || enters_exception(1))) ||
           (!is_last_ && interrupts_off(0) && interrupts_off(1));
  }

  std::string folder_;
  bool arm_;
  bool is_last_ = false, is_dead_ = false;
  std::optional<QemuGuest> guest_;
};

// The line after those that name who stalls.
const std::vector<std::string> kStalled{"\\((detected by [0-9]+, )?t=[0-9]+ jiffies"};
const std::vector<std::string> kOopsed{"Comm: oops-maker", "end trace"};
const std::vector<std::string> kKilled{"trouble: the leak has ended", "Killed process"};

void cook(const std::string& machine, const std::string& kernel, const std::string& folder) {
  {
    Cook guest(machine, kernel, folder);
    guest.make("busy");
    guest.dump("busy");
    guest.make("release");
    guest.make("mutex");
    guest.dump("mutex");
    for (const char* scenario : {"rwsem", "rwsem-held", "rt-mutex", "semaphore"}) guest.make(scenario);
    guest.make("completion", {"INFO: task never:"});  // the last one: those before it have been told of
    guest.words();
    std::ofstream(folder + "/console") << guest.console();
    guest.dump("hung");
    guest.make("soft", {"soft lockup - CPU#1"});
    guest.dump("soft");
    guest.make("release");
    guest.make("rcu", kStalled);
    guest.dump("rcu");
    guest.make("release");
    guest.make("rcu-asleep", {"\\(detected by [0-9]+, t=[0-9]+ jiffies|cannot be preempted here"});
    guest.dump("rcu-asleep");
    guest.make("release");
    guest.make("rcu-starved", {"kthread starved for"});
    guest.dump("rcu-starved");
    guest.make("release");
    guest.make("oops", kOopsed);
    guest.dump("oops");
    guest.make("leak", kKilled);
    guest.dump("leak");
    guest.make_dead("spin");
    guest.dump("spin");
  }
  Cook again(machine, kernel, folder);
  again.make("leak", kKilled);
  again.dump("leak-again");
  const std::string for_long = ":[0-9]+ blocked (in I/O wait )?for more than [1-9][0-9]+ seconds";
  again.make("storage", {"INFO: task touch" + for_long, "INFO: task dd" + for_long});
  again.dump("storage");
  again.make("rcu", kStalled);
  again.dump("rcu-again");
  again.make("release");
  again.make("oops", kOopsed);
  again.dump("oops-again");
  again.make("mutex");
  again.dump("mutex-again");
  again.make_last("panic", "end Kernel panic");
  again.dump("panic");
}

}  // namespace

std::string TroubleGuest::dmesg() const {
  std::string text = read_file(folder_ + "/console");
  std::erase(text, '\r');  // the console's
  const size_t start = text.rfind("trouble-words-begin\n");
  const size_t end = text.rfind("trouble-dmesg-end");
  if (start == std::string::npos || end == std::string::npos || end < start)
    throw std::runtime_error("the guest did not say what its dmesg prints");
  return text.substr(start + 20, end - start - 20);
}

TroubleGuest trouble_guest(const std::string& machine, const std::string& kernel) {
  const std::string folder = build_dir() + "/oracle/trouble-" + machine + (kernel.empty() ? "" : "-" + kernel);
  fs::create_directories(folder);
  const FileLock lock(folder + "/lock");
  std::string made_of;
  for (const char* name : {"/tests/guests/linux", "/tests/guests/pins", "/tests/guests/trouble",
                           "/tests/guests/module/trouble.c", "/tests/support/trouble_guest.cc"})
    made_of += read_file(source_dir() + name);
  const std::string key = std::to_string(std::hash<std::string>()(made_of)), key_file = folder + "/key";
  if (fs::exists(key_file) && read_file(key_file) == key) return TroubleGuest(folder);
  fs::remove(key_file);

  std::vector<std::string> prepare{source_dir() + "/tests/guests/trouble", machine};
  if (!kernel.empty()) prepare.push_back(kernel);
  Process::Options in_guests_dir;
  in_guests_dir.environment = {"GCORE_GUESTS_DIR=" + guests_dir()};
  const Completed prepared = run(prepare, kLimit, {}, in_guests_dir);
  if (prepared.status != ExitStatus{0, 0}) throw std::runtime_error("no guest: " + prepared.out + prepared.err);
  cook(machine, kernel, folder);
  std::ofstream(key_file) << key;  // last: it says that the others are whole
  return TroubleGuest(folder);
}

}  // namespace gcore::tests
