// A dump's searches and lists of mappings, a few milliseconds' work at a time. Internal to the stub; it knows the
// reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "gdbstub/target.h"
#include "reader/search/search.h"
#include "reader/space/address_space.h"

namespace gcore::gdbstub {

inline constexpr size_t kMappingsAStep = 4096;  // milliseconds
inline constexpr uint64_t kTablesAStep = 256;

class DumpSearch : public Search {
 public:
  /// `tag` is added to each hit.
  DumpSearch(reader::Search search, uint64_t tag, uint64_t slice)
      : search_(std::move(search)), tag_(tag), slice_(slice) {}
  bool step(std::vector<uint64_t>& hits, size_t max_hits) override {
    const size_t before = hits.size();
    const bool more = search_.step(hits, slice_, max_hits);
    for (size_t i = before; i < hits.size(); ++i) hits[i] += tag_;
    return more;
  }
  std::string problem() const override { return search_.problem(); }

 private:
  reader::Search search_;
  uint64_t tag_, slice_;
};

inline Mapping to_mapping(const reader::Mapping& from) {
  return {.start = from.start.value,
          .size = from.size,
          .physical = from.physical.value,
          .page_size = from.page_size,
          .read = from.permissions.read,
          .write = from.permissions.write,
          .execute = from.permissions.execute,
          .user = from.permissions.user};
}

/// A list that is there.
class ReadyList : public MappingList {
 public:
  ReadyList(std::vector<Mapping> all, std::string note) : all_(std::move(all)), note_(std::move(note)) {}
  bool step(const std::function<bool(const Mapping&)>& each) override {
    for (const size_t until = std::min(next_ + kMappingsAStep, all_.size()); next_ < until;)
      if (!each(all_[next_++])) return false;
    return next_ < all_.size();
  }
  std::string note() const override { return note_; }

 private:
  std::vector<Mapping> all_;
  std::string note_;
  size_t next_ = 0;
};

/// One that page tables are read for.
class TableList : public MappingList {
 public:
  explicit TableList(translate::Enumeration enumeration) : enumeration_(std::move(enumeration)) {}
  bool step(const std::function<bool(const Mapping&)>& each) override {
    const bool more = enumeration_.step(
        [&](const reader::Mapping& mapping) {
          stopped_ = !each(to_mapping(mapping));
          return !stopped_;
        },
        kTablesAStep);
    return more && !stopped_;
  }
  std::string note() const override {
    const auto& listing = enumeration_.listing();
    if (!stopped_) return listing.note;
    if (listing.missing_tables == 0) return {};
    return fmt::format("{} tables on the way there, or parts of them, are not in the dump", listing.missing_tables);
  }

 private:
  translate::Enumeration enumeration_;
  bool stopped_ = false;
};

}  // namespace gcore::gdbstub
