#include "reader/dump.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <limits>
#include <mutex>

#include "reader/container.h"
#include "reader/elf_file.h"
#include "reader/elf_notes.h"
#include "reader/find_guest.h"
#include "reader/kdump_note.h"
#include "reader/memory_map.h"
#include "reader/vmcore_notes.h"

namespace gcore::reader {

struct Dump::State {
  State(Container c, std::string p)
      : source(std::move(c.source)), compression(c.name), kdump(std::move(c.kdump)), path(std::move(p)) {}

  std::unique_ptr<Source> source;
  const char* compression;
  std::optional<KdumpFile> kdump;  // its `elf` and `notes` are moved away when they are read
  std::string path;
  ElfFile elf;
  DumpInfo info;
  Dialect dialect = Dialect::vmcore;
  MemoryMap memory;
  std::vector<Cpu> cpus;
  size_t faulting_cpu = 0;
  uint8_t signal = 0;
  std::string vmcoreinfo;
  std::optional<KdumpFacts> facts;
  bool truncated = false;
  std::vector<std::string> warnings;

  struct LazyGuest {
    std::once_flag once;
    std::atomic<bool> done = false;
    GuestSystem found;
  };
  LazyGuest guest, guest_of_thorough_search;

  Expected<void> load_memory();
  Expected<void> load_headers();
  Expected<void> load_notes();
  Expected<void> load_kdump_notes();
  Expected<void> load_vmcore(std::span<const std::vector<std::byte>> notes);
  Expected<void> load_kdump(std::span<const std::byte> note);
  void resolve_segments();
};

namespace {

std::unexpected<Error> fail(Error::Kind kind, std::string text) {
  return std::unexpected(Error{kind, std::move(text)});
}

/// An oddity of many segments is one warning: a count, and the first of them.
class Oddity {
 public:
  void add(std::string example) {
    if (count_++ == 0) example_ = std::move(example);
  }
  void report(std::vector<std::string>& warnings, const char* what) const {
    if (count_ != 0)
      warnings.push_back(
          fmt::format("{} segment{} {} (the first one: {})", count_, count_ == 1 ? "" : "s", what, example_));
  }

