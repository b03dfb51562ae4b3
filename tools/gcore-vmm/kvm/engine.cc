// The engine on KVM: a VM whose memory is GuestMemory, and vCPUs that leave the guest for the devices of the board.
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tools/gcore-vmm/config.h"
#include "tools/gcore-vmm/kvm/machine.h"
#include "tools/gcore-vmm/mapped_file.h"
#include "tools/gcore-vmm/vcpu.h"
#include "writer/kvm/kvm.h"

namespace gcore::tools::vmm {

Done kvm_failed(const std::string& what) { return std::unexpected(what + ": " + std::strerror(errno)); }

namespace {

constexpr int kApiVersion = 12;

// The signal that takes a vCPU's thread out of KVM_RUN. Its handler has nothing to do: that there is one is enough.
int kick_signal() { return SIGRTMIN; }

/// The loop that every VMM on KVM has, with the pause of docs/embedding.md.
class KvmVcpu : public Vcpu {
 public:
  KvmVcpu(const Machine& machine, size_t index, int fd, kvm_run* run, size_t run_size, bool kernel)
      : Vcpu(machine.board, machine.control, index), fd_(fd), run_(run), run_size_(run_size), kernel_(kernel) {}
  ~KvmVcpu() override {
    join();
    munmap(run_, run_size_);
    close(fd_);
  }

  // In this order: a vCPU that is about to enter the guest sees immediate_exit, one that is in it gets the signal.
  void kick() override {
    __atomic_store_n(&run_->immediate_exit, 1, __ATOMIC_SEQ_CST);
    pthread_kill(thread_.native_handle(), kick_signal());
  }
  void unkick() override { __atomic_store_n(&run_->immediate_exit, 0, __ATOMIC_SEQ_CST); }

  bool read_registers(format::RegisterFile& registers, std::string& refused) const override {
    const writer::kvm::VcpuReport report = writer::kvm::read_vcpu(fd_, registers);
    refused = report.text();
    return report.ok;
  }

 protected:
  Outcome run_guest(std::string& why) override {
    if (ioctl(fd_, KVM_RUN, 0) == 0) return serve_exit(why);
    if (errno == EINTR || errno == EAGAIN) return Outcome::again;
    why = std::string("KVM_RUN: ") + std::strerror(errno) + at_pc();
    return Outcome::ended;
  }
  // An instruction that has left the guest for a device is finished first: its registers are those of its middle.
  void before_park() override {
    std::string why;
    while (writer::kvm::settle(fd_, run_) == EAGAIN && serve_exit(why) != Outcome::ended) {
    }
  }
  // The guest's clock has jumped; without this its own watchdogs would take that for a lock-up. Not everywhere known.
  void after_park() override { ioctl(fd_, KVM_KVMCLOCK_CTRL, 0); }

 private:
  Outcome serve_exit(std::string& why);
  bool serve_ports();
  void serve_mmio();
  std::string at_pc() const {
    char text[40];
    std::snprintf(text, sizeof text, ", pc 0x%llx", static_cast<unsigned long long>(kvm_pc(fd_)));
    return text;
  }

  const int fd_;
  kvm_run* const run_;
  const size_t run_size_;
  const bool kernel_;
};

Vcpu::Outcome KvmVcpu::serve_exit(std::string& why) {
  switch (run_->exit_reason) {
    case KVM_EXIT_IO:
      return serve_ports() ? Outcome::sleep : Outcome::again;
    case KVM_EXIT_MMIO:
      serve_mmio();
      return Outcome::again;
    case KVM_EXIT_INTR:
    case KVM_EXIT_SET_TPR:  // cr8; the kernel has it already
      return Outcome::again;
    case KVM_EXIT_HLT:
      if (!kvm_halts_for_good(fd_)) return Outcome::sleep;
      why = "halted with interrupts disabled" + at_pc();
      return Outcome::ended;
    case KVM_EXIT_SHUTDOWN:
      why = "triple fault" + at_pc();
      if (kernel_) board_.power_off();
      return Outcome::ended;
    case KVM_EXIT_SYSTEM_EVENT:
      why = run_->system_event.type == KVM_SYSTEM_EVENT_RESET ? "reset by the guest" : "switched off by the guest";
      board_.power_off();
      return Outcome::ended;
    case KVM_EXIT_FAIL_ENTRY:
      why = "the processor refuses to enter the guest, reason " +
            std::to_string(run_->fail_entry.hardware_entry_failure_reason) + at_pc();
      return Outcome::ended;
    default:
      why = "KVM_RUN ends with exit reason " + std::to_string(run_->exit_reason) + at_pc();
      return Outcome::ended;
  }
}

// One access, or those of a string instruction. True: the guest asked to sleep.
bool KvmVcpu::serve_ports() {
  bool sleeps = false;
  auto* data = reinterpret_cast<std::byte*>(run_) + run_->io.data_offset;
  for (uint32_t i = 0; i < run_->io.count; ++i, data += run_->io.size) {
    uint32_t value = 0;
    if (run_->io.direction == KVM_EXIT_IO_OUT) {
      std::memcpy(&value, data, run_->io.size);
      sleeps = board_.write_port(index_, run_->io.port, value) || sleeps;
    } else {
      value = board_.read_port(run_->io.port);
      std::memcpy(data, &value, run_->io.size);
    }
  }
  return sleeps;
}

void KvmVcpu::serve_mmio() {
  uint64_t value = 0;
  if (run_->mmio.is_write != 0) {
    std::memcpy(&value, run_->mmio.data, run_->mmio.len);
    board_.write_mmio(index_, run_->mmio.phys_addr, value);
  } else {
    value = board_.read_mmio(run_->mmio.phys_addr);
    std::memcpy(run_->mmio.data, &value, run_->mmio.len);
  }
}

class KvmEngine : public Engine {
 public:
  explicit KvmEngine(const Machine& machine) : machine_(machine) {}
  ~KvmEngine() override {
    for (const int fd : {fds_.gic, fds_.vm, fds_.kvm})
      if (fd >= 0) close(fd);
  }

