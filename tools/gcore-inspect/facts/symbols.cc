#include "tools/gcore-inspect/facts/symbols.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <llvm/BinaryFormat/Magic.h>
#include <llvm/DebugInfo/DWARF/DWARFContext.h>
#include <llvm/DebugInfo/DWARF/DWARFDebugFrame.h>
#include <llvm/Demangle/Demangle.h>
#include <llvm/Object/BuildID.h>
#include <llvm/Object/ELFObjectFile.h>
#include <llvm/Object/SymbolSize.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "tools/common/program.h"

namespace gcore::tools::inspect {
namespace {

namespace object = llvm::object;
namespace dwarf = llvm::dwarf;

struct Function {
  uint64_t start, size;  // size 0: unknown, up to the next one
  std::string name;
};

/// Functions, and labels of assembler sources, ascending.
std::vector<Function> functions_of(const object::ObjectFile& file) {
  std::vector<Function> functions;
  for (const auto& [symbol, size] : object::computeSymbolSizes(file)) {
    auto type = symbol.getType();
    auto name = symbol.getName();
    auto address = symbol.getAddress();
    auto flags = symbol.getFlags();
    const bool usable = type && name && address && flags &&
                        (*type == object::SymbolRef::ST_Function || *type == object::SymbolRef::ST_Unknown) &&
                        !name->empty() && !name->starts_with("$") && (*flags & object::SymbolRef::SF_Undefined) == 0;
    if (usable) functions.push_back({*address, size, llvm::demangle(std::string_view(name->data(), name->size()))});
    if (!type) llvm::consumeError(type.takeError());
    if (!name) llvm::consumeError(name.takeError());
    if (!address) llvm::consumeError(address.takeError());
    if (!flags) llvm::consumeError(flags.takeError());
  }
  std::ranges::stable_sort(functions, {}, &Function::start);
  return functions;
}

bool is_for(const object::ObjectFile& file, format::Machine machine) {
  switch (file.getArch()) {
    case llvm::Triple::x86_64:
      return machine == format::Machine::x86_64;
    case llvm::Triple::x86:
      return machine == format::Machine::x86 || machine == format::Machine::x86_64;
    case llvm::Triple::aarch64:
    case llvm::Triple::aarch64_be:
      return machine == format::Machine::aarch64;
    default:
      return false;
  }
}

/// What a file that is no ELF file is, where people take it for one: a kernel as boot loaders take it (Linux'
/// Documentation/arch/x86/boot.rst, arch/arm64/booting.rst; "zimg": drivers/firmware/efi/libstub), or one that is
/// packed.
std::string describe_foreign(std::string_view begin) {
  const auto has = [&](size_t at, std::string_view magic) {
    return begin.substr(std::min(at, begin.size())).starts_with(magic);
  };
  if (has(0x202, "HdrS") || has(0x38, "ARM\x64") || has(4, "zimg"))
    return "it is a kernel image for a boot loader (vmlinuz, bzImage, Image), which has no symbols; take the ELF file "
           "that "
           "it was made from, the vmlinux with debug information";
  if (has(0, "\x1f\x8b") ||
      has(0,
          "\xfd"
          "7zXZ") ||
      has(0, "\x28\xb5\x2f\xfd") || has(0, "BZh"))
    return "it is compressed; unpack it first (a packed kernel image, vmlinuz, has no symbols: take the vmlinux with "
           "debug "
           "information)";
  return "it is not an ELF file";
}

/// Why the file can have no symbols, or "". LLVM would read all of a dump, and wait for whoever writes into a FIFO.
std::string unusable(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return std::strerror(errno);
  struct stat status{};
  char begin[0x210] = {};
  const bool regular = fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
  const ssize_t got = regular ? read(fd, begin, sizeof begin) : 0;
  close(fd);
  if (S_ISDIR(status.st_mode)) return "it is a folder";
  if (!regular) return "it is not a regular file";
  if (got == 0) return "it is empty";
  const std::string_view start(begin, static_cast<size_t>(std::max<ssize_t>(got, 0)));
  switch (llvm::identify_magic(start)) {
    case llvm::file_magic::elf:
    case llvm::file_magic::elf_relocatable:
    case llvm::file_magic::elf_executable:
    case llvm::file_magic::elf_shared_object:
      return "";
    case llvm::file_magic::elf_core:
      return "it is a memory dump (a core file), not a program or kernel";
    default:
      return describe_foreign(start);
  }
}

/// The build ID, and its address if it is part of what is loaded; empty when the file has none.
std::pair<std::string, std::optional<uint64_t>> build_id_of(const object::ObjectFile& file) {
  const auto id = object::getBuildID(&file);
  for (const object::SectionRef& section : file.sections()) {
    auto contents = section.getContents();
    if (!contents) {
      llvm::consumeError(contents.takeError());
      continue;
    }
    const auto at = reinterpret_cast<uintptr_t>(id.data()), start = reinterpret_cast<uintptr_t>(contents->data());
    if (at < start || at - start >= contents->size()) continue;
    const bool loaded = (object::ELFSectionRef(section).getFlags() & llvm::ELF::SHF_ALLOC) != 0;
    return {{reinterpret_cast<const char*>(id.data()), id.size()},
            loaded ? std::optional(section.getAddress() + (at - start)) : std::nullopt};
  }
  return {};
}

UnwindRule rule_of(const dwarf::UnwindLocation& location) {
  using Location = dwarf::UnwindLocation;
  using Kind = UnwindRule::Kind;
  // Whether the register is that value or is stored there has no accessor, so it is compared.
  const bool memory = location == Location::createAtCFAPlusOffset(location.getOffset()) ||
                      location == Location::createAtRegisterPlusOffset(location.getRegister(), location.getOffset());
  switch (location.getLocation()) {
    case Location::Unspecified:
    case Location::Same:
      return {Kind::same};
    case Location::Undefined:
      return {Kind::undefined};
    case Location::CFAPlusOffset:
      return {memory ? Kind::at_cfa : Kind::cfa_plus, 0, location.getOffset()};
    case Location::RegPlusOffset:
      return {memory ? Kind::at_register : Kind::register_plus, location.getRegister(), location.getOffset()};
    default:
      return {Kind::unsupported};
  }
}

/// The last row of the table that starts at or before `pc`.
std::optional<UnwindRow> row_at(const dwarf::FDE& entry, uint64_t pc) {
  auto table = dwarf::UnwindTable::create(&entry);
  if (!table) {
    llvm::consumeError(table.takeError());
    return std::nullopt;
  }
  const dwarf::UnwindRow* best = nullptr;
  for (const dwarf::UnwindRow& row : *table)
    if (!row.hasAddress() || row.getAddress() <= pc) best = &row;
  if (best == nullptr) return std::nullopt;
  const dwarf::CIE& common = *entry.getLinkedCIE();
  UnwindRow result;
  result.cfa = rule_of(best->getCFAValue());
  result.return_register = static_cast<uint32_t>(common.getReturnAddressRegister());
  result.signal_frame = common.getAugmentationString().contains('S');
  // The table has no iterator; DWARF's general registers and the return address are below 34 on all three machines.
  for (uint32_t reg = 0; reg < 34; ++reg)
    if (const auto location = best->getRegisterLocations().getRegisterLocation(reg))
      result.registers[reg] = rule_of(*location);
  return result;
}

}  // namespace

struct Symbols::Image {
  std::string path;
  object::OwningBinary<object::ObjectFile> file;
  std::unique_ptr<llvm::DWARFContext> debug;
  std::vector<Function> functions;
  std::map<uint64_t, const dwarf::FDE*> unwind;  // by first address
  uint64_t displacement = 0;                     // of the running guest from what the file says

