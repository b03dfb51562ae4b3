#include "reader/guest/linux/symbols/symbol_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <string_view>
#include <utility>

#include "reader/dump/vmcoreinfo.h"
#include "reader/guest/linux/kallsyms.h"
#include "reader/guest/linux/symbols/bytes.h"
#include "reader/guest/linux/symbols/debug_frame.h"
#include "reader/guest/linux/symbols/debug_info.h"
#include "reader/guest/linux/symbols/elf_image.h"

namespace gcore::reader::linux_guest {
namespace {

/// A section is no larger than any kernel's: names may lie.
constexpr uint64_t kMaxSection = 1 << 30, kMaxContents = 256 << 20;
constexpr uint32_t kAbsolute = 0xfff1;
constexpr size_t kMaxSections = 0xff00 - 16;

/// Where the kernel's sections begin and end, by the marks that its linker scripts set.
struct Marks {
  const char *name, *start, *end;
  uint64_t flags;
  bool has_contents;
};
constexpr Marks kSections[]{{".text", "_text", "_etext", kShfAlloc | kShfExec, true},
                            {".text", "_stext", "_etext", kShfAlloc | kShfExec, true},
                            {".init.text", "_sinittext", "_einittext", kShfAlloc | kShfExec, false},
                            {".rodata", "__start_rodata", "__end_rodata", kShfAlloc, true},
                            {".data", "_sdata", "_edata", kShfAlloc | kShfWrite, true},
                            {".bss", "__bss_start", "__bss_stop", kShfAlloc | kShfWrite, false},
                            {".data..percpu", "__per_cpu_start", "__per_cpu_end", kShfAlloc | kShfWrite, false}};

class Maker {
 public:
  Maker(const Kernel& kernel, const SymbolFileOptions& options)
      : kernel_(kernel),
        options_(options),
        displacement_(options.link_addresses ? kernel.guest().kaslr_offset.value_or(0) : 0),
        order_(kernel.dump().byte_order()) {}

  SymbolFile make() {
    add_kernel_sections();
    add_module_sections();
    std::ranges::sort(sections_, {}, &ElfSection::address);
    add_symbols();
    add_build_id();
    add_debug_sections();
    for (ElfSection& section : sections_) section.address = linked_address(section.address, displacement_);
    file_.bytes = make_elf_image(kernel_.dump().machine(), order_, std::move(sections_));
    return std::move(file_);
  }

 private:
  void problem(std::string text) { file_.problems.push_back(std::move(text)); }

  bool is_left_out(std::string_view module) const {
    return !module.empty() && std::ranges::find(options_.without_modules, module) != options_.without_modules.end();
  }

  bool overlaps(uint64_t start, uint64_t size) const {
    return std::ranges::any_of(sections_, [&](const ElfSection& other) {
      return start < other.address + other.size && other.address < start + size;
    });
  }

  void add(const std::string& name, uint64_t start, uint64_t size, uint64_t flags) {
    if (size == 0 || size > kMaxSection || start + size < start || overlaps(start, size)) return;
    if (sections_.size() >= kMaxSections) return;
    ElfSection section{name, kShtNobits, flags, start, size};
    // What stands at 0 is no memory: offsets in each CPU's area.
    section.loaded = start != 0;
    sections_.push_back(std::move(section));
  }

  void add_kernel_sections() {
    for (const Marks& marks : kSections) {
      const auto start = kernel_.address_of(marks.start), end = kernel_.address_of(marks.end);
      if (!start || !end || *end <= *start) continue;
      const size_t before = sections_.size();
      add(marks.name, start->value, end->value - start->value, marks.flags);
      if (!options_.contents || sections_.size() == before) continue;
      // crash takes symbols there for those of per-CPU variables only if the section has bytes: those of CPU 0's area.
      const bool is_per_cpu = sections_.back().name == ".data..percpu";
      const auto area = is_per_cpu ? kernel_.per_cpu(*start, 0) : std::nullopt;
      if (marks.has_contents || area) fill(sections_.back(), area.value_or(*start));
    }
    if (!kernel_.names()->has_data())
      problem("the kernel has names of functions only (no CONFIG_KALLSYMS_ALL), so there are no variables");
    // What lies between them, so that each symbol is in a section: debuggers take others for constants.
    const auto end = kernel_.address_of("_end");
    std::vector<std::pair<uint64_t, uint64_t>> known;
    for (const ElfSection& section : sections_)
      if (section.address != 0) known.emplace_back(section.address, section.address + section.size);
    std::ranges::sort(known);
    if (known.empty()) return;
    if (end && end->value > known.back().second) known.emplace_back(end->value, end->value);
    for (size_t i = 0; i + 1 < known.size(); ++i)
      if (known[i + 1].first > known[i].second)
        add(fmt::format(".kernel.{}", i), known[i].second, known[i + 1].first - known[i].second, kShfAlloc | kShfWrite);
  }

