#include "reader/guest/linux/kernel.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "reader/guest/linux/kernel_parts.h"
#include "reader/guest/linux/machine.h"

namespace gcore::reader::linux_guest {
namespace {

/// A part that is made when it is first asked for.
template <class T>
class Lazy {
 public:
  template <class Make>
  T& get(Make&& make) {
    std::call_once(once_, [&] { value_.emplace(make()); });
    return *value_;
  }

 private:
  std::once_flag once_;
  std::optional<T> value_;
};

std::unexpected<Error> no_kernel(const Dump& dump, Error::Kind kind, const std::string& why) {
  return std::unexpected(Error{kind, "cannot read the Linux kernel in " + dump.path() + ": " + why});
}

/// Whether the kernel's image is there in this address space.
bool shows_kernel(const AddressSpace& space, const GuestSystem& guest) {
  if (!space.paging()) return false;
  if (!guest.image_address || !guest.image_physical) return true;
  const auto there = space.translate(*guest.image_address);
  return there && there->address == *guest.image_physical;
}

Expected<AddressSpace> kernel_space(const Dump& dump, const GuestSystem& guest) {
  for (size_t cpu = 0; cpu < dump.cpus().size(); ++cpu) {
    auto space = AddressSpace::of_cpu(dump, cpu);
    if (space && shows_kernel(*space, guest)) return space;
  }
  if (guest.kernel_paging) return AddressSpace::through(dump, {*guest.kernel_paging, guest.kernel_paging_source});
  return no_kernel(dump, Error::Kind::not_present, "no vCPU shows it, and nothing says where its page tables are");
}

}  // namespace

struct Kernel::State {
  State(const Dump& d, const GuestSystem& g, AddressSpace space) : dump(d), guest(g), memory(d, std::move(space)) {}

  const Dump& dump;
  const GuestSystem guest;
  KernelMemory memory;

  // Each uses those above it only. `names` is the kernel's own until `all_names` has added the modules' to it; whoever
  // uses it before is done by then.
  Lazy<Expected<Names>> names;
  Lazy<Expected<Types>> types;
  Lazy<Expected<std::vector<Module>>> modules;
  Lazy<bool> all_names;
  Lazy<PerCpu> per_cpu;
  Lazy<Expected<TaskList>> tasks;
  Lazy<Expected<Messages>> messages;
  Lazy<UnwindTables> unwind_tables;

  std::mutex module_types_lock;
  std::map<std::string, Expected<Types>, std::less<>> module_types;

