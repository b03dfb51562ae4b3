#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace gcore::tests {

/// libkdumpfile's view of a dump: an oracle for what a dump says and for address translation. Methods throw
/// std::runtime_error with the library's own words when something else than "not mapped" keeps them from an answer.
class Kdumpfile {
 public:
  /// Opens a dump; throws when the library cannot. `is_linux`: of a Linux guest, whose page tables it is to find.
  explicit Kdumpfile(const std::string& path, bool is_linux = true);
  ~Kdumpfile();
  Kdumpfile(const Kdumpfile&) = delete;
  Kdumpfile& operator=(const Kdumpfile&) = delete;

  /// What the library says of an address, in its own terms.
  struct Answer {
    enum class Kind : uint8_t { mapped, not_present, invalid, no_method, other } kind = Kind::other;
    uint64_t physical = 0;
    std::string error;  // the library's words; "" when mapped
  };

  /// Guest-physical memory. Throws where the dump has none.
  std::string read_physical(uint64_t address, size_t size);

  /// As the library's users translate: by the tables that it finds itself through VMCOREINFO and the notes.
  Answer kernel_to_physical(uint64_t address);

  /// A walk of given tables: bits of the page offset first, then those of each level's index, the last table's first.
  struct Form {
    bool aarch64 = false;
    std::vector<unsigned short> field_bits;
    bool operator==(const Form&) const = default;
  };
  Answer walk(const Form& form, uint64_t root, uint64_t address);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gcore::tests
