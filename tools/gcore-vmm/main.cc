// gcore-vmm: the reference VMM. It runs a guest and has the writer dump it on SIGUSR2.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>

#include "tools/common/built_with.h"
#include "tools/common/program.h"
#include "tools/common/whole_file.h"
#include "tools/gcore-vmm/vm.h"
#include "tools/gcore-vmm/vmm_guest.h"
#include "writer/dump.h"

namespace gcore::tools::vmm {
namespace {

constexpr char kStatus = 's', kEnd = 'e', kNoDump = 'n', kWatchdogEnd = 'w', kPanic = 'p', kPanicEnd = 'q';

// What signal handlers reach. The pipe carries one of the letters above to the main thread.
int event_pipe[2] = {-1, -1};
std::atomic<writer::Dumper*> signal_dumper = nullptr;
static_assert(std::atomic<writer::Dumper*>::is_always_lock_free);

void post_event(char event) {
  // A full pipe has plenty of events in it already.
  [[maybe_unused]] const ssize_t written = write(event_pipe[1], &event, 1);
}

extern "C" void on_signal(int number) {
  const int saved = errno;
  if (number == SIGUSR2) {
    if (writer::Dumper* dumper = signal_dumper) {
      dumper->request();
    } else {
      post_event(kNoDump);
    }
  } else {
    post_event(number == SIGUSR1 ? kStatus : kEnd);
  }
  errno = saved;
}

sigset_t our_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGUSR1, SIGUSR2, SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, number);
  return set;
}

// Signals stay blocked, and so pending, until the guest runs; threads that are made meanwhile never see them.
bool prepare_signals() {
  const sigset_t set = our_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  struct sigaction action{};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  action.sa_mask = set;
  for (const int number : {SIGUSR1, SIGUSR2, SIGTERM, SIGINT}) sigaction(number, &action, nullptr);
  struct sigaction hangup{};
  sigaction(SIGHUP, nullptr, &hangup);
  if (hangup.sa_handler != SIG_IGN) sigaction(SIGHUP, &action, nullptr);  // else it runs under nohup
  // The console's reader may go away; the guest goes on.
  signal(SIGPIPE, SIG_IGN);
  signal(SIGTTIN, SIG_IGN);  // it may be in the background of the terminal that is the guest's console
  return pipe2(event_pipe, O_CLOEXEC) == 0 && fcntl(event_pipe[1], F_SETFL, O_NONBLOCK) == 0;
}

std::expected<Config, std::string> configuration(const Program& program) {
  auto config =
      program.has("demo") ? std::expected<Config, std::string>(demo_config(".")) : read_config(program.operands()[0]);
  if (config)
    if (const auto directory = program.value("dump-directory")) config->dump = *directory;
  if (const auto deadline = program.value("deadline"); config && deadline)
    config->dump_deadline = *parse_seconds(*deadline);
  if (const auto rate = program.value("rate"); config && rate) config->dump_rate = *parse_size(*rate);
  return config;
}

/// One VM from start to end, and the dumps that are taken of it.
class VmRun {
 public:
  VmRun(const Program& program, const Config& config) : program_(program), config_(config) {}

  int run();

 private:
  bool set_up_dumper();
  void watchdog_expired();
  void panicked();
  void read_console();
  void report(const writer::Result& result);
  int serve_events();
  void shut_down();

  const Program& program_;
  const Config& config_;
  std::unique_ptr<Vm> vm_;
  std::unique_ptr<VmmGuest> guest_;
  std::unique_ptr<writer::Dumper> dumper_;
  std::atomic<uint64_t> dumps_ = 0;
  std::atomic<uint16_t> panicked_cpu_ = 0;
  std::thread panic_, console_;
  int console_end_[2] = {-1, -1};  // a pipe: closed at its writing end, console_ ends
  std::mutex ending_mutex_;
  bool ending_ = false;
};

void VmRun::report(const writer::Result& result) {
  if (!result.notice.empty()) program_.note(result.notice);
  if (!result.status.ok()) {
    const bool partial = result.path.ends_with(".partial");
    program_.note("dump failed: " + result.status.text() +
                  (partial ? "; what was written until then is in " + result.path : ""));
    return;
  }
  ++dumps_;
  const auto paused = std::chrono::ceil<std::chrono::milliseconds>(result.paused);
  program_.note("dump written: " + result.path + " (" + std::to_string(result.bytes) + " bytes, guest paused " +
                std::to_string(paused.count()) + " ms)");
}

bool VmRun::set_up_dumper() {
  guest_ = std::make_unique<VmmGuest>(*vm_);
  if (!config_.dump) return true;
  writer::Options options;
  options.target = *config_.dump;
  options.program = program_.name() + " " GCORE_VERSION;
  if (program_.value("dialect") == "vmcore") options.dialect = writer::Dialect::vmcore;
  const std::string compression = program_.value("compress").value_or("none");
  if (compression == "gzip") options.compression = writer::Compression::gzip;
  if (compression == "zstd") options.compression = writer::Compression::zstd;
  options.live = config_.dump_live;
  options.aside_memory = config_.dump_aside;
  options.pause_deadline = config_.dump_deadline;
  options.bytes_per_second = config_.dump_rate;
  options.keep_partial = program_.has("keep-partial");
  options.sync = !program_.has("no-sync");
  writer::Status status;
  dumper_ = writer::Dumper::create(*guest_, options, [this](const writer::Result& result) { report(result); }, status);
  if (dumper_ == nullptr) program_.fail("preparing dumps to " + *config_.dump, status.text());
  return dumper_ != nullptr;
}

