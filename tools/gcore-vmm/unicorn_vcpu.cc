#include "tools/gcore-vmm/unicorn_vcpu.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>

#include "tools/gcore-vmm/config.h"

namespace gcore::tools::vmm {
namespace {

constexpr uint64_t kPageSize = 4096;

std::string at_pc(const std::string& why, uint64_t pc) {
  char text[32];
  std::snprintf(text, sizeof text, ", pc 0x%llx", static_cast<unsigned long long>(pc));
  return why + text;
}

}  // namespace

UnicornVcpu::UnicornVcpu(const Arch& arch, GuestMemory& memory, Board& board, RunControl& control,
                         const BootState& state)
    : Vcpu(board, control, state.cpu), arch_(arch), memory_(memory) {}

std::expected<std::unique_ptr<Vcpu>, std::string> UnicornVcpu::create(const Arch& arch, GuestMemory& memory,
                                                                      Board& board, RunControl& control,
                                                                      const BootState& state) {
  std::unique_ptr<UnicornVcpu> cpu(new UnicornVcpu(arch, memory, board, control, state));
  if (auto done = cpu->set_up(state); !done)
    return std::unexpected("vCPU " + std::to_string(state.cpu) + ": " + done.error());
  return cpu;
}

UnicornVcpu::~UnicornVcpu() {
  join();
  if (engine_ != nullptr) uc_close(engine_);
  if (nowhere_ != nullptr) munmap(nowhere_, kPageSize);
}

std::expected<void, std::string> UnicornVcpu::set_up(const BootState& state) {
  auto engine = arch_.open();
  if (!engine) return std::unexpected(engine.error());
  engine_ = *engine;
  // No address at which the engine ends by itself. (With one it looks that address up whenever it returns, and a guest
  // that has not mapped it then takes a fault out of nowhere.)
  if (const uc_err error = uc_ctl_exits_enable(engine_); error != UC_ERR_OK)
    return std::unexpected(std::string(uc_strerror(error)));
  void* page = mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return std::unexpected(std::string("out of memory"));
  nowhere_ = page;
  for (const GuestMemory::Range& range : memory_.ranges()) {
    const uc_err error = uc_mem_map_ptr(engine_, range.address, range.size, UC_PROT_ALL, range.host);
    if (error != UC_ERR_OK) return std::unexpected(std::string("mapping guest RAM: ") + uc_strerror(error));
  }
  const auto read = [](uc_engine*, uint64_t offset, unsigned, void* device) -> uint64_t {
    const auto* mmio = static_cast<MmioPage*>(device);
    return mmio->cpu->board_.read_mmio(mmio->address + offset);
  };
  const auto write = [](uc_engine*, uint64_t offset, unsigned, uint64_t value, void* device) {
    const auto* mmio = static_cast<MmioPage*>(device);
    mmio->cpu->board_.write_mmio(mmio->cpu->index_, mmio->address + offset, value);
  };
  for (const uint64_t address : board_.mmio_pages()) {
    mmio_.push_back(std::make_unique<MmioPage>(MmioPage{this, address}));
    void* device = mmio_.back().get();
    const uc_err error = uc_mmio_map(engine_, address, kPageSize, read, device, write, device);
    if (error != UC_ERR_OK) return std::unexpected(std::string("mapping a device: ") + uc_strerror(error));
  }
  add_hooks();
  if (!arch_.boot(engine_, state)) return std::unexpected(std::string("setting its registers failed"));
  return {};
}

void UnicornVcpu::add_hooks() {
  uc_hook hook = 0;
  const auto add = [&](int type, auto* function, auto... instruction) {
    uc_hook_add(engine_, &hook, type, reinterpret_cast<void*>(function), this, 1, 0, instruction...);
  };
  if (arch_.machine() == format::Machine::x86_64) {
    add(UC_HOOK_INSN, on_out, static_cast<int>(UC_X86_INS_OUT));
    add(UC_HOOK_INSN, on_in, static_cast<int>(UC_X86_INS_IN));
  }
  add(UC_HOOK_BLOCK, on_block);
  add(UC_HOOK_INTR, on_exception);
  add(UC_HOOK_MEM_UNMAPPED, on_unmapped);
}

Vcpu::Outcome UnicornVcpu::run_guest(std::string& why) {
  stopped_ = fetch_again_ = false;
  fault_.clear();
  const uc_err error = uc_emu_start(engine_, arch_.pc(engine_), 0, 0, 0);
  if (!fault_.empty()) {
    arch_.set_pc(engine_, fault_pc_);
    why = fault_;
    return Outcome::ended;
  }
  if (error == UC_ERR_FETCH_UNMAPPED && fetch_again_) return Outcome::again;
  if (error != UC_ERR_OK) {
    why = at_pc(uc_strerror(error), arch_.pc(engine_));
    return Outcome::ended;
  }
  if (stopped_) return Outcome::again;
  switch (arch_.waiting(engine_, memory_)) {
    case Arch::Wait::none:
      return Outcome::again;
    case Arch::Wait::until_tick:
      return Outcome::sleep;
    case Arch::Wait::forever:
      break;
  }
  why = at_pc("halted with interrupts disabled", arch_.pc(engine_));
  return Outcome::ended;
}

// The engine asks for a region at a virtual address before it walks the guest's tables (and on x86_64 takes the bytes
// from there, whatever the walk says), so each page that the guest uses is mapped at its virtual address too, on first
// use. Where the tables have nothing the engine gets a page all the same: it then walks, and raises the right
// exception.
bool UnicornVcpu::map_shadow(uint64_t address) {
  const auto page = arch_.translate(engine_, address, memory_);
  if (page && map_page(*page, address)) return true;
  const uint64_t base = address & ~(kPageSize - 1);
  if (page) {
    const std::byte* host = memory_.at(page->physical_address + (base - page->virtual_address), kPageSize);
    if (host != nullptr)
      return uc_mem_map_ptr(engine_, base, kPageSize, UC_PROT_ALL, const_cast<std::byte*>(host)) == UC_ERR_OK;
  }
  return uc_mem_map_ptr(engine_, base, kPageSize, UC_PROT_ALL, nowhere_) == UC_ERR_OK;
}

// Maps as much of a page as is in one range of RAM. False where something of it is mapped already.
bool UnicornVcpu::map_page(const Page& page, uint64_t address) {
  const uint64_t physical = page.physical_address + (address - page.virtual_address);
  const GuestMemory::Range* range = memory_.find(physical);
  if (range == nullptr) return false;
  const uint64_t start = std::max(page.physical_address, range->address);
  const uint64_t end = std::min(page.physical_address + page.size, range->address + range->size);
  const uint64_t at = page.virtual_address + (start - page.physical_address);
  return uc_mem_map_ptr(engine_, at, end - start, UC_PROT_ALL, range->host + (start - range->address)) == UC_ERR_OK;
}

// The one place where an engine can be stopped with its registers right: before the first instruction of a block.
// Stopped from another thread it ends within a block, after any access to memory, and then executes the whole block
// again.
void UnicornVcpu::on_block(uc_engine* engine, uint64_t, uint32_t, void* self) {
  auto* cpu = static_cast<UnicornVcpu*>(self);
  if (!cpu->kicked_.load(std::memory_order_relaxed)) return;
  cpu->stopped_ = true;
  uc_emu_stop(engine);
}

// It sleeps right here: an engine that is stopped within OUT would execute it again.
void UnicornVcpu::on_out(uc_engine*, uint32_t port, int, uint32_t value, void* self) {
  auto* cpu = static_cast<UnicornVcpu*>(self);
  if (cpu->board_.write_port(cpu->index_, port, value)) cpu->sleep_until_tick();
}

uint32_t UnicornVcpu::on_in(uc_engine*, uint32_t port, int, void* self) {
  return static_cast<UnicornVcpu*>(self)->board_.read_port(port);
}

void UnicornVcpu::on_exception(uc_engine* engine, uint32_t number, void* self) {
  auto* cpu = static_cast<UnicornVcpu*>(self);
  cpu->fault_pc_ = cpu->arch_.pc(engine);
  cpu->fault_ = at_pc(cpu->arch_.exception(engine, number), cpu->fault_pc_);
  uc_emu_stop(engine);
}

// While it fetches, the engine holds on to an entry of its TLB that mapping a region has just dropped, so it must begin
// anew: nothing of the block has been executed yet.
bool UnicornVcpu::on_unmapped(uc_engine*, uc_mem_type type, uint64_t address, int, int64_t, void* self) {
  auto* cpu = static_cast<UnicornVcpu*>(self);
  const bool mapped = cpu->map_shadow(address);
  if (type != UC_MEM_FETCH_UNMAPPED) return mapped;
  cpu->fetch_again_ = mapped;
  return false;
}

bool UnicornVcpu::read_registers(format::RegisterFile& registers, std::string&) const {
  arch_.read_registers(engine_, registers);
  return true;
}

namespace {

class UnicornEngine : public Engine {
 public:
  explicit UnicornEngine(const Machine& machine) : machine_(machine) {}

  std::expected<std::unique_ptr<Vcpu>, std::string> create_vcpu(const BootState& state) override {
    return UnicornVcpu::create(arch_of(machine_.config.arch), machine_.memory, machine_.board, machine_.control, state);
  }
  std::expected<void, std::string> load_kernel(const Config&) override {
    return std::unexpected(std::string("the engine unicorn runs no kernel: no interrupts are delivered"));
  }
  void set_interrupt(unsigned, bool) override {}

 private:
  const Machine machine_;
};

}  // namespace

std::expected<std::unique_ptr<Engine>, std::string> unicorn_engine(const Machine& machine) {
  return std::make_unique<UnicornEngine>(machine);
}

}  // namespace gcore::tools::vmm
