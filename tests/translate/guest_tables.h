// Random page tables of every mode, together with what they mean.
//
// Built from the manuals' pictures of the entries and from nothing else: no code is shared with reader/translate,
// except that the mode itself is made by its functions from registers.
#pragma once

#include <cstdint>
#include <map>
#include <ostream>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "reader/translate/paging.h"
#include "tests/translate/fake_memory.h"

namespace gcore::tests {

/// A mode to build tables for.
struct TableKind {
  enum class Family { x86_64, pae, x86_32, aarch64 };

  const char* name;
  Family family;
  unsigned address_bits;
  unsigned page_shift = 12;
  bool wide = false;        // aarch64: 52-bit output addresses (LPA with 64K, DS else)
  bool big_endian = false;  // aarch64

  friend void PrintTo(const TableKind& kind, std::ostream* out) { *out << kind.name; }
};

std::span<const TableKind> table_kinds();

class GuestTables {
 public:
  struct Leaf {
    uint64_t size, physical;
    bool write, execute, user;
    bool operator==(const Leaf&) const = default;
  };

  GuestTables(const TableKind& kind, uint64_t seed);

  const translate::Paging& paging() const { return paging_; }
  /// By first virtual address.
  const std::map<uint64_t, Leaf>& leaves() const { return leaves_; }
  /// The leaf at an address with its start, or leaves().end().
  std::map<uint64_t, Leaf>::const_iterator leaf_at(uint64_t address) const;

  /// Memory: the tables; everywhere else bytes made from the address, with some pages missing.
  reader::ReadResult read(reader::PhysAddr address, std::span<std::byte> into) const;
  translate::ReadPhysical reader() const {
    return [this](reader::PhysAddr address, std::span<std::byte> into) { return read(address, into); };
  }

 private:
  uint64_t random(uint64_t below) { return std::uniform_int_distribution<uint64_t>(0, below - 1)(random_); }
  bool chance(unsigned percent) { return random(100) < percent; }
  uint64_t new_table(uint64_t size);
  void fill(uint64_t table, size_t level, uint64_t base, const Leaf& allowed);
  void add_leaf(uint64_t table, size_t index, size_t level, uint64_t address, const Leaf& allowed);
  bool leaf_is_legal(size_t level) const;
  uint64_t table_entry(uint64_t target, size_t level, Leaf& allowed);
  uint64_t leaf_entry(const Leaf& leaf, size_t level) const;
  uint64_t place(uint64_t physical) const;  // an output address in its entry's bits
  void store(uint64_t table, size_t index, uint64_t entry);

  const TableKind& kind_;
  std::mt19937_64 random_;
  std::vector<unsigned> shifts_;  // of each level, root first
  unsigned physical_bits_;
  uint64_t next_leaf_ = 0;  // physical address right behind the last leaf
  FakeMemory memory_;
  std::map<uint64_t, uint64_t> tables_;  // address -> size
  std::map<uint64_t, Leaf> leaves_;
  translate::Paging paging_;
};

}  // namespace gcore::tests
