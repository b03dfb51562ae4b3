// The address spaces of a dump, what they map where, and what is remarkable about that.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {

/// Adjacent mappings of equal permissions and page size, wherever their memory is. Where a kernel maps the same memory
/// again and again at equal distances (Linux on x86: 256 times for its stacks of ESPFIX), that is one.
struct Range {
  reader::VirtAddr start{};
  uint64_t size = 0;
  std::optional<reader::PhysAddr> physical;  // where it starts; nothing when the range is scattered
  uint64_t page_size = 0;                    // 0: paging is off
  reader::Permissions permissions;
  enum class Presence : uint8_t { all, part, none } presence = Presence::all;  // how much of it the dump has
  uint64_t count = 1, stride = 0;        // it is there so often, from start to start so far apart
  std::vector<reader::Mapping> parts{};  // what it is made of, each contiguous; ascending

  uint64_t bytes() const { return count * size; }
  reader::VirtAddr last() const { return start + (stride * (count - 1) + (size - 1)); }
};
const char* presence_name(Range::Presence presence);
/// "256 times 4.0 KiB, every 64.0 KiB"; its size alone when it is there once.
std::string size_text(const Range& range);

/// What the listings of all address spaces of one output may take together: a hostile dump has as many of them as it
/// has vCPUs, and each can be as large as its tables can make it.
struct ListingBudget {
  uint64_t table_visits = uint64_t{1} << 20;
  uint64_t mappings = uint64_t{1} << 20;
};

/// Calls `on_range` for each range, ascending, and says how the listing ended. `on_table` gets each page table. Takes
/// what it needs from the budget; the listing's note says so where that was not enough.
reader::Listing list_ranges(const reader::Dump& dump, const reader::AddressSpace& space, ListingBudget& budget,
                            const std::function<void(const Range&)>& on_range,
                            const reader::OnTable& on_table = nullptr);

/// The address spaces of all vCPUs, each once: vCPUs of one kernel often share one.
struct Spaces {
  struct Entry {
    reader::AddressSpace space;
    std::vector<size_t> cpus;
  };
  std::vector<Entry> all;
  std::vector<std::optional<size_t>> of_cpu;  // index in `all`; nothing when no root table is known

  explicit Spaces(const reader::Guest& guest);
};

/// What a system that is in order hardly ever has.
struct Finding {
  enum class Kind : uint8_t { writable_executable, user_in_kernel_half };
  static constexpr size_t kKinds = 2;
  Kind kind = Kind::writable_executable;
  uint64_t ranges = 0, bytes = 0;
  reader::VirtAddr first{};  // the lowest such range
};
const char* finding_name(Finding::Kind kind);  // "writable_executable"
std::string describe(const Finding& finding);  // "writable and executable: 2 ranges, 8.0 KiB, the first at 0x1000"

/// Collects findings from ranges, in any order.
class Findings {
 public:
  Findings(format::Machine machine, bool paging) : machine_(machine), paging_(paging) {}
  /// What is remarkable about this one ("" when nothing is), which counts from then on.
  std::string add(const Range& range);
  std::vector<Finding> all() const;

 private:
  format::Machine machine_;
  bool paging_;
  Finding found_[Finding::kKinds];
};

}  // namespace gcore::tools::inspect
