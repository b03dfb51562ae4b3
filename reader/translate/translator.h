// Translates addresses of one address space over any physical memory. Pure: it knows neither dumps nor files.
//
// There is one step function (step.h): translate() and walk() both call it until it is done, and enumerate() decodes
// with the same code. The tables that translate() comes across are kept in memory (at most 8 MiB), which makes it a
// hundred times as fast as reading them each time; failures are not kept. All methods may be called from several
// threads at once.
#pragma once

#include <cstddef>
#include <expected>
#include <memory>
#include <span>
#include <string>

#include "reader/translate/paging.h"
#include "reader/translate/types.h"

namespace gcore::translate {

/// A listing that is made bit by bit; see Translator::enumeration(). Needs the Translator no more, but what its
/// ReadPhysical refers to.
class Enumeration {
 public:
  Enumeration(Enumeration&&) noexcept;
  Enumeration& operator=(Enumeration&&) noexcept;
  ~Enumeration();

  /// Looks into about so many tables more (of 4 KiB; at least 1) and hands out what they map, ascending over all steps.
  /// False when the listing is over: then listing() is complete.
  bool step(const OnMapping& on_mapping, uint64_t table_visits);
  const Listing& listing() const;

 private:
  friend class Translator;
  class Lister;
  explicit Enumeration(std::unique_ptr<Lister> lister);
  std::unique_ptr<Lister> lister_;
};

class Translator {
 public:
  Translator(Paging paging, ReadPhysical read, ExpectPhysical expect = nullptr);
  Translator(Translator&&) noexcept;
  Translator& operator=(Translator&&) noexcept;
  ~Translator();

  const Paging& paging() const { return paging_; }

  /// Translation::contiguous is the rest of the page; if more is `wanted`, so far as the last table shows, up to that.
  std::expected<Translation, Fault> translate(VirtAddr address, uint64_t wanted = 1) const;

  /// The same translation without the caches, with every entry on the way.
  Walk walk(VirtAddr address) const;

  /// Reads run by run: one physical read for each stretch that is contiguous.
  VirtReadResult read(VirtAddr address, std::span<std::byte> into) const;

  /// Lists what is mapped, in ascending order, adjacent ranges merged. Linear in the tables that exist; ends on any
  /// memory. When paging is off, one range. Entries that are malformed and tables that are missing are counted and
  /// passed over.
  Listing enumerate(const OnMapping& on_mapping, const Limits& limits = {}, const OnTable& on_table = nullptr) const;

  /// The same in steps.
  Enumeration enumeration(const Limits& limits = {}, const OnTable& on_table = nullptr) const;

  /// The address as the tables see it: aarch64's tag and pointer authentication bits are replaced by copies of bit 55.
  /// On other machines the address itself.
  VirtAddr without_tag(VirtAddr address) const;

 private:
  struct Caches;

  std::expected<Translation, Fault> find(VirtAddr address, uint64_t wanted) const;

  Paging paging_;
  ReadPhysical read_;
  ExpectPhysical expect_;
  std::unique_ptr<Caches> caches_;
};

}  // namespace gcore::translate