  void fill(ElfSection& section, VirtAddr from) {
    if (section.size > kMaxContents) return;
    section.bytes.resize(section.size);
    // Page by page where some are missing: they stay zeros.
    size_t done = 0, lost = 0;
    while (done < section.size) {
      const size_t got = kernel_.memory().read(from + done, std::span(section.bytes).subspan(done));
      done += got;
      if (done >= section.size) break;
      const size_t skip = std::min<size_t>(4096 - (from.value + done) % 4096, section.size - done);
      done += skip, lost += skip;
    }
    if (lost)
      problem(
          fmt::format("{} of the {} bytes of {} are not in the dump, and are zeros", lost, section.size, section.name));
    section.type = kShtProgbits;
  }

  void add_module_sections() {
    if (!kernel_.modules()) {
      problem(kernel_.modules().error().text);
      return;
    }
    for (const Module& module : *kernel_.modules()) {
      if (is_left_out(module.name)) continue;
      for (const Module::Region& region : module.regions) {
        add(fmt::format(".text.{}.{}", module.name, region.kind), region.address.value, region.text_size,
            kShfAlloc | kShfExec);
        add(fmt::format(".data.{}.{}", module.name, region.kind), region.address.value + region.text_size,
            region.size - region.text_size, kShfAlloc | kShfWrite);
      }
    }
  }

  /// The number of the section that holds it; also of one that ends there.
  uint32_t section_of(uint64_t address) const {
    auto after = std::ranges::upper_bound(sections_, address, {}, &ElfSection::address);
    if (after == sections_.begin()) return kAbsolute;
    --after;
    if (address - after->address > after->size) return kAbsolute;
    return static_cast<uint32_t>(after - sections_.begin()) + 1;
  }

  void add_symbols() {
    Bytes table(order_);
    StringTable strings(order_);
    const auto all = kernel_.names()->all();
    table.reserve(24 * (all.size() + 1));
    for (int i = 0; i < 3; ++i) table.u64(0);
    const auto is_local = [](const Symbol& symbol) {
      return std::islower(static_cast<unsigned char>(symbol.type)) && symbol.type != 'w' && symbol.type != 'v';
    };
    uint32_t locals = 1;
    for (const bool local : {true, false})
      for (const Symbol& symbol : all) {
        if (symbol.name.empty() || is_local(symbol) != local || is_left_out(symbol.module)) continue;
        const uint32_t section = section_of(symbol.address.value);
        uint64_t size = is_section_mark(symbol) ? 0 : symbol.size;
        unsigned kind = 0;  // no type
        if (section != kAbsolute) {
          const ElfSection& in = sections_[section - 1];
          size = std::min(size, in.address + in.size - symbol.address.value);
          kind = in.flags & kShfExec ? 2 : 1;
        }
        const bool weak = symbol.type == 'W' || symbol.type == 'w' || symbol.type == 'V' || symbol.type == 'v';
        table.u32(strings.add(symbol.name));
        table.u8((local ? 0U : weak ? 2U : 1U) << 4 | kind);
        table.u8(0);
        table.u16(section);
        table.u64(linked_address(symbol.address.value, displacement_));
        table.u64(size);
        locals += local ? 1 : 0;
        ++file_.symbols;
      }
    const auto number = static_cast<uint32_t>(sections_.size()) + 1;
    add_bytes(".symtab", kShtSymtab, std::move(table.take()));
    sections_.back().link = number + 1, sections_.back().info = locals, sections_.back().entry_size = 24;
    sections_.back().alignment = 8;
    add_bytes(".strtab", kShtStrtab, std::move(strings.take()));
  }

  void add_bytes(const char* name, uint32_t type, std::vector<std::byte> bytes) {
    if (bytes.empty()) return;
    ElfSection section{name, type};
    section.size = bytes.size();
    section.bytes = std::move(bytes);
    sections_.push_back(std::move(section));
  }

