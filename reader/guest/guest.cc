#include "reader/guest/guest.h"

#include <atomic>
#include <mutex>
#include <optional>
#include <utility>

#include "reader/guest/find_guest.h"
#include "writer/format/machine.h"

namespace gcore::reader {

struct Guest::State {
  explicit State(const Dump& of) : dump(of) {}

  struct Lazy {
    std::once_flag once;
    std::atomic<bool> done = false;
    GuestSystem found;
  };

  const Dump& dump;
  Lazy quick, thorough;
};

Guest::Guest(const Dump& dump) : state_(std::make_unique<State>(dump)) {}
Guest::~Guest() = default;
Guest::Guest(Guest&&) noexcept = default;
Guest& Guest::operator=(Guest&&) noexcept = default;

const Dump& Guest::dump() const { return state_->dump; }

const GuestSystem& Guest::system(GuestSearch search) const {
  auto& quick = state_->quick;
  std::call_once(quick.once, [&] { quick.found = find_guest(state_->dump, GuestSearch::quick); });
  if (!worth_more_search(quick.found)) return quick.found;
  auto& thorough = state_->thorough;
  if (search == GuestSearch::quick) return thorough.done ? thorough.found : quick.found;
  std::call_once(thorough.once, [&] {
    thorough.found = find_guest(state_->dump, GuestSearch::thorough);
    thorough.done = true;
  });
  return thorough.found;
}

namespace {

std::optional<FallbackPaging> kernels_own(const GuestSystem& guest) {
  if (!guest.kernel_paging) return std::nullopt;
  return FallbackPaging{*guest.kernel_paging, guest.kernel_paging_source};
}

}  // namespace

Expected<AddressSpace> Guest::space_of_cpu(size_t cpu, GuestSearch search, AddressSpace::Options options) const {
  auto space = AddressSpace::of_cpu(state_->dump, cpu, options);
  if (space || space.error().kind != Error::Kind::not_present) return space;
  options.fallback = kernels_own(system(search));
  if (options.fallback) return AddressSpace::of_cpu(state_->dump, cpu, options);
  space.error().text += ", and no Linux kernel with its tables was found in guest memory";
  return space;
}

Expected<AddressSpace> Guest::space_with_root(size_t cpu, uint64_t root, AddressSpace::Root which) const {
  AddressSpace::Options options;
  // With one root there is nothing to add: registers and VMCOREINFO say the rest.
  const bool has_two_roots = format::machine_info(state_->dump.machine()).root_registers.size() > 1;
  if (has_two_roots && !AddressSpace::of_cpu(state_->dump, cpu, options))
    options.fallback = kernels_own(system(GuestSearch::thorough));
  return AddressSpace::with_root(state_->dump, cpu, root, which, options);
}

}  // namespace gcore::reader
