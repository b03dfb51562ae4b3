// The names, source lines and unwind tables of the guest's files (--symbols). load_symbols.h loads them.
//
// Addresses are those of the running guest: move_kernel() says by how much a kernel moved itself (KASLR).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gcore::tools::inspect {

/// A function at an address, and the line where the address is.
struct SourceFrame {
  std::string function;
  uint64_t offset = 0;  // from the start of the function; of an inlined one 0
  std::string file;     // "" when there is no line information
  uint32_t line = 0;
  bool inlined = false;  // into the frame that follows in the list
};

/// How one register of the caller is found, after the rules of DWARF's call frame information.
struct UnwindRule {
  enum class Kind : uint8_t {
    same,           // unchanged
    undefined,      // lost
    at_cfa,         // in memory at CFA + offset
    cfa_plus,       // CFA + offset itself
    register_plus,  // register `reg` + offset
    at_register,    // in memory at register `reg` + offset
    unsupported,    // a DWARF expression or something else that is not followed
  };
  Kind kind = Kind::same;
  uint32_t reg = 0;  // DWARF's number
  int64_t offset = 0;
};

struct UnwindRow {
  UnwindRule cfa;                            // register_plus, or unsupported
  std::map<uint32_t, UnwindRule> registers;  // by DWARF's numbers; one that is not here is unchanged
  uint32_t return_register = 0;
  bool signal_frame = false;  // the caller's pc does not follow a call
};

class SymbolImage;

class Symbols {
 public:
  Symbols();
  Symbols(Symbols&&) noexcept;
  Symbols& operator=(Symbols&&) noexcept;
  ~Symbols();

  void add(std::unique_ptr<SymbolImage> image);

  /// By how much the guest's kernel is displaced from its file's addresses, modulo 2^64: applies to the files that are
  /// linked to the kernel's half of the address space (bit 63), and not to those of processes.
  void move_kernel(uint64_t displacement);

  /// The build ID of each file of a kernel that has one: what tells it from other builds of the same sources.
  struct BuildId {
    std::string path, bytes;
    std::optional<uint64_t> address;  // where the running kernel has these bytes, if it loads them and move_kernel() is
                                      // right
  };
  std::vector<BuildId> kernel_build_ids() const;

  /// There is nothing but modules, which no vCPU need be in.
  bool has_modules_only() const;

  /// The functions of each System.map, at the addresses of the running guest.
  struct Map {
    std::string path;
    std::vector<std::pair<std::string, uint64_t>> functions;
  };
  std::vector<Map> maps() const;

  /// Where the kernel's file has one of these symbols, the first that it has; nothing when there is no kernel's file,
  /// or it has none of them.
  std::optional<uint64_t> kernel_symbol(std::initializer_list<std::string_view> names) const;

  /// Inlined functions first, the function that holds them last. Empty when no file knows the address.
  std::vector<SourceFrame> frames(uint64_t address) const;

  /// "function+0x12 at file.c:34"; "" when no file knows the address.
  std::string name(uint64_t address) const;

  std::optional<UnwindRow> unwind_row(uint64_t pc) const;

 private:
  std::vector<std::unique_ptr<SymbolImage>> images_;
};

}  // namespace gcore::tools::inspect
