#include "tests/support/foreign_guest.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "tests/support/foreign_files.h"

namespace gcore::tests {
namespace {

constexpr size_t kPage = 4096, kChunk = 64 << 10, kBlock = 16 << 20;
constexpr uint64_t kLowEnd = 0xa0000, kHighStart = 0x100000;

template <typename T>
T number(std::string_view bytes, size_t at) {
  T value;
  if (at + sizeof value > bytes.size()) throw std::runtime_error("QEMU's dump ends early");
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

bool is_zero(std::string_view bytes) {
  return bytes.empty() || (bytes[0] == 0 && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

/// A file that grows; zeros are holes.
class File {
 public:
  explicit File(const std::string& path) : fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) {
    if (fd_ < 0) throw std::runtime_error("cannot make " + path);
  }
  ~File() { ::close(fd_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  void put(std::string_view bytes) {
    while (!bytes.empty()) {
      const std::string_view part = bytes.substr(0, kChunk);
      if (!is_zero(part) && ::pwrite(fd_, part.data(), part.size(), static_cast<off_t>(size_)) != std::ssize(part))
        throw std::runtime_error("cannot write a guest's file");
      size_ += part.size();
      bytes.remove_prefix(part.size());
    }
    if (::ftruncate(fd_, static_cast<off_t>(size_)) != 0) throw std::runtime_error("cannot write a guest's file");
  }
  void pad_to(size_t alignment) { put(std::string((alignment - size_ % alignment) % alignment, '\0')); }

 private:
  int fd_;
  uint64_t size_ = 0;
};

std::string literal(std::string_view bytes) {
  if (bytes.empty()) return "";
  return '\xf4' + le(static_cast<uint16_t>(bytes.size() - 1)) + std::string(bytes);
}

/// snappy's block format: runs of one byte as copies of the byte before them, all else as it is.
std::string snappy_block(std::string_view bytes) {
  constexpr size_t kLeast = 16, kLongestCopy = 64;
  std::string block;
  for (size_t size = bytes.size(); block.empty() || size != 0; size >>= 7)
    block += static_cast<char>((size & 0x7f) | (size > 0x7f ? 0x80 : 0));
  size_t done = 0;
  for (size_t at = 0; at < bytes.size();) {
    size_t end = at + 1;
    while (end < bytes.size() && bytes[end] == bytes[at]) ++end;
    if (end - at < kLeast) {
      at = end;
      continue;
    }
    block += literal(bytes.substr(done, at + 1 - done));
    for (size_t left = end - at - 1; left != 0;) {
      const size_t size = std::min(left, kLongestCopy);
      block += static_cast<char>((size - 1) << 2 | 2) + le<uint16_t>(1);
      left -= size;
    }
    done = at = end;
  }
  return block + literal(bytes.substr(done));
}

std::string snappy_chunks(std::string_view bytes) {
  std::string chunks;
  for (size_t at = 0; at < bytes.size(); at += kChunk) {
    const std::string chunk(bytes.substr(at, kChunk));
    const std::string packed = snappy_block(chunk);
    chunks += packed.size() < chunk.size() ? packed_chunk(chunk, packed) : plain_chunk(chunk);
  }
  return chunks;
}

}  // namespace

ForeignGuest::ForeignGuest(const std::string& qemu_dump) : fd_(::open(qemu_dump.c_str(), O_RDONLY | O_CLOEXEC)) {
  struct stat facts{};
  if (fd_ < 0 || ::fstat(fd_, &facts) != 0) throw std::runtime_error("cannot open " + qemu_dump);
  const auto size = static_cast<size_t>(facts.st_size);
  void* mapped = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd_, 0);
  if (mapped == MAP_FAILED) throw std::runtime_error("cannot map " + qemu_dump);
  file_ = {static_cast<const char*>(mapped), size};
  is_x86_ = number<uint16_t>(file_, 18) == 62;
  const auto headers = number<uint64_t>(file_, 32);
  for (uint16_t i = 0; i < number<uint16_t>(file_, 56); ++i) {
    const std::string_view header = file_.substr(headers + 56 * i, 56);
    const std::string_view bytes = file_.substr(number<uint64_t>(header, 8), number<uint64_t>(header, 32));
    if (number<uint32_t>(header, 0) == 4) read_qemu_notes(bytes);
    if (number<uint32_t>(header, 0) != 1 || bytes.size() < ram_.size()) continue;
    ram_ = bytes;
    ram_address_ = number<uint64_t>(header, 24);
  }
  if (ram_.empty()) throw std::runtime_error(qemu_dump + " has no memory");
}

ForeignGuest::~ForeignGuest() {
  ::munmap(const_cast<char*>(file_.data()), file_.size());
  ::close(fd_);
}

/// CPUState of QEMU's include/hw/core/cpu.h and target/i386/arch_dump.c.
void ForeignGuest::read_qemu_notes(std::string_view notes) {
  const auto padded = [](uint32_t size) { return (size + 3) / 4 * 4; };
  for (size_t at = 0; at + 12 < notes.size();) {
    const size_t name_at = at + 12, content_at = name_at + padded(number<uint32_t>(notes, at));
    const std::string_view content = notes.substr(content_at, number<uint32_t>(notes, at + 4));
    at = content_at + padded(number<uint32_t>(notes, at + 4));
    if (!notes.substr(name_at).starts_with("QEMU")) continue;
    Registers& registers = cpus_.emplace_back();
    size_t place = 8;
    for (const char* name : {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "r8", "r9", "r10", "r11", "r12",
                             "r13", "r14", "r15", "rip", "rflags"})
      registers[name] = number<uint64_t>(content, std::exchange(place, place + 8));
    for (const std::string name : {"cs", "ds", "es", "fs", "gs", "ss", "ldt", "tr", "gdt", "idt"}) {
      registers[name] = number<uint32_t>(content, place);
      registers[name + ".limit"] = number<uint32_t>(content, place + 4);
      registers[name + ".flags"] = number<uint32_t>(content, place + 8);
      registers[name + ".base"] = number<uint64_t>(content, place + 16);
      place += 24;
    }
    for (const char* name : {"cr0", "cr1", "cr2", "cr3", "cr4", "kernel_gs_base"})
      registers[name] = number<uint64_t>(content, std::exchange(place, place + 8));
  }
}

std::vector<ForeignGuest::Range> ForeignGuest::ranges() const {
  if (!is_x86_) return {{ram_address_, ram_}};
  return {{0, ram_.substr(0, kLowEnd)}, {kHighStart, ram_.substr(kHighStart)}};
}

// ---- LiME, AVML, raw ----

void ForeignGuest::write_lime(const std::string& path) const {
  File file(path);
  for (const Range& range : ranges()) {
    file.put(avml_header(range.address, range.bytes.size(), 1));
    file.put(range.bytes);
  }
}

void ForeignGuest::write_avml(const std::string& path, int version) const {
  File file(path);
  for (const Range& range : ranges())
    for (size_t at = 0; at < range.bytes.size(); at += kBlock) {
      const std::string_view block = range.bytes.substr(at, kBlock);
      const bool is_last = range.address + at + block.size() == ram_address_ + ram_.size();
      if (version == 2) {
        file.put(avml_range(range.address + at, block.size(), snappy_chunks(block)));
        continue;
      }
      file.put(avml_header(range.address + at, block.size(), 1));
      if (!is_zero(block) || is_last) file.put(block);
    }
}

void ForeignGuest::write_raw(const std::string& path, uint64_t from) const { File(path).put(ram_.substr(from)); }

// ---- Xen ----

namespace {

struct Section {
  const char* name;
  std::vector<std::string_view> contents;
};

std::string elf_header(char version, uint64_t segments_at, size_t segments, uint64_t sections_at, size_t sections) {
  return std::string("\x7f") + "ELF\2\1" + version + std::string(9, '\0') + le<uint16_t>(4) + le<uint16_t>(62) +
         le(1u) + le(uint64_t{0}) + le(segments_at) + le(sections_at) + le(0u) + le<uint16_t>(64) + le<uint16_t>(56) +
         le(static_cast<uint16_t>(segments)) + le<uint16_t>(64) + le(static_cast<uint16_t>(sections)) +
         le(static_cast<uint16_t>(sections == 0 ? 0 : sections - 1));
}

}  // namespace

void ForeignGuest::write_xen(const std::string& path) const {
  std::string contexts, numbers;
  for (const Registers& cpu : cpus_) {
    std::string context(5168, '\0');
    const auto put = [&](size_t at, auto value) { std::memcpy(context.data() + at, &value, sizeof value); };
    size_t at = 520;
    for (const char* name :
         {"r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi"})
      put(std::exchange(at, at + 8), cpu.at(name));
    for (const auto& [name, offset] : {std::pair("rip", 128), {"rflags", 144}, {"rsp", 152}})
      put(520 + static_cast<size_t>(offset), cpu.at(name));
    for (const auto& [name, offset] :
         {std::pair("cs", 136), {"ss", 160}, {"es", 168}, {"ds", 176}, {"fs", 184}, {"gs", 192}})
      put(520 + static_cast<size_t>(offset), static_cast<uint16_t>(cpu.at(name)));
    for (const auto& [name, index] : {std::pair("cr0", 0), {"cr2", 2}, {"cr3", 3}, {"cr4", 4}})
      put(4984 + 8 * static_cast<size_t>(index), cpu.at(name));
    const bool in_kernel = (cpu.at("cs") & 3) == 0;
    put(5144, cpu.at("fs.base"));
    put(5152, cpu.at(in_kernel ? "gs.base" : "kernel_gs_base"));
    put(5160, cpu.at(in_kernel ? "kernel_gs_base" : "gs.base"));
    contexts += context;
  }
  for (const Range& range : ranges())
    for (size_t at = 0; at < range.bytes.size(); at += kPage) numbers += le((range.address + at) / kPage);
  const std::string note = le(4u) + le(32u) + le(0x2000001u) + std::string("Xen\0", 4) + le(uint64_t{0xf00febee}) +
                           le(uint64_t{cpus_.size()}) + le(uint64_t{numbers.size() / 8}) + le(uint64_t{kPage});
  std::string names(1, '\0');
  for (const char* name : {".note.Xen", ".xen_prstatus", ".xen_pages", ".xen_pfn", ".shstrtab"})
    names += name + std::string(1, '\0');
  std::vector<Section> sections{{".note.Xen", {note}},
                                {".xen_prstatus", {contexts}},
                                {".xen_pages", {}},
                                {".xen_pfn", {numbers}},
                                {".shstrtab", {names}}};
  for (const Range& range : ranges()) sections[2].contents.push_back(range.bytes);
  std::string headers(64, '\0');
  uint64_t at = kPage;
  for (const Section& section : sections) {
    uint64_t size = 0;
    for (const std::string_view bytes : section.contents) size += bytes.size();
    headers += le(static_cast<uint32_t>(names.find(section.name))) + le(1u) + le(uint64_t{0}) + le(uint64_t{0}) +
               le(at) + le(size) + le(uint64_t{0}) + le(uint64_t{kPage}) + le(uint64_t{0});
    at += (size + kPage - 1) / kPage * kPage;
  }
  File file(path);
  file.put(elf_header(1, 0, 0, 64, sections.size() + 1));
  file.put(headers);
  for (const Section& section : sections) {
    file.pad_to(kPage);
    for (const std::string_view bytes : section.contents) file.put(bytes);
  }
}

// ---- VirtualBox ----

void ForeignGuest::write_virtualbox(const std::string& path) const {
  constexpr uint32_t kVersion = 0x10006;
  constexpr uint64_t kEfer = 0xd01;  // long mode, no-execute, SYSCALL: QEMU's note does not have it
  std::string notes = virtualbox_note(
      "VBCORE", 0xb00,
      le(0xc01ac0deu) + le(kVersion) + le(24u) + le(0x70000u) + le(1u) + le(static_cast<uint32_t>(cpus_.size())));
  for (const Registers& cpu : cpus_) {
    std::string state;
    const auto put = [&](std::initializer_list<const char*> names) {
      for (const char* name : names) state += le(cpu.at(name));
    };
    const auto put_segment = [&](const std::string& name) {
      state += le(cpu.at(name + ".base")) + le(static_cast<uint32_t>(cpu.at(name + ".limit"))) +
               le(static_cast<uint32_t>(cpu.at(name + ".flags") >> 8 & 0xf0ff)) +
               le(static_cast<uint16_t>(cpu.at(name))) + std::string(6, '\0');
    };
    put({"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rsp",
         "rbp", "rflags"});
    for (const char* name : {"cs", "ds", "es", "fs", "gs", "ss"}) put_segment(name);
    put({"cr0", "cr2", "cr3", "cr4"});
    state += std::string(8 * 8, '\0');  // debug registers
    for (const std::string name : {"gdt", "idt"})
      state += le(cpu.at(name + ".base")) + le(static_cast<uint32_t>(cpu.at(name + ".limit"))) + le(0u);
    for (const char* name : {"ldt", "tr"}) put_segment(name);
    state += std::string(3 * 8, '\0');              // SYSENTER
    state += le(kEfer) + std::string(5 * 8, '\0');  // STAR, PAT, LSTAR, CSTAR, SFMASK
    state += le(cpu.at("kernel_gs_base")) + le(uint64_t{0xfee00900}) + le(uint64_t{0});
    state += le(uint64_t{7}) + le(uint64_t{0}) + le(8192u) + le(0u) + std::string(8192, '\0');
    notes += virtualbox_note("VBCPU", 0xb01, state);
  }
  const auto segments = ranges();
  const auto header = [](uint32_t type, uint64_t offset, uint64_t address, uint64_t size) {
    return le(type) + le(0u) + le(offset) + le(uint64_t{0}) + le(address) + le(size) + le(size) + le(uint64_t{0});
  };
  uint64_t at = 64 + 56 * (segments.size() + 1);
  std::string headers = header(4, at, 0, notes.size());
  at += notes.size();
  for (const Range& range : segments) {
    headers += header(1, at, range.address, range.bytes.size());
    at += range.bytes.size();
  }
  File file(path);
  file.put(elf_header(0, 64, segments.size() + 1, 0, 0));
  file.put(headers);
  file.put(notes);
  for (const Range& range : segments) file.put(range.bytes);
}

}  // namespace gcore::tests