  Done set_up();
  Done load_kernel(const Config& config) override;
  std::expected<std::unique_ptr<Vcpu>, std::string> create_vcpu(const BootState& state) override;
  void set_interrupt(unsigned line, bool level) override {
    kvm_irq_level request{};
    request.irq = kvm_interrupt(line);
    request.level = level ? 1 : 0;
    if (is_kernel()) ioctl(fds_.vm, KVM_IRQ_LINE, &request);
  }
  void paused() override { clock_ = kvm_clock(first_vcpu_); }
  void resuming() override {
    if (clock_) kvm_set_clock(first_vcpu_, *clock_);
  }

 private:
  bool is_kernel() const { return !machine_.config.kernel.empty(); }

  const Machine machine_;
  KvmVm fds_;
  size_t run_size_ = 0;
  std::optional<LinuxEntry> linux_entry_;
  int first_vcpu_ = -1;  // borrowed
  std::optional<uint64_t> clock_;
};

Done KvmEngine::set_up() {
  fds_.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (fds_.kvm < 0) {
    const char* what_to_do = errno == ENOENT   ? " (this machine has no KVM, or its module is not loaded)"
                             : errno == EACCES ? " (who may use it is in the group kvm)"
                                               : "";
    return std::unexpected(std::string("/dev/kvm: ") + std::strerror(errno) + what_to_do);
  }
  if (ioctl(fds_.kvm, KVM_GET_API_VERSION, 0) != kApiVersion)
    return std::unexpected(std::string("/dev/kvm: not a KVM of version 12"));
  if (ioctl(fds_.kvm, KVM_CHECK_EXTENSION, KVM_CAP_IMMEDIATE_EXIT) <= 0)
    return std::unexpected(std::string("/dev/kvm: this kernel is older than 4.11 (no immediate_exit)"));
  fds_.vm = ioctl(fds_.kvm, KVM_CREATE_VM, 0);
  if (fds_.vm < 0) return kvm_failed("KVM_CREATE_VM");
  const int run_size = ioctl(fds_.kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  if (run_size <= 0) return kvm_failed("KVM_GET_VCPU_MMAP_SIZE");
  run_size_ = static_cast<size_t>(run_size);
  struct sigaction action{};  // without SA_RESTART
  action.sa_handler = [](int) {};
  if (sigaction(kick_signal(), &action, nullptr) != 0) return kvm_failed("sigaction");
  uint32_t slot = 0;
  for (const GuestMemory::Range& range : machine_.memory.ranges()) {
    kvm_userspace_memory_region region{};
    region.slot = slot++;
    region.guest_phys_addr = range.address;
    region.memory_size = range.size;
    region.userspace_addr = reinterpret_cast<uint64_t>(range.host);
    if (ioctl(fds_.vm, KVM_SET_USER_MEMORY_REGION, &region) != 0) return kvm_failed("KVM_SET_USER_MEMORY_REGION");
  }
  return kvm_set_up_vm(fds_, is_kernel());
}

Done KvmEngine::load_kernel(const Config& config) {
  const auto kernel = MappedFile::open(config.kernel);
  if (!kernel) return std::unexpected("the kernel " + config.kernel + ": " + kernel.error());
  std::optional<MappedFile> initrd;
  if (!config.initrd.empty()) {
    auto file = MappedFile::open(config.initrd);
    if (!file) return std::unexpected("the initrd " + config.initrd + ": " + file.error());
    initrd.emplace(std::move(*file));
  }
  LinuxImage image;
  image.kernel = kernel->bytes();
  if (initrd) image.initrd = initrd->bytes();
  image.cmdline = config.cmdline;
  image.cpus = config.cpus;
  image.has_pvpanic = config.pvpanic.has_value();
  image.has_watchdog = config.watchdog.has_value();
  image.gic_version = fds_.gic_version;
  const auto entry = load_linux(image, machine_.memory);
  if (!entry) return std::unexpected(entry.error());
  linux_entry_ = *entry;
  return {};
}

std::expected<std::unique_ptr<Vcpu>, std::string> KvmEngine::create_vcpu(const BootState& state) {
  const std::string who = "vCPU " + std::to_string(state.cpu) + ": ";
  const auto failed = [&](const char* what) { return std::unexpected(who + what + ": " + std::strerror(errno)); };
  const int fd = ioctl(fds_.vm, KVM_CREATE_VCPU, static_cast<unsigned long>(state.cpu));
  if (fd < 0) return failed("KVM_CREATE_VCPU");
  if (state.cpu == 0) first_vcpu_ = fd;
  void* run = mmap(nullptr, run_size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (run == MAP_FAILED) {
    close(fd);
    return failed("mapping kvm_run");
  }
  auto cpu = std::make_unique<KvmVcpu>(machine_, state.cpu, fd, static_cast<kvm_run*>(run), run_size_, is_kernel());
  if (auto done = kvm_set_up_vcpu(fds_, fd, state, linux_entry_); !done) return std::unexpected(who + done.error());
  if (state.cpu + 1 == state.cpu_count)
    if (auto done = kvm_finish_vm(fds_, is_kernel()); !done) return std::unexpected(done.error());
  return cpu;
}

}  // namespace

std::expected<std::unique_ptr<Engine>, std::string> kvm_engine(const Machine& machine) {
  auto engine = std::make_unique<KvmEngine>(machine);
  if (auto done = engine->set_up(); !done) return std::unexpected("KVM: " + done.error());
  return engine;
}

}  // namespace gcore::tools::vmm
