// Parts that are not there yet. Whoever writes one takes it out of here.
#include "reader/guest/linux/kernel_parts.h"

namespace gcore::reader::linux_guest {
namespace {
std::unexpected<Error> unfinished() { return std::unexpected(Error{Error::Kind::unsupported, "not implemented yet"}); }
}  // namespace

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
