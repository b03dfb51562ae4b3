#include "tools/gcore-inspect/facts/symbol_image.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <llvm/BinaryFormat/Magic.h>
#include <llvm/DebugInfo/DWARF/DWARFContext.h>
#include <llvm/DebugInfo/DWARF/DWARFDebugFrame.h>
#include <llvm/Demangle/Demangle.h>
#include <llvm/Object/BuildID.h>
#include <llvm/Object/ELFObjectFile.h>
#include <llvm/Object/SymbolSize.h>
#include <llvm/Support/MemoryBuffer.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "reader/guest/linux/symbols/debug_file.h"
#include "reader/guest/linux/symbols/debug_sections.h"
#include "reader/guest/linux/symbols/place_module.h"
#include "writer/format/machine.h"

namespace gcore::tools::inspect {
namespace {

namespace object = llvm::object;
namespace dwarf = llvm::dwarf;

using Function = SymbolImage::Function;

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
  const auto* elf = llvm::dyn_cast<object::ELFObjectFileBase>(&file);
  return elf != nullptr && format::runs_code_of(machine, elf->getEMachine());
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

/// "ffffffff81000000 T _stext", as System.map and /proc/kallsyms have it, there with "\t[module]" after it.
struct MapLine {
  uint64_t address = 0;
  char type = '?';
  std::string_view name;
};

std::optional<MapLine> parse_map_line(std::string_view line) {
  MapLine parsed;
  const char* const end = line.data() + line.size();
  const auto [after, error] = std::from_chars(line.data(), end, parsed.address, 16);
  if (error != std::errc() || (after - line.data() != 16 && after - line.data() != 8) || end - after < 4)
    return std::nullopt;
  if (after[0] != ' ' || after[2] != ' ' || std::isprint(static_cast<unsigned char>(after[1])) == 0)
    return std::nullopt;
  parsed.type = after[1];
  parsed.name = {after + 3, end};
  parsed.name = parsed.name.substr(0, parsed.name.find_first_of("\t \r"));
  return parsed;
}

std::unique_ptr<llvm::DWARFContext> debug_of(const object::ObjectFile& file) {
  // What LLVM finds odd in debug information is not the user's business: the names that can be had are shown.
  const auto ignore = [](llvm::Error error) { llvm::consumeError(std::move(error)); };
  return llvm::DWARFContext::create(file, llvm::DWARFContext::ProcessDebugRelocations::Process, nullptr, "", ignore,
                                    ignore);
}

void add_unwind(llvm::Expected<const llvm::DWARFDebugFrame*> frames, std::map<uint64_t, const dwarf::FDE*>& unwind) {
  if (!frames) return llvm::consumeError(frames.takeError());
  if (*frames == nullptr) return;
  for (const dwarf::FrameEntry& entry : (*frames)->entries())
    if (const auto* fde = llvm::dyn_cast<dwarf::FDE>(&entry); fde != nullptr && fde->getLinkedCIE() != nullptr)
      unwind.emplace(fde->getInitialLocation(), fde);
}

}  // namespace

std::expected<SymbolFileKind, std::string> symbol_file_kind(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return std::unexpected(std::strerror(errno));
  struct stat status{};
  char begin[0x210] = {};
  const bool regular = fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
  const ssize_t got = regular ? ::read(fd, begin, sizeof begin) : 0;
  close(fd);
  if (S_ISDIR(status.st_mode)) return std::unexpected("it is a folder");
  if (!regular) return std::unexpected("it is not a regular file");
  if (got == 0) return std::unexpected("it is empty");
  const std::string_view start(begin, static_cast<size_t>(std::max<ssize_t>(got, 0)));
  switch (llvm::identify_magic(start)) {
    case llvm::file_magic::elf:
    case llvm::file_magic::elf_relocatable:
    case llvm::file_magic::elf_executable:
    case llvm::file_magic::elf_shared_object:
      return SymbolFileKind::elf;
    case llvm::file_magic::elf_core:
      return std::unexpected("it is a memory dump (a core file), not a program or kernel");
    default:
      if (parse_map_line(start.substr(0, start.find('\n')))) return SymbolFileKind::map;
      return std::unexpected(describe_foreign(start));
  }
}

/// What is read of files, and must live as long as what was found in it.
struct SymbolImage::Files {
  std::vector<std::byte> bytes;                  // of a module, placed
  std::vector<std::vector<std::byte>> unpacked;  // of files that have compressed sections
  object::OwningBinary<object::ObjectFile> main, with_debug;
  std::unique_ptr<object::ObjectFile> placed;
  std::unique_ptr<llvm::DWARFContext> debug, main_frames;
};

SymbolImage::SymbolImage() = default;
SymbolImage::~SymbolImage() = default;

std::expected<std::unique_ptr<SymbolImage>, std::string> SymbolImage::elf(const std::string& path,
                                                                          const std::string& debug_path,
                                                                          format::Machine machine) {
  std::unique_ptr<SymbolImage> image(new SymbolImage);
  image->path_ = path;
  if (const auto why = image->read(debug_path, machine)) return std::unexpected(*why);
  return image;
}

/// Opens an ELF file; one with compressed sections is unpacked by ourselves, since LLVM believes what they promise.
llvm::Expected<object::OwningBinary<object::ObjectFile>> SymbolImage::open(const std::string& path) {
  const auto facts = reader::linux_guest::symbol_file_facts(path);
  if (!facts || !facts->has_compressed_sections) return object::ObjectFile::createObjectFile(path);
  auto buffer = llvm::MemoryBuffer::getFile(path, false, false);
  if (!buffer) return llvm::errorCodeToError(buffer.getError());
  const auto* first = reinterpret_cast<const std::byte*>((*buffer)->getBufferStart());
  auto sections = reader::linux_guest::unpack_debug_sections({first, first + (*buffer)->getBufferSize()});
  for (const std::string& problem : sections.problems) problems_.push_back(problem);
  files_->unpacked.push_back(std::move(sections.bytes));
  const auto& bytes = files_->unpacked.back();
  const llvm::StringRef text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  auto file = object::ObjectFile::createObjectFile(llvm::MemoryBufferRef(text, path));
  if (!file) return file.takeError();
  return object::OwningBinary<object::ObjectFile>(std::move(*file), nullptr);
}

std::optional<std::string> SymbolImage::read(const std::string& debug_path, format::Machine machine) {
  files_ = std::make_unique<Files>();
  auto file = open(path_);
  if (!file) return llvm::toString(file.takeError());
  files_->main = std::move(*file);
  const object::ObjectFile& main = *files_->main.getBinary();
  if (!is_for(main, machine)) return fmt::format("it is for another machine ({})", main.getFileFormatName().str());
  functions_ = functions_of(main);
  if (!debug_path.empty() && debug_path != path_) {
    auto other = open(debug_path);
    if (!other) return debug_path + ": " + llvm::toString(other.takeError());
    files_->with_debug = std::move(*other);
    files_->main_frames = debug_of(main);
    add_unwind(files_->main_frames->getDebugFrame(), unwind_);
    add_unwind(files_->main_frames->getEHFrame(), unwind_);
    if (auto more = functions_of(*files_->with_debug.getBinary()); more.size() > functions_.size())
      functions_ = std::move(more);
    files_->debug = debug_of(*files_->with_debug.getBinary());
  } else {
    files_->debug = debug_of(main);
  }
  take_debug_information();
  return std::nullopt;
}

void SymbolImage::take_debug_information() {
  add_unwind(files_->debug->getDebugFrame(), unwind_);
  // Of a file of debug information the section has no bytes.
  if (files_->main_frames == nullptr) add_unwind(files_->debug->getEHFrame(), unwind_);
}

std::expected<std::unique_ptr<SymbolImage>, std::string> SymbolImage::map(const std::string& path) {
  auto buffer = llvm::MemoryBuffer::getFile(path, false, false);
  if (!buffer) return std::unexpected(buffer.getError().message());
  std::unique_ptr<SymbolImage> image(new SymbolImage);
  image->path_ = path;
  image->is_map_ = true;
  std::vector<uint64_t> starts;  // of data too: a function ends where anything begins
  std::string_view rest((*buffer)->getBufferStart(), (*buffer)->getBufferSize());
  for (size_t number = 1; !rest.empty(); ++number) {
    const std::string_view text = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), text.size() + 1));
    const auto line = parse_map_line(text);
    if (!line) return std::unexpected(fmt::format("line {} is not \"ADDRESS TYPE NAME\"", number));
    if (line->address == 0) continue;  // per-CPU symbols, and everything where kptr_restrict hides addresses
    starts.push_back(line->address);
    if (std::string_view("TtWw").find(line->type) != std::string_view::npos)
      image->functions_.push_back({line->address, 0, std::string(line->name)});
  }
  if (image->functions_.empty())
    return std::unexpected(starts.empty() ? "all its addresses are 0: it was read without the right to see them"
                                          : "it has no symbols of code");
  std::ranges::sort(starts);
  std::ranges::stable_sort(image->functions_, {}, &Function::start);
  for (Function& function : image->functions_)
    if (const auto next = std::ranges::upper_bound(starts, function.start); next != starts.end())
      function.size = *next - function.start;
  return image;
}

