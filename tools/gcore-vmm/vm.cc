#include "tools/gcore-vmm/vm.h"

#include <algorithm>
#include <cstring>

#include "tools/common/program.h"
#include "tools/gcore-vmm/boot.h"
#include "tools/gcore-vmm/guest_program.h"
#include "tools/gcore-vmm/linux_boot.h"
#include "writer/format/machine.h"

namespace gcore::tools::vmm {
namespace {

constexpr uint32_t kPowerOff = 0x2000, kKeyboardReset = 0xfe;
constexpr uint16_t kAcpiEnabled = 1;
constexpr uint64_t kUartFlagsReady = 0x90;  // PL011's flags: transmitter empty, receiver empty
constexpr uint64_t kPageMask = ~uint64_t{4095};

}  // namespace

Vm::Vm(const Config& config, int console, VmEvents events)
    : config_(config),
      events_(std::move(events)),
      console_(console, config.cpus, !config.kernel.empty()),
      serial_([this](bool level) {
        if (engine_)
          engine_->set_interrupt(
              config_.arch == format::Machine::aarch64 ? GCORE_INTERRUPT_SERIAL : GCORE_INTERRUPT_COM1, level);
      }) {}

std::expected<std::unique_ptr<Vm>, std::string> Vm::create(const Config& config, int console, VmEvents events) {
  std::unique_ptr<Vm> vm(new Vm(config, console, std::move(events)));
  if (auto done = vm->set_up(); !done) return std::unexpected(done.error());
  return vm;
}

Vm::~Vm() {
  static_cast<void>(stop());
  cpus_.clear();
}

// Of a kernel on x86_64 the range at 0 ends where a PC has its devices, and goes on at 4 GiB.
std::vector<GuestMemory::Request> Vm::memory_layout() const {
  std::vector<GuestMemory::Request> ranges;
  for (const RamRange& range : config_.ram) {
    const uint64_t address = range.address.value_or(format::machine_info(config_.arch).memory_start);
    ranges.push_back({address, range.size});
    if (config_.kernel.empty() || config_.arch != format::Machine::x86_64) continue;
    if (range.address || range.size <= kLowMemoryEnd) continue;
    ranges.back().size = kLowMemoryEnd;
    ranges.push_back({kHighMemory, range.size - kLowMemoryEnd});
  }
  return ranges;
}

std::expected<void, std::string> Vm::set_up() {
  const std::vector<GuestMemory::Request> ranges = memory_layout();
  for (const GuestMemory::Request& range : ranges)
    for (const uint64_t device : mmio_pages())
      if (device >= range.address && device - range.address < range.size)
        return std::unexpected(std::string("a 'ram' range covers a device"));
  auto memory = GuestMemory::create(ranges);
  if (!memory) return std::unexpected(memory.error());
  memory_ = std::move(*memory);
  const Machine machine{config_, *memory_, *this, control_};
  auto engine = config_.engine == EngineKind::kvm ? kvm_engine(machine) : unicorn_engine(machine);
  if (!engine) return std::unexpected(engine.error());
  engine_ = std::move(*engine);

  uint64_t entry = 0;
  if (!config_.kernel.empty()) {
    if (auto done = engine_->load_kernel(config_); !done) return std::unexpected(done.error());
  } else {
    if (auto done = prepare_boot_area(config_.arch, config_.cmdline, config_.engine, *memory_); !done)
      return std::unexpected(done.error());
    const auto loaded = load_guest();
    if (!loaded) return std::unexpected(loaded.error());
    entry = *loaded;
  }
  if (config_.watchdog) {
    watchdog_ = std::make_unique<Watchdog>([this] { events_.watchdog_expired(); }, events_.watchdog_counted_down);
    if (config_.watchdog->device == WatchdogConfig::Device::sp805) sp805_.emplace(*watchdog_);
  }
  const GuestMemory::Range& ram = memory_->ranges()[0];
  for (size_t i = 0; i < config_.cpus; ++i) {
    auto cpu = engine_->create_vcpu({entry, i, config_.cpus, ram.address, ram.size, ram.address + GCORE_BOOT_CMDLINE});
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
  if (ram.address != format::machine_info(config_.arch).memory_start || ram.size < kNeeded)
    return std::unexpected(
        std::string("the built-in guest needs a first 'ram' range of 16M or more, without an ADDRESS"));
  return load_program(elf, config_.arch, *memory_);
}

void Vm::start() {
  started_ = std::chrono::steady_clock::now();
  for (const auto& cpu : cpus_) cpu->start();
}

std::expected<void, std::string> Vm::halt_cpus(std::unique_lock<std::mutex>& lock) {
  for (const auto& cpu : cpus_) cpu->kick();
  control_.wake_cpus.notify_all();
  const auto is_running = [](const auto& cpu) { return !cpu->parked(); };
  if (control_.parked.wait_for(lock, kPatience, [&] { return std::ranges::none_of(cpus_, is_running); })) return {};
  const auto stuck = std::ranges::find_if(cpus_, is_running) - cpus_.begin();
  return std::unexpected("vCPU " + std::to_string(stuck) + " does not leave the guest (" +
                         std::to_string(kPatience.count()) + " seconds after it was told to)");
}

std::expected<void, std::string> Vm::pause() {
  console_.hurry(true);
  std::expected<void, std::string> done;
  {
    std::unique_lock lock(control_.mutex);
    ++control_.pauses;
    done = halt_cpus(lock);
    if (!done) {
      --control_.pauses;
    } else if (!engine_paused_) {
      engine_->paused();
      engine_paused_ = true;
    }
    control_.wake_cpus.notify_all();
  }
  if (done && watchdog_) watchdog_->freeze();
  console_.hurry(false);
  return done;
}

void Vm::resume() {
  if (watchdog_) watchdog_->thaw();
  const std::lock_guard lock(control_.mutex);
  if (--control_.pauses == 0 && engine_paused_) {
    engine_->resuming();
    engine_paused_ = false;
  }
  control_.wake_cpus.notify_all();
}

std::expected<void, std::string> Vm::stop() {
  if (watchdog_) watchdog_->end();
  serial_.close();
  console_.hurry(true);
  std::unique_lock lock(control_.mutex);
  control_.stopping = true;
  std::expected<void, std::string> done;
  if (started_ != decltype(started_){}) done = halt_cpus(lock);
  lock.unlock();
  console_.flush();
  console_.hurry(false);
  return done;
}

bool Vm::read_registers(size_t cpu, format::RegisterFile& registers) const {
  std::string refused;
  const bool done = cpus_[cpu]->read_registers(registers, refused);
  if (!refused.empty()) events_.note("vCPU " + std::to_string(cpu) + ": KVM refuses " + refused + "; not in the dump");
  return done;
}

// On the vCPU's thread: this vCPU parks right after the instruction by which it said so, the others as soon as they
// can.
void Vm::panic(size_t cpu) {
  if (!config_.pvpanic) return;
  {
    const std::lock_guard lock(control_.mutex);
    ++control_.pauses;
    for (const auto& each : cpus_) each->kick();
    control_.wake_cpus.notify_all();
  }
  if (watchdog_) watchdog_->freeze();
  events_.panicked(cpu);
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
  if (port >= GCORE_PORT_COM1 && port < GCORE_PORT_COM1 + 8) {
    if (const auto out = serial_.write(port - GCORE_PORT_COM1, static_cast<uint8_t>(value))) console_.put(cpu, *out);
    return false;
  }
  switch (port) {
    case GCORE_PORT_DEBUGCON:
      console_.put(cpu, static_cast<char>(value));
      break;
    case GCORE_PORT_SLEEP:
      return true;
    case GCORE_PORT_PM1_EVENT + 2:
      pm1_enable_ = static_cast<uint16_t>(value);
      break;
    case GCORE_PORT_POWER_OFF:
      if ((value & kPowerOff) != 0) events_.power_off();
      break;
    case GCORE_PORT_RESET:
      if (value == GCORE_RESET) events_.power_off();
      break;
    case GCORE_PORT_KEYBOARD:
      if (value == kKeyboardReset) events_.power_off();
      break;
    case GCORE_PORT_PVPANIC:
      if ((value & GCORE_PVPANIC_PANICKED) != 0) panic(cpu);
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

uint32_t Vm::read_port(uint32_t port) {
  if (port >= GCORE_PORT_COM1 && port < GCORE_PORT_COM1 + 8) return serial_.read(port - GCORE_PORT_COM1);
  switch (port) {
    case GCORE_PORT_PM1_EVENT:
      return 0;
    case GCORE_PORT_PM1_EVENT + 2:
      return pm1_enable_;
    case GCORE_PORT_POWER_OFF:
      return kAcpiEnabled;
    case GCORE_PORT_PVPANIC:
      return config_.pvpanic ? GCORE_PVPANIC_PANICKED : 0xffffffff;
    default:
      return 0xffffffff;
  }
}

std::vector<uint64_t> Vm::mmio_pages() const {
  if (config_.arch != format::Machine::aarch64) return {};
  return {GCORE_MMIO_UART, GCORE_MMIO_POWER, GCORE_MMIO_WATCHDOG, GCORE_MMIO_SERIAL, GCORE_MMIO_PVPANIC};
}

void Vm::write_mmio(size_t cpu, uint64_t address, uint64_t value) {
  if (address == GCORE_MMIO_UART) {
    console_.put(cpu, static_cast<char>(value));
  } else if (address == GCORE_MMIO_POWER) {
    if (value == kPowerOff) events_.power_off();
  } else if ((address & kPageMask) == GCORE_MMIO_SERIAL) {
    const auto offset = static_cast<unsigned>(address - GCORE_MMIO_SERIAL);
    if (const auto out = serial_.write(offset, static_cast<uint8_t>(value))) console_.put(cpu, *out);
  } else if (address == GCORE_MMIO_PVPANIC) {
    if ((value & GCORE_PVPANIC_PANICKED) != 0) panic(cpu);
  } else if ((address & kPageMask) == GCORE_MMIO_WATCHDOG) {
    if (sp805_) sp805_->write(address - GCORE_MMIO_WATCHDOG, static_cast<uint32_t>(value));
  }
}

uint64_t Vm::read_mmio(uint64_t address) {
  if (address == GCORE_MMIO_UART + 0x18) return kUartFlagsReady;
  if ((address & kPageMask) == GCORE_MMIO_SERIAL)
    return serial_.read(static_cast<unsigned>(address - GCORE_MMIO_SERIAL));
  if (address == GCORE_MMIO_PVPANIC) return config_.pvpanic ? GCORE_PVPANIC_PANICKED : 0;
  if (sp805_ && (address & kPageMask) == GCORE_MMIO_WATCHDOG) return sp805_->read(address - GCORE_MMIO_WATCHDOG);
  return 0;
}

void Vm::cpu_ended(size_t cpu, const std::string& why) {
  events_.note("vCPU " + std::to_string(cpu) + " stopped: " + why);
}

}  // namespace gcore::tools::vmm
