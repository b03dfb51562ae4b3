#include "tests/support/dump_builder.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>

namespace gcore::tests {
namespace {

// (name, width) in the order of the CPU register set; an empty name is reserved space.
using Order = std::vector<std::pair<std::string, int>>;

Order kdump_register_set(uint16_t machine) {
  if (machine == kEmX86_64)
    return {{"rdi", 8}, {"rsi", 8}, {"rdx", 8},    {"r10", 8}, {"r8", 8},  {"r9", 8},  {"rax", 8}, {"rbx", 8},
            {"rbp", 8}, {"rcx", 8}, {"r11", 8},    {"r12", 8}, {"r13", 8}, {"r14", 8}, {"r15", 8}, {"rip", 8},
            {"cs", 4},  {"", 4},    {"rflags", 8}, {"rsp", 8}, {"ss", 4},  {"", 4}};
  if (machine == kEmAarch64) {
    Order order;
    for (int i = 0; i <= 30; ++i) order.emplace_back("x" + std::to_string(i), 8);
    order.insert(order.end(), {{"sp", 8}, {"elr", 8}, {"pstate", 8}});
    return order;
  }
  return {{"edi", 4}, {"esi", 4}, {"ebp", 4}, {"exx", 4}, {"ebx", 4}, {"edx", 4}, {"ecx", 4},
          {"eax", 4}, {"eip", 4}, {"cs", 4},  {"efl", 4}, {"esp", 4}, {"ss", 4}};
}

uint64_t value_of(const std::map<std::string, uint64_t>& registers, const std::string& name) {
  const auto found = registers.find(name);
  return found == registers.end() ? 0 : found->second;
}

void write_all(int fd, uint64_t offset, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n <= 0) throw std::runtime_error("dump builder: cannot write");
    offset += static_cast<uint64_t>(n);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

}  // namespace

Bytes& Bytes::integer(uint64_t v, int size) {
  const size_t at = data_.size();
  return put(at, v, size);
}

Bytes& Bytes::put(size_t at, uint64_t v, int size) {
  pad_to(at + static_cast<size_t>(size));
  for (int i = 0; i < size; ++i) {
    const int shift = 8 * (big_ ? size - 1 - i : i);
    data_[at + static_cast<size_t>(i)] = static_cast<char>(v >> shift);
  }
  return *this;
}

std::string QnxNote::build() const {
  const Order core = kdump_register_set(machine);
  uint32_t core_size = 0;
  for (const auto& [name, width] : core) core_size += static_cast<uint32_t>(width);

  std::string names;
  for (const auto& name : extra_names) {
    names += name + '\0';
    if (sizes_per_entry) names.resize((names.size() + entry_name_size - 1) / entry_name_size * entry_name_size);
  }
  names.resize((names.size() + 7) / 8 * 8);
  const uint32_t values = static_cast<uint32_t>(8 * extra_names.size());

  Bytes out(big_endian);
  out.u8(note_version).u8(sig_num).u8(sig_code).u8(fault_num);
  out.u16(num_cpus.value_or(static_cast<uint16_t>(cpus.size()))).u16(faulting_cpu);
  out.u32(regset_size.value_or(core_size + values)).u32(cpu_info & 0xffffffff);
  out.u32(procnto).u32(syspage).u32(dumpinfo).u32(cpu_info >> 32);
  const bool none = extra_names.empty();
  out.u32(extra_reg_value_size.value_or(none ? 0 : sizes_per_entry ? 8 : values));
  out.u32(extra_reg_name_size.value_or(none              ? 0
                                       : sizes_per_entry ? entry_name_size
                                                         : static_cast<uint32_t>(names.size())));
  out.text(names);
  for (const Cpu& cpu : cpus) {
    const size_t start = out.size();
    out.u64(cpu.pgtbl).u32(cpu.number).zeros(16).text(cpu.process.substr(0, 99)).pad_to(start + 128);
    for (const auto& [name, width] : core) out.word(value_of(cpu.registers, name), width);
    for (const auto& name : extra_names) out.u64(value_of(cpu.registers, name));
  }
  return out.str();
}

std::string elf_note(std::string_view name, uint32_t type, std::string_view descriptor, size_t padding,
                     bool big_endian) {
  Bytes out(big_endian);
  out.u32(name.size() + 1).u32(descriptor.size()).u32(type).text(name).u8(0).align(padding);
  return out.text(descriptor).align(padding).str();
}

std::string prstatus(uint16_t machine, uint32_t pid, const std::map<std::string, uint64_t>& registers,
                     bool big_endian) {
  Bytes out(big_endian);
  const auto all = [&](const std::vector<std::string>& names, int width) {
    for (const auto& name : names) out.word(value_of(registers, name), width);
  };
  if (machine == kEmX86) {
    out.zeros(24).u32(pid).pad_to(72);
    all({"ebx", "ecx", "edx", "esi", "edi", "ebp", "eax", "ds", "es", "fs", "gs", "orig_eax", "eip", "cs", "efl", "esp",
         "ss"},
        4);
    return out.pad_to(144).str();
  }
  out.zeros(32).u32(pid).pad_to(112);
  if (machine == kEmX86_64) {
    all({"r15",    "r14", "r13", "r12",     "rbp",     "rbx", "r11",      "r10", "r9",
         "r8",     "rax", "rcx", "rdx",     "rsi",     "rdi", "orig_rax", "rip", "cs",
         "rflags", "rsp", "ss",  "fs_base", "gs_base", "ds",  "es",       "fs",  "gs"},
        8);
    return out.pad_to(336).str();
  }
  for (const auto& [name, width] : kdump_register_set(kEmAarch64)) out.u64(value_of(registers, name));
  return out.pad_to(392).str();
}

std::string prfpreg_aarch64(const std::map<std::string, uint64_t>& registers, bool big_endian) {
  Bytes out(big_endian);
  for (int i = 0; i < 32; ++i) {
    const std::string name = "v" + std::to_string(i);
    out.u64(value_of(registers, name + ".lo")).u64(value_of(registers, name + ".hi"));
  }
  return out.u32(value_of(registers, "fpsr")).u32(value_of(registers, "fpcr")).pad_to(528).str();
}

std::string qemu_note(const std::map<std::string, uint64_t>& registers, bool with_kernel_gs_base) {
  Bytes out;
  out.u32(1).u32(with_kernel_gs_base ? 440 : 432);
  for (const char* name : {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "r8", "r9", "r10", "r11", "r12",
                           "r13", "r14", "r15", "rip", "rflags"})
    out.u64(value_of(registers, name));
  struct Names {
    const char *selector, *limit, *base;
  };
  for (const Names& n : {Names{"cs", "cs_limit", "cs_base"},
                         {"ds", "ds_limit", "ds_base"},
                         {"es", "es_limit", "es_base"},
                         {"fs", "fs_limit", "fs_base"},
                         {"gs", "gs_limit", "gs_base"},
                         {"ss", "ss_limit", "ss_base"},
                         {"ldtr", "ldt_limit", "ldt_base"},
                         {"tr", "tr_limit", "tr_base"},
                         {"", "gdt_limit", "gdt_base"},
                         {"", "idt_limit", "idt_base"}})
    out.u32(value_of(registers, n.selector))
        .u32(value_of(registers, n.limit))
        .zeros(8)
        .u64(value_of(registers, n.base));
  for (const char* name : {"cr0", "cr1", "cr2", "cr3", "cr4"}) out.u64(value_of(registers, name));
  if (with_kernel_gs_base) out.u64(value_of(registers, "kernel_gs_base"));
  return out.str();
}

DumpBuilder& DumpBuilder::note(std::string bytes) {
  Part part;
  part.header = {.type = 4, .flags = 0, .file_size = bytes.size(), .memory_size = bytes.size(), .align = 4};
  part.bytes = std::move(bytes);
  return parts_.push_back(std::move(part)), *this;
}

DumpBuilder& DumpBuilder::memory(uint64_t address, std::string bytes, uint64_t memory_size) {
  Part part;
  part.header = {.virtual_address = virtual_is_physical ? address : 0,
                 .address = address,
                 .file_size = bytes.size(),
                 .memory_size = memory_size ? memory_size : bytes.size()};
  part.bytes = std::move(bytes);
  return parts_.push_back(std::move(part)), *this;
}

DumpBuilder& DumpBuilder::hole(uint64_t address, uint64_t size) {
  Part part;
  part.header = {
      .virtual_address = virtual_is_physical ? address : 0, .address = address, .file_size = size, .memory_size = size};
  return parts_.push_back(std::move(part)), *this;
}

DumpBuilder& DumpBuilder::header(ProgramHeader header) { return parts_.push_back({header, "", false}), *this; }

DumpBuilder& DumpBuilder::section(std::string name, std::string bytes) {
  return sections_.emplace_back(std::move(name), std::move(bytes)), *this;
}

DumpBuilder& DumpBuilder::patch(uint64_t offset, std::string bytes) {
  return patches_.emplace_back(offset, std::move(bytes)), *this;
}

DumpBuilder& DumpBuilder::cut(uint64_t size) { return cut_ = size, *this; }

std::string DumpBuilder::program_header(const ProgramHeader& h) const {
  Bytes out(big_endian);
  if (elf32)
    return out.u32(h.type)
        .u32(h.offset)
        .u32(h.virtual_address)
        .u32(h.address)
        .u32(h.file_size)
        .u32(h.memory_size)
        .u32(h.flags)
        .u32(h.align)
        .str();
  return out.u32(h.type)
      .u32(h.flags)
      .u64(h.offset)
      .u64(h.virtual_address)
      .u64(h.address)
      .u64(h.file_size)
      .u64(h.memory_size)
      .u64(h.align)
      .str();
}

std::string DumpBuilder::section_header(uint32_t name, uint32_t section_type, uint64_t offset, uint64_t size,
                                        uint32_t info) const {
  const int word = elf32 ? 4 : 8;
  Bytes out(big_endian);
  out.u32(name).u32(section_type).word(0, word).word(0, word).word(offset, word).word(size, word);
  return out.u32(0).u32(info).word(section_type ? 1 : 0, word).word(0, word).str();
}

std::string DumpBuilder::elf_header(uint64_t phoff, uint64_t phnum, uint64_t shoff, uint64_t shnum) const {
  const int word = elf32 ? 4 : 8;
  Bytes out(big_endian);
  out.text(
         "\x7f"
         "ELF")
      .u8(elf32 ? 1 : 2)
      .u8(big_endian ? 2 : 1)
      .u8(ident_version)
      .pad_to(16);
  out.u16(type).u16(machine).u32(1).word(0, word).word(phoff, word).word(shoff, word).u32(0);
  out.u16(header_size ? header_size : elf32 ? 52 : 64).u16(phentsize ? phentsize : elf32 ? 32 : 56);
  out.u16(phnum > 65534 ? 65535 : phnum).u16(shnum ? (elf32 ? 40 : 64) : 0).u16(shnum).u16(shnum > 1 ? shnum - 1 : 0);
  return out.str();
}

DumpBuilder::Layout DumpBuilder::layout() const {
  std::vector<Part> parts = parts_;
  if (notes_last) std::stable_partition(parts.begin(), parts.end(), [](const Part& p) { return p.header.type != 4; });
  const uint64_t header_bytes = elf32 ? 52 : 64, phent = elf32 ? 32 : 56, shent = elf32 ? 40 : 64;
  const bool many = parts.size() > 65534;
  // Sections: the empty one, the given ones, the names.
  const uint64_t shnum = sections_.empty() ? (many || section_zero ? 1 : 0) : sections_.size() + 2;

  Layout out;
  uint64_t at = header_bytes;
  uint64_t shoff = shnum && sections_first ? at : 0;
  if (shoff) at += shnum * shent;
  const uint64_t phoff = at;
  at += parts.size() * phent;
  std::string table;
  for (const uint32_t kind : {4u, 1u})
    for (Part& part : parts) {
      if (!part.place || part.header.type != kind) continue;
      if (kind == 1) at = (at + 4095) / 4096 * 4096;
      part.header.offset = at;
      if (!part.bytes.empty()) out.pieces.emplace_back(at, part.bytes);
      at += part.header.file_size;
      if (kind == 4) at = (at + 7) / 8 * 8;
    }
  for (const Part& part : parts) table += program_header(part.header);
  out.pieces.emplace_back(phoff, std::move(table));

  std::string names(1, '\0'), headers = shnum ? section_header(0, 0, 0, 0, many ? uint32_t(parts.size()) : 0) : "";
  for (const auto& [name, bytes] : sections_) {
    headers += section_header(uint32_t(names.size()), 1, at, bytes.size(), 0);
    names += name + '\0';
    out.pieces.emplace_back(at, bytes);
    at += bytes.size();
  }
  if (!sections_.empty()) {
    const uint32_t name = uint32_t(names.size());
    names += std::string(".shstrtab") + '\0';
    headers += section_header(name, 3, at, names.size(), 0);
    out.pieces.emplace_back(at, names);
    at += names.size();
  }
  if (shnum) {
    if (!shoff) {
      shoff = (at + 7) / 8 * 8;
      at = shoff + headers.size();
    }
    out.pieces.emplace_back(shoff, headers);
  }
  out.pieces.emplace_back(0, elf_header(phoff, parts.size(), shoff, shnum));
  out.pieces.insert(out.pieces.end(), patches_.begin(), patches_.end());
  out.size = cut_.value_or(at);
  return out;
}

std::string DumpBuilder::build() const {
  const Layout l = layout();
  std::string out(l.size, '\0');
  for (const auto& [offset, bytes] : l.pieces) {
    if (offset >= l.size) continue;
    std::copy_n(bytes.begin(), std::min<uint64_t>(bytes.size(), l.size - offset), out.begin() + int64_t(offset));
  }
  return out;
}

void DumpBuilder::write(const std::string& path) const {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) throw std::runtime_error("dump builder: cannot create " + path);
  const Layout l = layout();
  for (const auto& [offset, bytes] : l.pieces) write_all(fd, offset, bytes);
  if (::ftruncate(fd, static_cast<off_t>(l.size)) != 0) throw std::runtime_error("dump builder: cannot size " + path);
  ::close(fd);
}

int DumpBuilder::descriptor() const {
  const int fd = ::memfd_create("dump", MFD_CLOEXEC);
  if (fd < 0) throw std::runtime_error("dump builder: no memory file");
  const Layout l = layout();
  for (const auto& [offset, bytes] : l.pieces) write_all(fd, offset, bytes);
  if (::ftruncate(fd, static_cast<off_t>(l.size)) != 0) throw std::runtime_error("dump builder: cannot size");
  return fd;
}

}  // namespace gcore::tests