std::unique_ptr<SymbolImage> SymbolImage::module(const std::string& path, const reader::linux_guest::Module& module,
                                                 format::Machine machine) {
  std::unique_ptr<SymbolImage> image(new SymbolImage);
  image->path_ = path;
  image->module_ = &module;
  image->machine_ = machine;
  image->is_read_ = false;
  return image;
}

std::vector<std::string> SymbolImage::read_now() { return is_read_ ? std::vector<std::string>{} : read_module(); }

std::vector<std::string> SymbolImage::read_module() {
  is_read_ = true;
  auto placed = reader::linux_guest::place_module_file(path_, *module_);
  if (!placed) return {placed.error().text};
  auto files = std::make_unique<Files>();
  files->bytes = std::move(placed->bytes);
  const llvm::StringRef text(reinterpret_cast<const char*>(files->bytes.data()), files->bytes.size());
  auto file = object::ObjectFile::createObjectFile(llvm::MemoryBufferRef(text, path_));
  if (!file) return {llvm::toString(file.takeError())};
  if (!is_for(**file, machine_))
    return {fmt::format("it is for another machine ({})", (*file)->getFileFormatName().str())};
  files_ = std::move(files);
  files_->placed = std::move(*file);
  functions_ = functions_of(*files_->placed);
  files_->debug = debug_of(*files_->placed);
  take_debug_information();
  return std::move(placed->problems);
}