 private:
  size_t count_ = 0;
  std::string example_;
};

std::optional<Segment> as_segment(const ProgramHeader& header, uint32_t index) {
  if (header.type != format::kSegmentLoad) return std::nullopt;
  Segment segment{.address = PhysAddr(header.address),
                  .memory_size = std::max(header.memory_size, header.file_size),
                  .file_size = header.file_size,
                  .offset = FileOffset(header.offset),
                  .virtual_address = VirtAddr(header.virtual_address),
                  .flags = header.flags,
                  .index = index};
  const uint64_t room = std::numeric_limits<uint64_t>::max() - header.address;  // one less than what there is
  if (segment.memory_size != 0 && segment.memory_size - 1 > room) {
    segment.memory_size = room + 1 == 0 ? room : room + 1;
    segment.file_size = std::min(segment.file_size, segment.memory_size);
  }
  return segment;
}

bool ends_in_file(const Segment& segment, uint64_t file_size) {
  return segment.file_size == 0 ||
         (segment.offset.value <= file_size && segment.file_size <= file_size - segment.offset.value);
}

}  // namespace

Expected<void> Dump::State::load_memory() {
  std::vector<Segment> segments;
  Oddity larger_in_file, wrapping, short_of;
  for (uint32_t i = 0; i < elf.headers.size(); ++i) {
    const ProgramHeader& header = elf.headers[i];
    const auto segment = as_segment(header, i);
    if (!segment || segment->memory_size == 0) continue;
    if (header.file_size > header.memory_size)
      larger_in_file.add(fmt::format("program header {}: {:#x} > {:#x}", i, header.file_size, header.memory_size));
    if (segment->memory_size < std::max(header.memory_size, header.file_size))
      wrapping.add(fmt::format("program header {}: {:#x} + {:#x}", i, header.address, header.memory_size));
    if (!ends_in_file(*segment, source->size())) {
      truncated = true;
      short_of.add(fmt::format("program header {}: {} bytes at offset {}; the file has {}", i, header.file_size,
                               header.offset, source->size()));
    }
    segments.push_back(*segment);
  }
  larger_in_file.report(warnings, "with p_filesz larger than p_memsz, which is then taken as p_filesz");
  wrapping.report(warnings, "past the end of the address space, where it is cut");
  short_of.report(warnings, "past the end of the file, which is truncated");
  if (segments.empty()) warnings.push_back("the dump has no memory: there is no PT_LOAD segment");
  memory = MemoryMap(std::move(segments), info.missing, warnings);
  return {};
}

Expected<void> Dump::State::load_headers() {
  auto headers = kdump ? Expected<ElfFile>(std::move(kdump->elf)) : read_elf_file(*source, warnings);
  if (!headers) return std::unexpected(headers.error());
  elf = std::move(*headers);
  return {};
}

/// What a kdump-compressed file has beside its pages.
Expected<void> Dump::State::load_kdump_notes() {
  if (kdump->notes.empty()) {
    warnings.push_back("the dump has no vCPUs: its kdump header names no notes");
  } else if (auto loaded = load_vmcore(std::span(&kdump->notes, 1)); !loaded) {
    return loaded;
  }
  if (vmcoreinfo.empty()) vmcoreinfo = kdump->vmcoreinfo.substr(0, kdump->vmcoreinfo.find('\0'));
  return {};
}

Expected<void> Dump::State::load_notes() {
  if (kdump) return load_kdump_notes();
  std::vector<std::vector<std::byte>> notes;
  bool standard = false;
  uint64_t total = 0;
  for (uint32_t i = 0; i < elf.headers.size(); ++i) {
    const ProgramHeader& header = elf.headers[i];
    if (header.type != format::kSegmentNote || header.file_size == 0) continue;
    const uint64_t there =
        header.offset < source->size() ? std::min(header.file_size, source->size() - header.offset) : 0;
    total += there;
    if (there > kMaxNoteBytes || total > kMaxNoteBytes)
      return fail(Error::Kind::unsupported,
                  fmt::format("its note segment (program header {}) has {} bytes; this reader "
                              "handles up to {}",
                              i, there, kMaxNoteBytes));
    std::vector<std::byte> bytes(there);
    if (auto read = source->read_exactly(FileOffset(header.offset), bytes, "the note segment"); !read) return read;
    if (there < header.file_size)
      warnings.push_back(
          fmt::format("the note segment (program header {}) has {} bytes at offset {}, of which the file has "
                      "{}",
                      i, header.file_size, header.offset, there));
    if (there == 0) continue;
    standard = standard || starts_with_elf_note(bytes, elf.order);
    notes.push_back(std::move(bytes));
  }
  if (notes.empty()) {
    warnings.push_back("the dump has no vCPUs: there is no note segment");
    return {};
  }
  if (standard) return load_vmcore(notes);
  if (notes.size() > 1)
    warnings.push_back(
        fmt::format("there are {} note segments; the last one is taken as the kdump note", notes.size()));
  return load_kdump(notes.back());
}

Expected<void> Dump::State::load_vmcore(std::span<const std::vector<std::byte>> segments) {
  std::vector<ElfNote> all;
  for (const auto& segment : segments) {
    if (!starts_with_elf_note(segment, elf.order)) {
      warnings.push_back("a note segment that has no ELF note is ignored");
      continue;
    }
    auto notes = parse_elf_notes(segment, elf.order);
    if (!notes) return std::unexpected(notes.error());
    all.insert(all.end(), notes->begin(), notes->end());
  }
  auto content = read_vmcore_notes(all, elf.machine, elf.order, warnings);
  if (!content) return std::unexpected(content.error());
  if (content->of_process)
    return fail(Error::Kind::not_core,
                "it is the core of a process, not of a machine: it has notes about a process "
                "(NT_PRPSINFO, NT_AUXV) and no guest-physical memory");
  cpus = std::move(content->cpus);
  vmcoreinfo = std::move(content->vmcoreinfo);
  if (cpus.empty()) warnings.push_back("the dump has no vCPUs: there is no NT_PRSTATUS note");
  return {};
}

Expected<void> Dump::State::load_kdump(std::span<const std::byte> note) {
  auto content = read_kdump_note(note, elf.machine, elf.order, warnings);
  if (!content) return std::unexpected(content.error());
  dialect = Dialect::qnx;
  cpus = std::move(content->cpus);
  facts = content->facts;
  signal = content->signal;
  faulting_cpu = content->faulting_cpu;
  if (faulting_cpu >= cpus.size()) {
    warnings.push_back(fmt::format("the kdump note names vCPU {} as the faulting one, of {}; vCPU 0 is taken",
                                   faulting_cpu, cpus.size()));
    faulting_cpu = 0;
  }
  resolve_segments();
  return {};
}

/// Numbers count the program headers that are not PT_NOTE, of whatever type.
void Dump::State::resolve_segments() {
  std::vector<uint32_t> numbered;
  for (uint32_t i = 0; i < elf.headers.size(); ++i)
    if (elf.headers[i].type != format::kSegmentNote) numbered.push_back(i);
  const auto find = [&](uint32_t number, const char* field) -> std::optional<Segment> {
    if (number < numbered.size()) return as_segment(elf.headers[numbered[number]], numbered[number]);
    if (number != 0 && number != std::numeric_limits<uint32_t>::max())
      warnings.push_back(
          fmt::format("the kdump note's {} is {}; there are {} segments", field, number, numbered.size()));
    return std::nullopt;
  };
  facts->procnto = find(facts->procnto_number, "procnto_segnum");
  facts->syspage = find(facts->syspage_number, "syspage_segnum");
  facts->dumpinfo = find(facts->dumpinfo_number, "dumpinfo_segnum");
}

Expected<std::unique_ptr<Dump>> Dump::open(const std::string& path, const OpenOptions& options) {
  if (path == "-") {
    const int input = ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    if (input < 0) return fail(Error::Kind::io, "cannot open standard input: it is closed");
    return open_descriptor(input, "standard input", options);
  }
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail(Error::Kind::io, fmt::format("cannot open {}: {}", path, std::strerror(errno)));
  return open_descriptor(fd, path, options);
}

Expected<std::unique_ptr<Dump>> Dump::open_descriptor(int fd, const std::string& name, const OpenOptions& options) {
  std::vector<std::string> warnings;
  const auto failed = [&](const Error& error) {
    std::string text = fmt::format("cannot open {}: {}", name, error.text);
    for (const std::string& warning : warnings) text += fmt::format("; {}", warning);
    return fail(error.kind, std::move(text));
  };
  auto container = open_container(fd, {.lasting = options.lasting, .progress = options.progress}, warnings);
  if (!container) return failed(container.error());
  auto state = std::make_unique<State>(std::move(*container), name);
  state->warnings = warnings;  // those of unpacking explain a failure of what follows
  if (auto loaded = state->load_headers(); !loaded) return failed(loaded.error());
  state->info = parse_info(state->elf.info_json, state->warnings);
  if (auto loaded = state->load_notes(); !loaded) return failed(loaded.error());
  drop_unavailable(state->info, state->cpus);
  if (auto loaded = state->load_memory(); !loaded) return failed(loaded.error());
  return std::unique_ptr<Dump>(new Dump(std::move(state)));
}

Dump::Dump(std::unique_ptr<State> state) : state_(std::move(state)) {}
Dump::~Dump() = default;

format::Machine Dump::machine() const { return state_->elf.machine; }
format::ByteOrder Dump::byte_order() const { return state_->elf.order; }
bool Dump::is_64_bit() const { return state_->elf.is_64_bit; }
Dialect Dump::dialect() const { return state_->dialect; }
const std::string& Dump::path() const { return state_->path; }
uint64_t Dump::file_size() const { return state_->source->size(); }
std::string_view Dump::compression() const { return state_->compression; }
bool Dump::has_layout_of_qemu() const { return state_->elf.by_qemu; }
bool Dump::truncated() const { return state_->truncated; }
std::span<const Segment> Dump::segments() const { return state_->memory.segments(); }
const Segment* Dump::segment_at(PhysAddr address) const { return state_->memory.segment_at(address); }
uint64_t Dump::memory_bytes() const { return state_->memory.bytes(); }
std::span<const Cpu> Dump::cpus() const { return state_->cpus; }
size_t Dump::faulting_cpu() const { return state_->faulting_cpu; }
uint8_t Dump::signal() const { return state_->signal; }
std::string_view Dump::vmcoreinfo() const { return state_->vmcoreinfo; }
std::string_view Dump::info_json() const { return state_->elf.info_json; }
const DumpInfo& Dump::info() const { return state_->info; }
const std::optional<KdumpFacts>& Dump::kdump_facts() const { return state_->facts; }
std::span<const std::string> Dump::warnings() const { return state_->warnings; }

ReadResult Dump::read(PhysAddr address, std::span<std::byte> into) const {
  return state_->memory.read(*state_->source, address, into);
}

void Dump::expect(PhysAddr address) const { state_->memory.expect(*state_->source, address); }

View Dump::view(PhysAddr address, size_t size) const { return state_->memory.view(*state_->source, address, size); }

std::optional<Dump::Extent> Dump::next_extent(PhysAddr address) const {
  return state_->memory.next_extent(*state_->source, address);
}

const GuestSystem& guest_system(const Dump& dump, GuestSearch search) {
  auto& quick = dump.state_->guest;
  std::call_once(quick.once, [&] { quick.found = find_guest(dump, GuestSearch::quick); });
  if (!worth_more_search(quick.found)) return quick.found;
  auto& thorough = dump.state_->guest_of_thorough_search;
  if (search == GuestSearch::quick) return thorough.done ? thorough.found : quick.found;
  std::call_once(thorough.once, [&] {
    thorough.found = find_guest(dump, GuestSearch::thorough);
    thorough.done = true;
  });
  return thorough.found;
}

}  // namespace gcore::reader