void VmRun::watchdog_expired() {
  const WatchdogConfig& watchdog = *config_.watchdog;
  const char* device = watchdog.device == WatchdogConfig::Device::ib700 ? "wdt-ib700" : "wdt-sp805";
  program_.note(std::string("watchdog ") + device + " expired");
  if (watchdog.dump && dumper_ != nullptr) {
    {
      // Either before the end is known, and then that cancels it, or not at all.
      const std::lock_guard lock(ending_mutex_);
      if (ending_) return;
      dumper_->request({.kind = writer::Reason::Kind::watchdog, .detail = device, .signal = 0, .cpu = 0});
    }
    dumper_->wait();
  } else if (watchdog.dump) {
    post_event(kNoDump);
  }
  if (watchdog.terminate) post_event(kWatchdogEnd);
}

// On the main thread, which goes on meanwhile: the guest is paused, and stays so until the dump is done.
void VmRun::panicked() {
  program_.note("the guest has panicked (pvpanic)");
  const bool dumps = config_.pvpanic->dump && dumper_ != nullptr;
  if (config_.pvpanic->dump && !dumps) post_event(kNoDump);
  if (dumps)
    dumper_->request({.kind = writer::Reason::Kind::panic, .detail = "pvpanic", .signal = 0, .cpu = panicked_cpu_});
  if (panic_.joinable()) panic_.join();
  panic_ = std::thread([this, dumps] {
    if (dumps) dumper_->wait();
    vm_->resume();
    if (config_.pvpanic->terminate) post_event(kPanicEnd);
  });
}

// What is typed goes to the guest's serial port, until there is no more of it.
void VmRun::read_console() {
  constexpr int kRetryMilliseconds = 1000;
  bool may_read = true;
  while (true) {
    pollfd ready[2] = {{console_end_[0], POLLIN, 0}, {may_read ? STDIN_FILENO : -1, POLLIN, 0}};
    if (poll(ready, 2, may_read ? -1 : kRetryMilliseconds) < 0 && errno != EINTR) return;
    if (ready[0].revents != 0) return;
    may_read = true;
    if (ready[1].revents == 0) continue;
    char text[256];
    const ssize_t got = read(STDIN_FILENO, text, sizeof text);
    if (got < 0 && errno == EINTR) continue;
    may_read = got >= 0 || errno != EIO;  // of a terminal that has another program in its foreground
    if (may_read && (got <= 0 || !vm_->receive({text, static_cast<size_t>(got)}))) return;
  }
}

int VmRun::run() {
  VmEvents events;
  events.note = [this](const std::string& text) { program_.note(text); };
  events.power_off = [] { post_event(kEnd); };
  events.watchdog_expired = [this] { watchdog_expired(); };
  events.panicked = [this](size_t cpu) {
    panicked_cpu_ = static_cast<uint16_t>(cpu);
    post_event(kPanic);
  };
  events.watchdog_counted_down = [this] {
    program_.note("watchdog wdt-sp805 counted down once; once more and it expires");
  };
  if (!prepare_signals()) return program_.fail("preparing signals", std::strerror(errno));
  auto vm = Vm::create(config_, STDOUT_FILENO, std::move(events));
  if (!vm) return program_.fail("starting the VM", vm.error());
  vm_ = std::move(*vm);
  if (!set_up_dumper()) return kExitFailed;

  signal_dumper = dumper_.get();
  const sigset_t set = our_signals();
  vm_->start();
  if (!config_.kernel.empty() && pipe2(console_end_, O_CLOEXEC) == 0)
    console_ = std::thread([this] { read_console(); });
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  const auto pid_file = program_.value("pid-file");
  int exit_status = kExitDone;
  if (pid_file)
    if (const std::string text = std::to_string(getpid()) + "\n",
        why = write_whole_file(*pid_file, std::as_bytes(std::span(text)), 0644);
        !why.empty())
      exit_status = program_.fail("writing the pid file " + *pid_file, why);
  if (exit_status == kExitDone && program_.has("demo"))
    program_.note("the demo guest runs; \"kill -USR2 " + std::to_string(getpid()) + "\" has it dumped to " +
                  *config_.dump + ", Ctrl-C ends it");
  if (exit_status == kExitDone) exit_status = serve_events();
  shut_down();
  if (pid_file) unlink(pid_file->c_str());
  return exit_status;
}

