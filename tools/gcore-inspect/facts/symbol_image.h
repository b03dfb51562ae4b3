// One file of --symbols: an ELF file with the file of its debug information, a System.map, or a kernel's module.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "reader/guest/linux/modules.h"
#include "tools/gcore-inspect/facts/symbols.h"
#include "writer/format/elf.h"

namespace llvm {
class DWARFContext;
template <class T>
class Expected;
namespace dwarf {
class FDE;
}
namespace object {
class ObjectFile;
template <typename T>
class OwningBinary;
}  // namespace object
}  // namespace llvm

namespace gcore::tools::inspect {

class SymbolImage {
 public:
  /// An ELF file, a kernel or a program. `debug_path`: the file that has its debug information, or "".
  static std::expected<std::unique_ptr<SymbolImage>, std::string> elf(const std::string& path,
                                                                      const std::string& debug_path,
                                                                      format::Machine machine);
  /// A System.map, or what /proc/kallsyms said.
  static std::expected<std::unique_ptr<SymbolImage>, std::string> map(const std::string& path);
  /// A module's file, which is read when an address in the module is asked for. The module must outlive the image.
  static std::unique_ptr<SymbolImage> module(const std::string& path, const reader::linux_guest::Module& module,
                                             format::Machine machine);
  /// Reads it at once. What is not right with it: a sentence each, without the file's name.
  std::vector<std::string> read_now();
  ~SymbolImage();

  const std::string& path() const { return path_; }
  /// Of an ELF file: what is not right with it, a sentence each, without the file's name.
  const std::vector<std::string>& problems() const { return problems_; }
  bool is_map() const { return is_map_; }
  bool is_module() const { return module_ != nullptr; }
  /// Linked to the kernel's half of the address space (bit 63), and moved as a whole.
  bool is_kernel() const { return module_ == nullptr && !functions_.empty() && functions_.back().start >> 63 != 0; }
  bool is_bare() const;  // of an ELF file: neither symbols nor debug information

  void move(uint64_t displacement) { displacement_ = displacement; }
  uint64_t displacement() const { return displacement_; }

  /// A function as the file has it; of labels of assembler sources, too.
  struct Function {
    uint64_t start, size;  // size 0: unknown, up to the next one
    std::string name;
  };
  std::span<const Function> functions() const { return functions_; }
  /// The build ID, and its address in the file if it is part of what is loaded; empty when the file has none.
  std::pair<std::string, std::optional<uint64_t>> build_id() const;

  /// Of addresses in the running guest, as Symbols says them.
  std::vector<SourceFrame> frames(uint64_t running);
  std::optional<UnwindRow> unwind_row(uint64_t running);

 private:
  struct Files;
  SymbolImage();
  llvm::Expected<llvm::object::OwningBinary<llvm::object::ObjectFile>> open(const std::string& path);
  std::optional<std::string> read(const std::string& debug_path, format::Machine machine);
  std::vector<std::string> read_module();
  void take_debug_information();
  const Function* function_at(uint64_t address) const;
  bool answers_for(uint64_t running);

  std::string path_;
  std::vector<std::string> problems_;
  bool is_map_ = false;
  std::unique_ptr<Files> files_;
  std::vector<Function> functions_;
  std::map<uint64_t, const llvm::dwarf::FDE*> unwind_;  // by first address
  uint64_t displacement_ = 0;                           // of the running guest from what the file says
  const reader::linux_guest::Module* module_ = nullptr;
  format::Machine machine_ = format::Machine::x86_64;  // of a module
  bool is_read_ = true;
};

/// What the file at `path` is, as far as its first bytes tell; the error is why it can have no symbols. LLVM would read
/// all of a dump, and wait for whoever writes into a FIFO.
enum class SymbolFileKind : uint8_t { elf, map };
std::expected<SymbolFileKind, std::string> symbol_file_kind(const std::string& path);

}  // namespace gcore::tools::inspect