  bool is_kernel() const { return !functions.empty() && functions.back().start >> 63 != 0; }

  const Function* function_at(uint64_t address) const {
    auto next = std::ranges::upper_bound(functions, address, {}, &Function::start);
    // Of several symbols at one address the first is taken; a function's size, where it is known, ends it.
    while (next != functions.begin()) {
      --next;
      if (address - next->start < next->size || (next->size == 0 && address - next->start < 4096)) {
        while (next != functions.begin() && std::prev(next)->start == next->start && std::prev(next)->size != 0) --next;
        return &*next;
      }
      if (next->size != 0) return nullptr;
    }
    return nullptr;
  }

  void add_unwind(llvm::Expected<const llvm::DWARFDebugFrame*> frames) {
    if (!frames) return llvm::consumeError(frames.takeError());
    if (*frames == nullptr) return;
    for (const dwarf::FrameEntry& entry : (*frames)->entries())
      if (const auto* fde = llvm::dyn_cast<dwarf::FDE>(&entry); fde != nullptr && fde->getLinkedCIE() != nullptr)
        unwind.emplace(fde->getInitialLocation(), fde);
  }
};

Symbols::Symbols() = default;
Symbols::Symbols(Symbols&&) noexcept = default;
Symbols& Symbols::operator=(Symbols&&) noexcept = default;
Symbols::~Symbols() = default;

std::expected<Symbols, std::string> Symbols::load(const std::vector<std::string>& paths, format::Machine machine,
                                                  std::vector<std::string>& remarks) {
  Symbols symbols;
  // What LLVM finds odd in debug information is not the user's business: the names that can be had are shown.
  const auto ignore = [](llvm::Error error) { llvm::consumeError(std::move(error)); };
  for (const std::string& path : paths) {
    if (const std::string why = unusable(path); !why.empty()) return std::unexpected(path + ": " + why);
    auto image = std::make_unique<Image>();
    auto file = object::ObjectFile::createObjectFile(path);
    if (!file) return std::unexpected(path + ": " + llvm::toString(file.takeError()));
    image->file = std::move(*file);
    image->path = path;
    const object::ObjectFile& object = *image->file.getBinary();
    if (!is_for(object, machine))
      return std::unexpected(fmt::format("{}: it is for another machine ({})", path, object.getFileFormatName().str()));
    image->functions = functions_of(object);
    image->debug = llvm::DWARFContext::create(object, llvm::DWARFContext::ProcessDebugRelocations::Process, nullptr, "",
                                              ignore, ignore);
    image->add_unwind(image->debug->getDebugFrame());
    image->add_unwind(image->debug->getEHFrame());
    if (image->functions.empty() && image->debug->getNumCompileUnits() == 0)
      remarks.push_back(path + " has neither symbols nor debug information: it was stripped of them");
    symbols.images_.push_back(std::move(image));
  }
  return symbols;
}

void Symbols::move_kernel(uint64_t displacement) {
  for (const auto& image : images_)
    if (image->is_kernel()) image->displacement = displacement;
}

std::vector<Symbols::BuildId> Symbols::kernel_build_ids() const {
  std::vector<BuildId> all;
  for (const auto& image : images_) {
    if (!image->is_kernel()) continue;
    auto [bytes, address] = build_id_of(*image->file.getBinary());
    if (address) *address += image->displacement;
    if (!bytes.empty()) all.push_back({image->path, std::move(bytes), address});
  }
  return all;
}

std::optional<uint64_t> Symbols::kernel_symbol(std::initializer_list<std::string_view> names) const {
  for (const auto& image : images_) {
    if (!image->is_kernel()) continue;
    for (const std::string_view name : names) {
      const auto found = std::ranges::find(image->functions, name, &Function::name);
      if (found != image->functions.end()) return found->start;
    }
  }
  return std::nullopt;
}

std::vector<SourceFrame> Symbols::frames(uint64_t running) const {
  for (const auto& image : images_) {
    const uint64_t address = running - image->displacement;
    const Function* function = image->function_at(address);
    const llvm::DIInliningInfo info = image->debug->getInliningInfoForAddress(
        {address, object::SectionedAddress::UndefSection},
        {llvm::DILineInfoSpecifier::FileLineInfoKind::RawValue, llvm::DINameKind::ShortName});
    std::vector<SourceFrame> found;
    for (uint32_t i = 0; i < info.getNumberOfFrames(); ++i) {
      const llvm::DILineInfo& frame = info.getFrame(i);
      const bool named = frame.FunctionName != llvm::DILineInfo::BadString;
      const bool located = frame.FileName != llvm::DILineInfo::BadString && frame.Line != 0;
      const bool inlined = i + 1 < info.getNumberOfFrames();
      if (!named && !located) continue;
      found.push_back({named                 ? frame.FunctionName
                       : function != nullptr ? function->name
                                             : "",
                       0, located ? frame.FileName : "", located ? frame.Line : 0, inlined});
    }
    if (found.empty() && function != nullptr) found.push_back({function->name, 0, "", 0, false});
    if (found.empty()) continue;
    if (function != nullptr) found.back().offset = address - function->start;
    return found;
  }
  return {};
}

std::string Symbols::name(uint64_t address) const {
  const auto found = frames(address);
  if (found.empty()) return "";
  const SourceFrame &outer = found.back(), &inner = found.front();
  std::string text = printable(outer.function);
  if (outer.offset != 0) text += fmt::format("+{:#x}", outer.offset);
  if (inner.line != 0) text += fmt::format(" at {}:{}", printable(inner.file), inner.line);
  return text;
}

std::optional<UnwindRow> Symbols::unwind_row(uint64_t running) const {
  for (const auto& image : images_) {
    const uint64_t pc = running - image->displacement;
    auto next = image->unwind.upper_bound(pc);
    if (next == image->unwind.begin()) continue;
    const dwarf::FDE& entry = *std::prev(next)->second;
    if (pc - entry.getInitialLocation() < entry.getAddressRange()) return row_at(entry, pc);
  }
  return std::nullopt;
}

}  // namespace gcore::tools::inspect
