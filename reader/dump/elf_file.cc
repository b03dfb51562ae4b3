#include "reader/dump/elf_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "reader/dump/displaced.h"
#include "writer/format/machine.h"

// The only file that knows LLVM's Object library, whose names would collide with many others.
#include <llvm/Object/ELF.h>

namespace gcore::reader {
namespace {

constexpr uint64_t kMaxSections = 100'000;
constexpr uint64_t kMaxSectionNames = uint64_t{4} << 20;
constexpr uint64_t kMaxInfo = uint64_t{16} << 20;
constexpr std::string_view kInfoSection = ".gcore.info";

template <class... Args>
std::unexpected<Error> fail(Error::Kind kind, fmt::format_string<Args...> text, Args&&... args) {
  return std::unexpected(Error{kind, fmt::format(text, std::forward<Args>(args)...)});
}

std::string message_of(llvm::Error error) { return llvm::toString(std::move(error)); }

const char* name_of_type(uint16_t type) {
  switch (type) {
    case llvm::ELF::ET_REL:
      return "an object file (type 1)";
    case llvm::ELF::ET_EXEC:
      return "a program (type 2)";
    case llvm::ELF::ET_DYN:
      return "a shared library or position-independent program (type 3)";
    default:
      return nullptr;
  }
}

/// "x86_64 (62), aarch64 (183) and x86 (3)".
std::string known_machines() {
  std::string text;
  const auto all = format::machines();
  for (size_t i = 0; i < all.size(); ++i)
    text += fmt::format("{}{} ({})",
                        i == 0                ? ""
                        : i + 1 == all.size() ? " and "
                                              : ", ",
                        all[i].name, static_cast<unsigned>(all[i].machine));
  return text;
}

/// The name of a machine that people have dumps of and this reader does not know; else "".
std::string_view name_of_other_machine(uint16_t machine) {
  switch (machine) {
    case llvm::ELF::EM_PPC64:
      return "ppc64, ";
    case llvm::ELF::EM_S390:
      return "s390x, ";
    case llvm::ELF::EM_ARM:
      return "32-bit ARM, ";
    case llvm::ELF::EM_RISCV:
      return "riscv64, ";
    case llvm::ELF::EM_LOONGARCH:
      return "loongarch64, ";
    default:
      return "";
  }
}

/// One ELF class and byte order. LLVM is given an image that is composed of the header tables alone, with their offsets
/// changed to where they stand in that image: it then needs neither the whole file in memory nor a mapping of it, which
/// would raise SIGBUS if the file shrank.
template <class ELFT>
class Parser {
 public:
  Parser(const Source& file, std::vector<std::string>& warnings) : file_(file), warnings_(warnings) {}

  Expected<ElfFile> parse() {
    std::array<std::byte, sizeof(Header)> bytes;
    if (auto read = file_.read_exactly(FileOffset(0), bytes, "the ELF header"); !read)
      return std::unexpected(read.error());
    std::memcpy(&header_, bytes.data(), sizeof header_);

    if (auto known = check_header(); !known) return std::unexpected(known.error());
    auto count = program_header_count();
    if (!count) return std::unexpected(count.error());
    if (auto read = read_program_headers(*count); !read) return std::unexpected(read.error());
    if (out_.machine == format::Machine::aarch64) correct_offsets();
    read_sections();
    if (*count == 0 && out_.xen.empty())
      return fail(Error::Kind::malformed, "it has no program headers, so neither memory nor registers");
    return std::move(out_);
  }

 private:
  using Header = typename ELFT::Ehdr;
  using Segment = typename ELFT::Phdr;
  using Section = typename ELFT::Shdr;
  static_assert(alignof(Header) == 1 && alignof(Segment) == 1 && alignof(Section) == 1);

  Expected<void> check_header() {
    const uint16_t type = header_.e_type, machine = header_.e_machine;
    if (type != llvm::ELF::ET_CORE) {
      if (const char* name = name_of_type(type))
        return fail(Error::Kind::not_core, "it is {}, not a core file (type 4)", name);
      return fail(Error::Kind::not_core, "it is an ELF file of type {}, not a core file (type 4)", type);
    }
    const auto known = format::machine_of_elf(machine);
    if (!known)
      return fail(
          Error::Kind::unsupported,
          "it is a core file for {}machine {}; this reader knows {}; crash and drgn read dumps of more machines, "
          "with the kernel's vmlinux",
          name_of_other_machine(machine), machine, known_machines());
    out_.machine = *known;
    constexpr uint32_t kIncomplete = 1;  // e_flags: makedumpfile.h, DUMP_ELF_INCOMPLETE
    if ((header_.e_flags & kIncomplete) != 0) warnings_.push_back(kIncompleteDump);
    out_.is_64_bit = ELFT::Is64Bits;
    out_.by_qemu = header_.e_ehsize == 8 && header_.e_shoff != 0 && header_.e_shoff < header_.e_phoff;
    out_.order = ELFT::Endianness == llvm::endianness::little ? format::ByteOrder::little : format::ByteOrder::big;
    return {};
  }

