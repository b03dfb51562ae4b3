// Parts that are not there yet. Whoever writes one takes it out of here.
#include "reader/guest/linux/kernel_parts.h"

namespace gcore::reader::linux_guest {
namespace {
std::unexpected<Error> unfinished() { return std::unexpected(Error{Error::Kind::unsupported, "not implemented yet"}); }
}  // namespace

// ---- tasks, unwinding
Expected<TaskList> find_tasks(const Kernel&) { return unfinished(); }
std::optional<VirtAddr> find_current_task(const Kernel&, size_t) { return std::nullopt; }
Expected<std::vector<MemoryArea>> find_areas(const Kernel&, const Task&) { return unfinished(); }
std::optional<format::RegisterFile> find_user_registers(const Kernel&, const Task&) { return std::nullopt; }
Stack find_stack(const Kernel&, const Task&) { return {}; }
Stack find_stack_of_cpu(const Kernel&, size_t) { return {}; }

// ---- messages
Expected<Messages> read_messages(const Kernel&) { return unfinished(); }
std::optional<uint64_t> find_uptime_ns(const Kernel&) { return std::nullopt; }
std::optional<Kernel::Load> find_load(const Kernel&) { return std::nullopt; }

// ---- names, types, modules
Expected<std::vector<Module>> find_modules(const KernelMemory&, const GuestSystem&, const Names&,
                                           const Expected<Types>&) {
  return unfinished();
}
PerCpu find_per_cpu(const KernelMemory&, const Expected<Names>&, const Expected<Types>&) { return {}; }
struct Names::State {};
Expected<Names> Names::find(const KernelMemory&, const GuestSystem&) { return unfinished(); }
Names::Names(Names&&) noexcept = default;
Names& Names::operator=(Names&&) noexcept = default;
Names::~Names() = default;
void Names::add_module(std::string_view, std::vector<Symbol>) {}
std::span<const Symbol> Names::all() const { return {}; }
std::optional<Symbol> Names::find(std::string_view) const { return std::nullopt; }
std::optional<VirtAddr> Names::address_of(std::string_view) const { return std::nullopt; }
std::vector<Symbol> Names::find_all(std::string_view) const { return {}; }
std::optional<Place> Names::lookup(VirtAddr) const { return std::nullopt; }
bool Names::has_data() const { return false; }
const std::string& Names::source() const {
  static const std::string none;
  return none;
}
std::string Place::text() const { return {}; }
struct Types::State {};
Expected<Types> Types::find(const KernelMemory&, const Names&) { return unfinished(); }
Expected<Types> Types::parse(std::vector<std::byte>, const Types*) { return unfinished(); }
Types::Types(Types&&) noexcept = default;
Types& Types::operator=(Types&&) noexcept = default;
Types::~Types() = default;
TypeId Types::first_id() const { return 0; }
TypeId Types::end_id() const { return 0; }
std::optional<Type> Types::type(TypeId) const { return std::nullopt; }
TypeId Types::find_type(std::string_view) const { return 0; }
std::optional<uint64_t> Types::size_of(TypeId) const { return std::nullopt; }
std::optional<uint64_t> Types::size_of(std::string_view) const { return std::nullopt; }
std::optional<Member> Types::member(std::string_view, std::string_view) const { return std::nullopt; }
std::optional<Member> Types::member(TypeId, std::string_view) const { return std::nullopt; }
std::optional<Member> Types::any_member(std::string_view, std::span<const std::string_view>) const {
  return std::nullopt;
}
std::optional<uint64_t> Types::offset(std::string_view, std::string_view) const { return std::nullopt; }
std::optional<int64_t> Types::enumerator(std::string_view) const { return std::nullopt; }
std::span<const std::byte> Types::bytes() const { return {}; }
bool Module::contains(VirtAddr) const { return false; }

}  // namespace gcore::reader::linux_guest