bool SymbolImage::is_bare() const {
  return module_ == nullptr && functions_.empty() && (files_ == nullptr || files_->debug->getNumCompileUnits() == 0);
}

std::pair<std::string, std::optional<uint64_t>> SymbolImage::build_id() const {
  if (files_ == nullptr || files_->main.getBinary() == nullptr) return {};
  return build_id_of(*files_->main.getBinary());
}

const SymbolImage::Function* SymbolImage::function_at(uint64_t address) const {
  auto next = std::ranges::upper_bound(functions_, address, {}, &Function::start);
  // Of several symbols at one address the first is taken; a function's size, where it is known, ends it.
  while (next != functions_.begin()) {
    --next;
    if (address - next->start < next->size || (next->size == 0 && address - next->start < 4096)) {
      while (next != functions_.begin() && std::prev(next)->start == next->start && std::prev(next)->size != 0) --next;
      return &*next;
    }
    if (next->size != 0) return nullptr;
  }
  return nullptr;
}

bool SymbolImage::answers_for(uint64_t running) {
  if (module_ == nullptr) return true;
  if (!module_->contains(reader::VirtAddr(running))) return false;
  if (!is_read_) read_module();
  return true;
}

std::vector<SourceFrame> SymbolImage::frames(uint64_t running) {
  if (!answers_for(running)) return {};
  const uint64_t address = running - displacement_;
  const Function* function = function_at(address);
  std::vector<SourceFrame> found;
  if (files_ != nullptr) {
    const llvm::DIInliningInfo info = files_->debug->getInliningInfoForAddress(
        {address, object::SectionedAddress::UndefSection},
        {llvm::DILineInfoSpecifier::FileLineInfoKind::RawValue, llvm::DINameKind::ShortName});
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
  }
  if (found.empty() && function != nullptr) found.push_back({function->name, 0, "", 0, false});
  if (!found.empty() && function != nullptr) found.back().offset = address - function->start;
  return found;
}

std::optional<UnwindRow> SymbolImage::unwind_row(uint64_t running) {
  if (!answers_for(running)) return std::nullopt;
  const uint64_t pc = running - displacement_;
  auto next = unwind_.upper_bound(pc);
  if (next == unwind_.begin()) return std::nullopt;
  const dwarf::FDE& entry = *std::prev(next)->second;
  if (pc - entry.getInitialLocation() < entry.getAddressRange()) return row_at(entry, pc);
  return std::nullopt;
}

}  // namespace gcore::tools::inspect
