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

}  // namespace gcore::reader::linux_guest
