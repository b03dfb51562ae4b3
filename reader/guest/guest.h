// The guest of a dump: what runs in it, and its address spaces, also where the vCPUs' registers do not say them.
//
//   const Guest guest(*dump);
//   if (guest.system().kaslr_offset) address = symbol + *guest.system().kaslr_offset;
//   auto space = guest.space_of_cpu(0);
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "reader/dump/dump.h"
#include "reader/error.h"
#include "reader/guest/guest_system.h"
#include "reader/space/address_space.h"

namespace gcore::reader {

/// Holds what was found in a dump, which must outlive it. Nothing is looked for before it is asked for. All methods may
/// be called from several threads.
class Guest {
 public:
  explicit Guest(const Dump& dump);
  ~Guest();
  Guest(Guest&&) noexcept;
  Guest& operator=(Guest&&) noexcept;

  const Dump& dump() const;

  /// Looked for at the first call, then kept. A kernel that is found is the same for both kinds of search; what a
  /// thorough one has found, a quick one after it gives too.
  const GuestSystem& system(GuestSearch search = GuestSearch::quick) const;

  /// As vCPU `cpu` translates (AddressSpace::of_cpu); where neither its registers nor its record in the dump have a
  /// root, through the kernel's own tables, for which `search` says how hard to look: the first thorough one may read
  /// all of memory. A dump without vCPUs has these for cpu 0. Errors as of_cpu's.
  Expected<AddressSpace> space_of_cpu(size_t cpu, GuestSearch search = GuestSearch::thorough,
                                      AddressSpace::Options options = {}) const;

  /// AddressSpace::with_root; what the registers do not say of the mode is taken from the kernel's tables. In a dump
  /// without vCPUs for cpu 0.
  Expected<AddressSpace> space_with_root(size_t cpu, uint64_t root,
                                         AddressSpace::Root which = AddressSpace::Root::lower) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gcore::reader