  /// e_phnum, or what stands in section header 0 when there are too many for it (which LLVM does not resolve).
  Expected<uint64_t> program_header_count() {
    uint64_t count = header_.e_phnum;
    if (count == format::kProgramHeadersExtended && header_.e_shoff != 0) {
      Section zero;
      std::array<std::byte, sizeof zero> bytes;
      const FileOffset at(header_.e_shoff);
      if (auto read = file_.read_exactly(at, bytes, "section header 0, which has the number of program headers,");
          !read)
        return std::unexpected(read.error());
      std::memcpy(&zero, bytes.data(), sizeof zero);
      if (zero.sh_info != 0) count = zero.sh_info;
    }
    if (count == 0) return count;
    if (count > kMaxProgramHeaders)
      return fail(Error::Kind::unsupported, "it has {} program headers; this reader handles up to {}", count,
                  kMaxProgramHeaders);
    if (header_.e_phentsize != sizeof(Segment))
      return fail(Error::Kind::malformed, "its program headers have {} bytes each (e_phentsize) instead of {}",
                  uint16_t{header_.e_phentsize}, sizeof(Segment));
    return count;
  }

  Expected<void> read_program_headers(uint64_t count) {
    const uint64_t at = header_.e_phoff, size = count * sizeof(Segment);
    if (at > file_.size() || size > file_.size() - at)
      return fail(Error::Kind::truncated,
                  "the program header table ({} entries of {} bytes at offset {}) goes past the "
                  "end of the file ({} bytes)",
                  count, sizeof(Segment), at, file_.size());
    std::vector<Segment> table(count);
    if (auto read =
            file_.read_exactly(FileOffset(at), std::as_writable_bytes(std::span(table)), "the program header table");
        !read)
      return read;
    out_.headers.reserve(count);
    for (const Segment& s : table)
      out_.headers.push_back({s.p_type, s.p_flags, s.p_offset, s.p_vaddr, s.p_paddr, s.p_filesz, s.p_memsz});
    return {};
  }

  void correct_offsets() {
    const auto notes = std::ranges::find(out_.headers, format::kSegmentNote, &ProgramHeader::type);
    if (notes == out_.headers.end()) return;
    displaced_ =
        static_cast<uint64_t>(displaced_by_sve_notes(file_, FileOffset(notes->offset), notes->file_size, out_.order));
    if (displaced_ == 0) return;
    const uint64_t announced = notes->file_size, end = notes->offset + announced;
    notes->file_size += displaced_;
    const bool earlier = notes->file_size < announced;
    for (ProgramHeader& header : out_.headers)
      if (header.offset >= end) header.offset += displaced_;
    warnings_.push_back(fmt::format(
        "the vCPUs have SVE vectors of different lengths, with which QEMU does not reckon: the notes have {} "
        "bytes, not {}, and memory is read {} bytes {} than the headers say",
        notes->file_size, announced, earlier ? -displaced_ : displaced_, earlier ? "earlier" : "later"));
  }

  /// Of what stands after the notes.
  FileOffset corrected(uint64_t offset) const { return FileOffset(offset + displaced_); }

  void read_sections() {
    if (header_.e_shoff == 0) return;
    if (auto read = find_info(); !read && !is_of_another_file())
      warnings_.push_back(fmt::format("the section headers are of no use: {}", read.error().text));
  }

  /// makedumpfile -E leaves in the header what that of its input says of sections, which it does not copy: there,
  /// program headers, notes or memory are.
  bool is_of_another_file() const {
    const uint64_t at = header_.e_shoff;
    if (at - header_.e_phoff < out_.headers.size() * sizeof(Segment)) return true;
    return std::ranges::any_of(out_.headers,
                               [at](const ProgramHeader& header) { return at - header.offset < header.file_size; });
  }

  Expected<void> find_info() {
    std::string image;
    auto size = compose(image);
    if (!size || *size == 0) return size ? Expected<void>{} : std::unexpected(size.error());
    auto elf = llvm::object::ELFFile<ELFT>::create(image);
    if (!elf) return fail(Error::Kind::malformed, "{}", message_of(elf.takeError()));
    auto sections = elf->sections();
    if (!sections) return fail(Error::Kind::malformed, "{}", message_of(sections.takeError()));
    for (const Section& section : *sections) {
      auto name = elf->getSectionName(section, names_of(image));
      if (!name) {
        llvm::consumeError(name.takeError());
        continue;
      }
      if (std::string_view(*name) == kInfoSection) return read_info(section);
      if (name->starts_with(".xen_") || *name == ".note.Xen")
        out_.xen.push_back({name->str(), section.sh_offset, section.sh_size});
    }
    return {};
  }

