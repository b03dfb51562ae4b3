#include "tests/oracle/addresses.h"

#include <random>
#include <stdexcept>

namespace gcore::tests {
namespace {

bool is_kernels(uint64_t address) { return address >> 63; }

class Draw {
 public:
  Draw(const std::vector<reader::Mapping>& mappings, uint64_t seed) : random_(seed) {
    for (const reader::Mapping& mapping : mappings) {
      all_.push_back(&mapping);
      if (!is_kernels(mapping.start.value)) lower_.push_back(&mapping);
    }
    if (all_.empty()) throw std::runtime_error("nothing is mapped");
    if (lower_.empty()) lower_ = all_;
  }

  uint64_t operator()(size_t turn) {
    switch (turn % 12) {
      case 0:
      case 1:
      case 2:
        return inside(all_);
      case 3:
      case 4:
        return inside(lower_);
      case 5:
      case 6:
        return border(all_);
      case 7:
        return border(lower_);
      case 8:
      case 9:
        return inside(all_) ^ uint64_t { 1 } << random_() % 64;
      case 10: {
        const uint64_t kept = (uint64_t{1} << (36 + random_() % 22)) - 1;
        return (inside(all_) & kept) | (random_() & ~kept);
      }
      default: {
        const uint64_t any = random_() >> random_() % 52;
        return random_() % 2 ? any : ~any;
      }
    }
  }

 private:
  using Choice = std::vector<const reader::Mapping*>;

  const reader::Mapping& one_of(const Choice& choice) { return *choice[random_() % choice.size()]; }
  uint64_t inside(const Choice& choice) {
    const reader::Mapping& mapping = one_of(choice);
    return mapping.start.value + random_() % mapping.size;
  }
  /// One of the 2 bytes on each side of the two ends.
  uint64_t border(const Choice& choice) {
    const reader::Mapping& mapping = one_of(choice);
    return mapping.start.value + (random_() % 2 ? mapping.size : 0) + random_() % 4 - 2;
  }

  std::mt19937_64 random_;
  Choice all_, lower_;
};

}  // namespace

std::vector<reader::Mapping> list_mappings(const reader::AddressSpace& space) {
  std::vector<reader::Mapping> mappings;
  space.enumerate([&](const reader::Mapping& mapping) {
    mappings.push_back(mapping);
    return true;
  });
  return mappings;
}

std::vector<uint64_t> draw_addresses(const std::vector<reader::Mapping>& mappings, size_t count, uint64_t seed) {
  Draw draw(mappings, seed);
  std::vector<uint64_t> addresses;
  for (size_t i = 0; i < count; ++i) addresses.push_back(draw(i));
  return addresses;
}

}  // namespace gcore::tests