  Expected<Names>& own_names() {
    return names.get([&] { return Names::find(memory, guest); });
  }
};

Expected<std::unique_ptr<Kernel>> Kernel::find(const Dump& dump, const GuestSystem& guest) {
  if (guest.kind != GuestSystem::Kind::linux_kernel)
    return no_kernel(dump, Error::Kind::not_present,
                     guest.kind == GuestSystem::Kind::qnx ? "the guest is QNX" : "no Linux kernel was found");
  if (find_linux_machine(dump.machine()) == nullptr)
    return no_kernel(dump, Error::Kind::unsupported, "it is one of 32 bits");
  auto space = kernel_space(dump, guest);
  if (!space) return std::unexpected(space.error());
  return std::unique_ptr<Kernel>(new Kernel(std::make_unique<State>(dump, guest, *std::move(space))));
}

Kernel::Kernel(std::unique_ptr<State> state) : state_(std::move(state)) {}
Kernel::~Kernel() = default;

const Dump& Kernel::dump() const { return state_->dump; }
const GuestSystem& Kernel::guest() const { return state_->guest; }
const KernelMemory& Kernel::memory() const { return state_->memory; }

const Expected<Types>& Kernel::types() const {
  return state_->types.get([&]() -> Expected<Types> {
    const auto& names = state_->own_names();
    if (!names) return std::unexpected(names.error());
    return Types::find(state_->memory, *names);
  });
}

const Expected<std::vector<Module>>& Kernel::modules() const {
  return state_->modules.get([&]() -> Expected<std::vector<Module>> {
    const auto& names = state_->own_names();
    if (!names) return std::unexpected(names.error());
    return find_modules(state_->memory, state_->guest, *names, types());
  });
}

const Expected<Names>& Kernel::names() const {
  state_->all_names.get([&] {
    auto& names = state_->own_names();
    if (const auto& modules = this->modules(); names && modules)
      for (const Module& module : *modules) {
        std::vector<Names::Extent> extents;
        for (const Module::Region& region : module.regions) {
          extents.push_back({region.address, region.text_size});
          extents.push_back({region.address + region.text_size, region.size - region.text_size});
        }
        names->add_module(module.name, module.symbols, std::move(extents));
      }
    return true;
  });
  return state_->own_names();
}

const Expected<TaskList>& Kernel::tasks() const {
  return state_->tasks.get([&] { return find_tasks(*this); });
}
const Expected<Messages>& Kernel::messages() const {
  return state_->messages.get([&] { return read_messages(*this); });
}

const UnwindTables& Kernel::unwind_tables() const {
  return state_->unwind_tables.get([&] { return find_unwind_tables(*this); });
}

const Types* Kernel::module_types(std::string_view name) const {
  if (!modules() || !types()) return nullptr;
  const auto module = std::ranges::find(*modules(), name, &Module::name);
  if (module == modules()->end() || module->btf.empty() || !module->btf_base.empty()) return nullptr;
  const std::scoped_lock lock(state_->module_types_lock);
  auto made = state_->module_types.find(name);
  if (made == state_->module_types.end())
    made = state_->module_types.emplace(name, Types::parse(module->btf, &*types())).first;
  return made->second ? &*made->second : nullptr;
}

std::optional<VirtAddr> Kernel::address_of(std::string_view symbol) const {
  return names() ? names()->address_of(symbol) : std::nullopt;
}
std::optional<uint64_t> Kernel::offset(std::string_view type, std::string_view path) const {
  return types() ? types()->offset(type, path) : std::nullopt;
}

namespace {

/// aarch64 enters a kernel that is not in its processes' page tables by code that is mapped a second time, far from the
/// image (arch/arm64/kernel/entry.S, tramp_vectors). Where that code is in the image.
std::optional<VirtAddr> of_entry_code(const Kernel& kernel, const Names& names, VirtAddr address) {
  const auto start = names.address_of("__entry_tramp_text_start"), end = names.address_of("__entry_tramp_text_end");
  if (!start || !end || *end <= *start || !kernel.memory().is_kernel_address(address)) return std::nullopt;
  const auto& space = kernel.memory().space();
  const auto here = space.translate(address), there = space.translate(*start);
  if (!here || !there || !here->permissions.execute || here->address < there->address) return std::nullopt;
  const uint64_t distance = here->address.value - there->address.value;
  return distance < end->value - start->value ? std::optional(*start + distance) : std::nullopt;
}

const PerCpu& per_cpu_of(const Kernel& kernel, Lazy<PerCpu>& lazy) {
  return lazy.get([&] { return find_per_cpu(kernel.memory(), kernel.names()); });
}

}  // namespace

std::optional<Place> Kernel::lookup(VirtAddr address) const {
  if (!names()) return std::nullopt;
  if (auto place = names()->lookup(address)) return place;
  const auto own = of_entry_code(*this, *names(), address);
  return own ? names()->lookup(*own) : std::nullopt;
}

std::optional<VirtAddr> Kernel::per_cpu(VirtAddr symbol, uint32_t cpu) const {
  const PerCpu& areas = per_cpu_of(*this, state_->per_cpu);
  if (cpu >= areas.offsets.size() || areas.offsets[cpu] == 0) return std::nullopt;
  return symbol + areas.offsets[cpu];
}
std::optional<VirtAddr> Kernel::per_cpu(std::string_view symbol, uint32_t cpu) const {
  const auto address = address_of(symbol);
  return address ? per_cpu(*address, cpu) : std::nullopt;
}
std::optional<uint32_t> Kernel::cpu_number(size_t vcpu) const {
  const PerCpu& areas = per_cpu_of(*this, state_->per_cpu);
  return vcpu < areas.numbers.size() ? areas.numbers[vcpu] : std::nullopt;
}
std::span<const uint32_t> Kernel::online_cpus() const { return per_cpu_of(*this, state_->per_cpu).online; }

std::optional<VirtAddr> Kernel::current_task(size_t vcpu) const { return find_current_task(*this, vcpu); }
std::optional<Task> Kernel::task_at(VirtAddr address) const { return find_task(*this, address); }
std::optional<uint64_t> Kernel::uptime_ns() const { return find_uptime_ns(*this); }
std::optional<Kernel::Load> Kernel::load() const { return find_load(*this); }
Stack Kernel::stack_of(const Task& task) const { return find_stack(*this, task); }
Stack Kernel::stack_of_cpu(size_t vcpu) const { return find_stack_of_cpu(*this, vcpu); }
Expected<std::vector<MemoryArea>> Kernel::areas_of(const Task& task) const { return find_areas(*this, task); }
std::optional<format::RegisterFile> Kernel::user_registers(const Task& task) const {
  return find_user_registers(*this, task);
}

}  // namespace gcore::reader::linux_guest