  /// The image: ELF header, section headers, section names. Returns the number of sections.
  Expected<uint64_t> compose(std::string& image) {
    uint64_t count = header_.e_shnum;
    uint64_t names_index = header_.e_shstrndx;
    Section zero;
    std::array<std::byte, sizeof zero> bytes;
    if (auto read = file_.read_exactly(FileOffset(header_.e_shoff), bytes, "section header 0"); !read)
      return std::unexpected(read.error());
    std::memcpy(&zero, bytes.data(), sizeof zero);
    if (count == 0) count = zero.sh_size;
    if (names_index == llvm::ELF::SHN_XINDEX) names_index = zero.sh_link;
    if (header_.e_shentsize != sizeof(Section))
      return fail(Error::Kind::malformed, "they have {} bytes each (e_shentsize) instead of {}",
                  uint16_t{header_.e_shentsize}, sizeof(Section));
    if (count > kMaxSections)
      return fail(Error::Kind::unsupported, "there are {} of them; this reader handles up to {}", count, kMaxSections);

    std::vector<Section> table(count);
    if (auto read = file_.read_exactly(FileOffset(header_.e_shoff), std::as_writable_bytes(std::span(table)),
                                       "the section header table");
        !read)
      return std::unexpected(read.error());
    if (names_index == 0 || names_index >= count) return 0;  // no names, so no section of ours
    const Section& names = table[names_index];
    if (names.sh_size > kMaxSectionNames)
      return fail(Error::Kind::unsupported, "their names take {} bytes", uint64_t{names.sh_size});
    std::string text(names.sh_size, '\0');
    if (auto read = file_.read_exactly(corrected(names.sh_offset), std::as_writable_bytes(std::span(text)),
                                       "the table of section names");
        !read)
      return std::unexpected(read.error());

    Header header = header_;
    header.e_shoff = sizeof header;
    image.append(reinterpret_cast<const char*>(&header), sizeof header);
    image.append(reinterpret_cast<const char*>(table.data()), table.size() * sizeof(Section));
    names_offset_ = image.size();
    image += text;
    return count;
  }

  llvm::StringRef names_of(const std::string& image) const {
    llvm::StringRef names = llvm::StringRef(image).substr(names_offset_);
    return names.empty() || names.back() != '\0' ? llvm::StringRef("\0", 1) : names;
  }

  Expected<void> read_info(const Section& section) {
    if (section.sh_type == llvm::ELF::SHT_NOBITS) return {};
    if (section.sh_size > kMaxInfo)
      return fail(Error::Kind::unsupported, ".gcore.info has {} bytes", uint64_t{section.sh_size});
    std::string text(section.sh_size, '\0');
    if (auto read = file_.read_exactly(corrected(section.sh_offset), std::as_writable_bytes(std::span(text)),
                                       "the section .gcore.info");
        !read)
      return read;
    const size_t last = text.find_last_not_of(std::string_view(" \t\r\n\0", 5));
    text.resize(last == std::string::npos ? 0 : last + 1);
    out_.info_json = std::move(text);
    return {};
  }