  /// VMCOREINFO has it in digits; in the kernel's memory it is among the notes.
  std::vector<std::byte> build_id() const {
    std::vector<std::byte> id;
    const auto text = Vmcoreinfo(kernel_.guest().vmcoreinfo).value("BUILD-ID").value_or("");
    const auto digit = [](char c) { return c >= 'a' ? c - 'a' + 10 : c - '0'; };
    if (text.size() >= 16 && text.size() <= 64 && text.size() % 2 == 0 &&
        text.find_first_not_of("0123456789abcdef") == std::string_view::npos) {
      for (size_t i = 0; i < text.size(); i += 2)
        id.push_back(static_cast<std::byte>(digit(text[i]) << 4 | digit(text[i + 1])));
      return id;
    }
    const auto start = kernel_.address_of("__start_notes"), stop = kernel_.address_of("__stop_notes");
    if (!start || !stop) return id;
    const auto& memory = kernel_.memory();
    for (VirtAddr at = *start; at < *stop;) {
      const auto name = memory.u32(at), size = memory.u32(at + 4), type = memory.u32(at + 8);
      if (!name || !size || !type || *name > 256 || *size > 65536) break;
      if (*type == 3 && *name == 4 && memory.text(at + 12, 4) == "GNU" && *size <= 64) {
        id.resize(*size);
        if (!memory.read_exactly(at + 16, id)) id.clear();
        return id;
      }
      at = at + (12 + (*name + 3) / 4 * 4 + (*size + 3) / 4 * 4);
    }
    return id;
  }

  void add_build_id() {
    const auto id = build_id();
    if (id.empty()) return problem("the kernel's build ID is not known");
    Bytes note(order_);
    note.u32(4), note.u32(id.size()), note.u32(3);
    note.text("GNU");
    note.take().insert(note.take().end(), id.begin(), id.end());
    add_bytes(".note.gnu.build-id", kShtNote, std::move(note.take()));
    sections_.back().alignment = 4;
    sections_.back().loaded = true;
  }

  DebugInfoSources sources() const {
    DebugInfoSources sources;
    sources.order = order_;
    if (kernel_.types()) sources.types = &*kernel_.types();
    sources.symbols = [this](std::string_view name) { return kernel_.names()->find_all(name); };
    for (const ElfSection& section : sections_)
      if (section.flags & kShfExec) sources.code.emplace_back(section.address, section.address + section.size);
    if (!kernel_.modules()) return sources;
    for (const Module& module : *kernel_.modules())
      if (const Types* split = kernel_.module_types(module.name)) sources.modules.emplace_back(module.name, split);
    return sources;
  }

  void add_debug_sections() {
    if (!kernel_.types()) problem(kernel_.types().error().text);
    DebugInfo info = make_debug_info(sources(), displacement_);
    if (info.endless) problem("the kernel's BTF has types that contain themselves, which are cut");
    if (info.too_much) problem("the kernel's BTF says more than any kernel's, and what is too much is left out");
    file_.types = info.types, file_.functions = info.functions, file_.variables = info.variables;
    add_bytes(".debug_info", kShtProgbits, std::move(info.info));
    add_bytes(".debug_abbrev", kShtProgbits, std::move(info.abbreviations));
    add_bytes(".debug_str", kShtProgbits, std::move(info.strings));
    add_bytes(".debug_ranges", kShtProgbits, std::move(info.ranges));
    DebugFrame frame = make_debug_frame(kernel_, displacement_);
    file_.unwind_rows = frame.rows;
    if (frame.bytes.empty()) problem("there is nothing to unwind by");
    add_bytes(".debug_frame", kShtProgbits, std::move(frame.bytes));
    if (!frame.bytes.empty()) sections_.back().alignment = 8;
  }

  const Kernel& kernel_;
  const SymbolFileOptions options_;
  const uint64_t displacement_;
  format::ByteOrder order_;
  std::vector<ElfSection> sections_;
  SymbolFile file_;
};

}  // namespace

Expected<SymbolFile> make_symbol_file(const Kernel& kernel, const SymbolFileOptions& options) {
  if (!kernel.names()) return std::unexpected(kernel.names().error());
  if (options.link_addresses && !kernel.guest().kaslr_offset)
    return std::unexpected(Error{Error::Kind::not_present,
                                 "the addresses that the kernel was linked for are not known: neither the dump nor the "
                                 "kernel's memory says by how much KASLR has moved it (KERNELOFFSET of VMCOREINFO)"});
  return Maker(kernel, options).make();
}

}  // namespace gcore::reader::linux_guest
