#include "tools/gcore-vmm/vm.h"

#include <algorithm>
#include <cstring>

#include "tools/common/program.h"
#include "tools/gcore-vmm/boot.h"
#include "tools/gcore-vmm/guest_program.h"

namespace gcore::tools::vmm {
namespace {

constexpr uint32_t kPowerOff = 0x2000;
constexpr uint8_t kUartReady = 0x60;        // COM1's line status: the transmitter is empty
constexpr uint64_t kUartFlagsReady = 0x90;  // PL011's flags: transmitter empty, receiver empty
constexpr uint64_t kPageMask = ~uint64_t{4095};

}  // namespace

Vm::Vm(const Config& config, int console, VmEvents events)
    : config_(config), events_(std::move(events)), console_(console, config.cpus) {}

std::expected<std::unique_ptr<Vm>, std::string> Vm::create(const Config& config, int console, VmEvents events) {
  std::unique_ptr<Vm> vm(new Vm(config, console, std::move(events)));
  if (auto done = vm->set_up(); !done) return std::unexpected(done.error());
  return vm;
}

Vm::~Vm() {
  stop();
  cpus_.clear();
}

std::expected<void, std::string> Vm::set_up() {
  const Arch& arch = arch_of(config_.arch);
  std::vector<GuestMemory::Request> ranges;
  for (const RamRange& range : config_.ram)
    ranges.push_back({range.address.value_or(arch.default_ram_address()), range.size});
  for (const GuestMemory::Request& range : ranges)
    for (const uint64_t device : mmio_pages())
      if (device >= range.address && device - range.address < range.size)
        return std::unexpected(std::string("a 'ram' range covers a device"));
  auto memory = GuestMemory::create(ranges);
  if (!memory) return std::unexpected(memory.error());
  memory_ = std::move(*memory);
  const GuestMemory::Range& ram = memory_->ranges()[0];
  if (ram.size < GCORE_BOOT_AREA_SIZE)
    return std::unexpected(std::string("the first 'ram' range is too small to boot"));
  arch.prepare_memory(*memory_);
  std::memcpy(ram.host + GCORE_BOOT_CMDLINE, config_.cmdline.data(), config_.cmdline.size());

  const auto entry = load_guest();
  if (!entry) return std::unexpected(entry.error());
  if (config_.watchdog) {
    watchdog_ = std::make_unique<Watchdog>([this] { events_.watchdog_expired(); }, events_.watchdog_counted_down);
    if (config_.watchdog->device == WatchdogConfig::Device::sp805) sp805_.emplace(*watchdog_);
  }
  for (size_t i = 0; i < config_.cpus; ++i) {
    const BootState state{*entry, i, config_.cpus, ram.address, ram.size, ram.address + GCORE_BOOT_CMDLINE};
    auto cpu = Vcpu::create(arch, *memory_, *this, control_, state);
    if (!cpu) return std::unexpected(cpu.error());
    cpus_.push_back(std::move(*cpu));
  }
  return {};
}

std::expected<uint64_t, std::string> Vm::load_guest() {
  if (!config_.load.empty()) {
    auto entry = load_program_file(config_.load, config_.arch, *memory_);
    if (!entry) return std::unexpected(config_.load + ": " + entry.error());
    return entry;
  }
  const auto elf = builtin_guest(config_.arch);
  if (elf.empty()) return std::unexpected(std::string("there is no built-in guest for this architecture: use 'load'"));
  constexpr uint64_t kNeeded = 16 << 20;
  const GuestMemory::Range& ram = memory_->ranges()[0];
  if (ram.address != arch_of(config_.arch).default_ram_address() || ram.size < kNeeded)
    return std::unexpected(
        std::string("the built-in guest needs a first 'ram' range of 16M or more, without an ADDRESS"));
  return load_program(elf, config_.arch, *memory_);
}

void Vm::start() {
  started_ = std::chrono::steady_clock::now();
  for (const auto& cpu : cpus_) cpu->start();
}

void Vm::halt_cpus(std::unique_lock<std::mutex>& lock) {
  for (const auto& cpu : cpus_) cpu->kick();
  control_.wake_cpus.notify_all();
  control_.parked.wait(lock,
                       [this] { return std::ranges::all_of(cpus_, [](const auto& cpu) { return cpu->parked(); }); });
}

void Vm::pause() {
  console_.hurry(true);
  {
    std::unique_lock lock(control_.mutex);
    ++control_.pauses;
    halt_cpus(lock);
  }
  if (watchdog_) watchdog_->freeze();
  console_.hurry(false);
}

void Vm::resume() {
  if (watchdog_) watchdog_->thaw();
  const std::lock_guard lock(control_.mutex);
  --control_.pauses;
  control_.wake_cpus.notify_all();
}

void Vm::stop() {
  if (watchdog_) watchdog_->end();
  console_.hurry(true);
  std::unique_lock lock(control_.mutex);
  control_.stopping = true;
  if (started_ != decltype(started_){}) halt_cpus(lock);
  lock.unlock();
  console_.flush();
  console_.hurry(false);
}

std::string Vm::status() {
  const std::unique_lock lock(control_.mutex);
  std::string states;
  bool running = false;
  for (const auto& cpu : cpus_) {
    states += (states.empty() ? "" : ", ") + std::string(cpu->state());
    running |= std::string_view(cpu->state()) == "running";
  }
  const auto up = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - started_);
  return std::string(running               ? "running"
                     : control_.pauses > 0 ? "paused"
                                           : "stopped") +
         ", " + std::to_string(cpus_.size()) + (cpus_.size() == 1 ? " vCPU (" : " vCPUs (") + states + "), RAM " +
         human_size(memory_->total()) + ", " + std::to_string(console_.lines()) + " console lines, up " +
         std::to_string(up.count()) + " s";
}