// Until something ends the VM; returns the exit status.
int VmRun::serve_events() {
  while (true) {
    char event = 0;
    const ssize_t got = read(event_pipe[0], &event, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got != 1) return program_.fail("waiting for signals", std::strerror(errno));
    switch (event) {
      case kStatus:
        program_.note("status: " + (config_.system.empty() ? "qvm-guest" : config_.system) + ": " + vm_->status() +
                      ", " + std::to_string(dumps_.load()) + (dumps_ == 1 ? " dump" : " dumps"));
        break;
      case kNoDump:
        program_.note("dump failed: the configuration has no 'dump' line");
        break;
      case kPanic:
        panicked();
        break;
      case kPanicEnd:
        return program_.fail("running the guest", "terminated because it has panicked");
      case kWatchdogEnd:
        return program_.fail("running the guest", "terminated by its watchdog");
      default:
        return kExitDone;
    }
  }
}

void VmRun::shut_down() {
  const sigset_t set = our_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal_dumper = nullptr;
  {
    const std::lock_guard lock(ending_mutex_);
    ending_ = true;
  }
  if (dumper_ != nullptr) dumper_->cancel();
  const auto stopped = vm_->stop();
  if (!stopped) {
    // Its thread uses all that would now be destroyed.
    program_.fail("ending the VM", stopped.error());
    if (const auto pid_file = program_.value("pid-file")) unlink(pid_file->c_str());
    _exit(kExitFailed);
  }
  if (panic_.joinable()) panic_.join();
  if (console_.joinable()) {
    close(console_end_[1]);
    console_.join();
  }
  dumper_.reset();
}

ProgramInfo describe() {
  ProgramInfo info;
  info.name = "gcore-vmm";
  info.usage = "[options] CONFIG | --demo";
  info.description =
      "Runs a guest, which embeds gcore's writer. The guest's console goes to standard output.\n"
      "SIGUSR2: dump the guest, which then goes on. SIGUSR1: a status line. SIGTERM, SIGINT, SIGHUP: end.";
  info.options = {
      {.name = "demo",
       .argument = "",
       .help = "run the built-in guest without a CONFIG; it is dumped to the current directory"},
      {.name = "dump-directory", .argument = "DIRECTORY", .help = "where dumps go, whatever CONFIG says"},
      {.name = "dialect", .argument = "qnx|vmcore", .help = "of dumps; default qnx"},
      {.name = "compress", .argument = "none|gzip|zstd", .help = "dumps; default none"},
      {.name = "pid-file", .argument = "FILE", .help = "written when the guest runs, removed at the end"},
  };
  for (Option& option : dump_limit_options()) info.options.push_back(std::move(option));
  info.max_operands = 1;
  info.epilogue =
      "CONFIG, one option a line:\n"
      "  system NAME           file name prefix of dumps\n"
      "  cpu                   one line a vCPU\n"
      "  ram [ADDRESS,]SIZE    K M G T\n"
      "  load FILE             an ELF guest program; without it the built-in guest runs\n"
      "  engine unicorn|kvm    default: unicorn; kvm with a kernel\n"
      "  kernel FILE           a Linux bzImage (aarch64: Image); with it, if wanted, initrd FILE\n"
      "  cmdline \"TEXT\"        for the guest program or the kernel\n"
      "  arch x86_64|aarch64\n"
      "  vdev wdt-ib700|wdt-sp805|pvpanic [action dump,terminate]\n"
      "  dump DIRECTORY        or: dump \"|SHELL COMMAND\"; then, if wanted, live, aside SIZE,\n"
      "                        deadline SECONDS, rate SIZE\n";
  for (const std::string& part : {engines(), libraries_of_writer()})
    if (!part.empty()) info.built_with += (info.built_with.empty() ? "" : ", ") + part;
  return info;
}

int run_vmm(Program& program) {
  if (program.has("demo") == !program.operands().empty())
    return program.usage_error(program.has("demo") ? "--demo takes no CONFIG" : "which CONFIG? (or --demo)");
  const std::string dialect = program.value("dialect").value_or("qnx");
  if (dialect != "qnx" && dialect != "vmcore")
    return program.usage_error("--dialect is qnx or vmcore, not \"" + dialect + "\"");
  const std::string compression = program.value("compress").value_or("none");
  if (compression != "none" && compression != "gzip" && compression != "zstd")
    return program.usage_error("--compress is none, gzip or zstd, not \"" + compression + "\"");
  if (const auto deadline = program.value("deadline"))
    if (const auto time = parse_seconds(*deadline); !time) return program.usage_error("--deadline: " + time.error());
  if (const auto rate = program.value("rate"))
    if (const auto size = parse_size(*rate); !size) return program.usage_error("--rate: " + size.error());
  const auto config = configuration(program);
  if (!config) return program.fail("reading the configuration", config.error());
  if (config->dump) {  // said before the guest is loaded
    writer::Options options;
    options.target = *config->dump;
    std::string notice;
    if (const writer::Status usable = writer::prepare_target(options, notice); !usable)
      return program.fail("preparing dumps", usable.text());
    if (!notice.empty()) program.note(notice);
  }
  return VmRun(program, *config).run();
}

}  // namespace
}  // namespace gcore::tools::vmm

int main(int argc, char** argv) {
  const gcore::tools::ProgramInfo info = gcore::tools::vmm::describe();
  return gcore::tools::run_program(info, argc, argv, gcore::tools::vmm::run_vmm);
}