  const Source& file_;
  std::vector<std::string>& warnings_;
  Header header_;
  ElfFile out_;
  size_t names_offset_ = 0;
  uint64_t displaced_ = 0;  // bytes, modulo 2^64
};

std::string first_bytes(std::span<const std::byte> start) {
  std::string out;
  for (const std::byte b : start.first(std::min<size_t>(start.size(), 8)))
    out += fmt::format("{}{:02x}", out.empty() ? "" : " ", static_cast<unsigned>(b));
  return out;
}

}  // namespace

std::string describe_foreign_file(std::span<const std::byte> start) {
  struct Known {
    std::string_view magic;
    const char* what;
    const char* advice = "";
  };
  using namespace std::string_view_literals;
  static constexpr const char* kWindows = "WinDbg or volatility3 reads it";
  static constexpr const char* kVmware = "a saved state of VMware (.vmss, .vmsn)";
  static constexpr const char* kVmem = "use the .vmem beside it with --raw-memory x86_64";
  static constexpr Known kKnown[] = {
      {"DISKDUMP"sv, "a diskdump file"},
      {"PAGEDU64"sv, "a Windows crash dump", kWindows},
      {"PAGEDUMP"sv, "a Windows crash dump", kWindows},
      {"MDMP"sv, "a Windows minidump", "WinDbg reads it"},
      // VMware's saved states, by what they were made for; memory is mostly in a file of its own beside them.
      {"\xd0\xbe\xd0\xbe"sv, kVmware, kVmem},
      {"\xd0\xbe\xd2\xbe"sv, kVmware, kVmem},
      {"\xd2\xbe\xd2\xbe"sv, kVmware, kVmem},
      {"\xd3\xbe\xd3\xbe"sv, kVmware, kVmem},
      {"\xd1\xba\xd1\xba"sv, kVmware, kVmem},
      {"\xd2\xba\xd2\xba"sv, kVmware, kVmem},
      {"\x14\x20\x28\x01"sv, "a file of Hyper-V (.vmrs, .vmcx)", "WinDbg reads a saved state (.vmrs)"},
      {"QFI\xfb"sv, "a qcow2 disk image"},
      {"\x1f\x8b"sv, "a gzip file", "unpack it once more: gzip -d"},
      {"\x28\xb5\x2f\xfd"sv, "a zstd file", "unpack it once more: zstd -d"},
      {"\xfd"
       "7zXZ"sv,
       "an xz file", "unpack it: xz -d"},
      {"BZh"sv, "a bzip2 file", "unpack it: bzip2 -d"},
      {"\x04\x22\x4d\x18"sv, "an lz4 file", "unpack it: lz4 -d"},
      {"\x89LZO\0\r\n\x1a\n"sv, "an lzop file", "unpack it: lzop -d"},
      {"7z\xbc\xaf\x27\x1c"sv, "a 7z archive", "unpack it: 7z x"},
      {"PK\x03\x04"sv, "a zip file"},
      {"MZ"sv, "a Windows or DOS program"},
      {"#!"sv, "a script"},
  };
  const std::string_view text(reinterpret_cast<const char*>(start.data()), start.size());
  // Linux' Documentation/arch/x86/boot.rst and arch/arm64/booting.rst. UEFI starts them too, so both begin as a
  // Windows program.
  constexpr size_t kSetupMagic = 0x202, kArm64Magic = 0x38;
  const auto has = [&](size_t at, std::string_view magic) {
    return text.size() > at && text.substr(at).starts_with(magic);
  };
  if (has(kSetupMagic, "HdrS") || has(kArm64Magic, "ARM\x64"))
    return "it is a Linux kernel as boot loaders take it (vmlinuz, bzImage, Image), not a dump";
  for (const Known& known : kKnown)
    if (text.starts_with(known.magic))
      return fmt::format("it is {}, not an ELF file{}{}", known.what, *known.advice != '\0' ? "; " : "", known.advice);
  constexpr size_t kTarMagic = 257;  // POSIX ustar and GNU tar alike
  if (text.size() >= kTarMagic + 5 && text.substr(kTarMagic, 5) == "ustar")
    return "it is a tar archive, not an ELF file; unpack it: tar -x";
  return fmt::format("it is not an ELF file: it starts with {}", first_bytes(start));
}

Expected<ElfFile> read_elf_file(const Source& source, std::vector<std::string>& warnings) {
  std::array<std::byte, 1024> start{};
  const Source::Result got = source.read(FileOffset(0), start);
  if (got.error != 0) return fail(Error::Kind::io, "it cannot be read: {}", words_of(got.error));
  const auto bytes = std::span(start).first(got.bytes);
  if (bytes.empty()) return fail(Error::Kind::not_elf, "it is empty");
  if (bytes.size() < 4 || std::memcmp(bytes.data(), format::kElfMagic, 4) != 0) {
    return fail(Error::Kind::not_elf, "{}", describe_foreign_file(bytes));
  }
  if (constexpr size_t kIdentification = 16; bytes.size() < kIdentification)
    return fail(Error::Kind::truncated, "the file ends within the ELF header, after {} bytes", bytes.size());
  const auto file_class = static_cast<uint8_t>(start[4]), data = static_cast<uint8_t>(start[5]);
  const bool big = data == format::kElfDataBig;
  if (!big && data != format::kElfDataLittle)
    return fail(Error::Kind::malformed, "its ELF header gives byte order {}, which is neither 1 (little) nor 2 (big)",
                data);
  switch (file_class) {
    case format::kElfClass32:
      return big ? Parser<llvm::object::ELF32BE>(source, warnings).parse()
                 : Parser<llvm::object::ELF32LE>(source, warnings).parse();
    case format::kElfClass64:
      return big ? Parser<llvm::object::ELF64BE>(source, warnings).parse()
                 : Parser<llvm::object::ELF64LE>(source, warnings).parse();
    default:
      return fail(Error::Kind::malformed, "its ELF header gives class {}, which is neither 1 (32-bit) nor 2 (64-bit)",
                  file_class);
  }
}

}  // namespace gcore::reader