bool Vm::write_port(size_t cpu, uint32_t port, uint32_t value) {
  const bool ib700 = watchdog_ && config_.watchdog->device == WatchdogConfig::Device::ib700;
  switch (port) {
    case GCORE_PORT_DEBUGCON:
    case GCORE_PORT_COM1:
      console_.put(cpu, static_cast<char>(value));
      break;
    case GCORE_PORT_SLEEP:
      return true;
    case GCORE_PORT_POWER_OFF:
      if (value == kPowerOff) events_.power_off();
      break;
    case GCORE_PORT_IB700_ENABLE:
      if (ib700) watchdog_->restart(std::chrono::seconds(30 - 2 * (value & 0xf)));
      break;
    case GCORE_PORT_IB700_DISABLE:
      if (ib700) watchdog_->disable();
      break;
    default:
      break;
  }
  return false;
}

uint32_t Vm::read_port(uint32_t port) { return port == GCORE_PORT_COM1_STATUS ? kUartReady : 0xffffffff; }

std::vector<uint64_t> Vm::mmio_pages() const {
  if (config_.arch != format::Machine::aarch64) return {};
  return {GCORE_MMIO_UART, GCORE_MMIO_POWER, GCORE_MMIO_WATCHDOG};
}

void Vm::write_mmio(size_t cpu, uint64_t address, uint64_t value) {
  if (address == GCORE_MMIO_UART) {
    console_.put(cpu, static_cast<char>(value));
  } else if (address == GCORE_MMIO_POWER) {
    if (value == kPowerOff) events_.power_off();
  } else if ((address & kPageMask) == GCORE_MMIO_WATCHDOG) {
    if (sp805_) sp805_->write(address - GCORE_MMIO_WATCHDOG, static_cast<uint32_t>(value));
  }
}

uint64_t Vm::read_mmio(uint64_t address) {
  if (address == GCORE_MMIO_UART + 0x18) return kUartFlagsReady;
  if (sp805_ && (address & kPageMask) == GCORE_MMIO_WATCHDOG) return sp805_->read(address - GCORE_MMIO_WATCHDOG);
  return 0;
}

void Vm::cpu_ended(size_t cpu, const std::string& why) {
  events_.note("vCPU " + std::to_string(cpu) + " stopped: " + why);
}

}  // namespace gcore::tools::vmm
