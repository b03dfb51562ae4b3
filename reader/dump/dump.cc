#include "reader/dump/dump.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include "reader/dump/container.h"
#include "reader/dump/elf_file.h"
#include "reader/dump/elf_notes.h"
#include "reader/dump/qnx_note.h"
#include "reader/dump/segment_map.h"
#include "reader/dump/virtualbox_notes.h"
#include "reader/dump/vmcore_notes.h"

namespace gcore::reader {

struct Dump::State {
  State(Container c, std::string p)
      : source(std::move(c.source)),
        compression(c.name),
        kdump(std::move(c.kdump)),
        foreign(std::move(c.foreign)),
        foreign_format(foreign ? foreign->format : ""),
        path(std::move(p)),
        file_size(kdump || foreign ? source->file_end() : source->size()),
        notices(std::move(c.notices)) {}

  std::unique_ptr<Source> source;
  const char* compression;
  std::optional<KdumpFile> kdump;      // its `elf` and `notes` are moved away when they are read
  std::optional<ForeignDump> foreign;  // its `elf` and `cpus` likewise
  const char* foreign_format;
  std::string path;
  uint64_t file_size;
  ElfFile elf;
  DumpInfo info;
  Dialect dialect = Dialect::vmcore;
  SegmentMap memory;
  std::vector<Cpu> cpus;
  size_t faulting_cpu = 0;
  uint8_t signal = 0;
  std::string vmcoreinfo;
  std::vector<OtherNotes> other_notes;
  std::optional<KdumpFacts> facts;
  bool truncated = false, has_note_segment = false;
  size_t said_from = 0, said_to = 0;  // which of the warnings are what .gcore.info says
  std::vector<std::string> warnings, notices;

  /// What the file has of a PT_NOTE segment.
  struct NoteSegment {
    std::vector<std::byte> bytes;
    uint64_t size = 0;  // of all of it

    bool complete() const { return bytes.size() == size; }
  };

  void load_memory();
  Expected<void> load_headers();
  Expected<void> load_notes();
  std::vector<NoteSegment> read_note_segments();
  Expected<void> load_makedumpfile_notes();
  Expected<void> load_vmcore(std::span<const NoteSegment> segments);
  void load_qnx(const NoteSegment& note);
  void resolve_segments();
  void excuse_vcpus();
  bool has_memory() const;
  std::string lost_at_end() const { return reader::describe(Missing::file_truncated, source->file_end()); }
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
  void report(std::vector<std::string>& warnings, std::string_view what) const {
    if (count_ != 0)
      warnings.push_back(
          fmt::format("{} segment{} {} (the first one: {})", count_, count_ == 1 ? "" : "s", what, example_));
  }

 private:
  size_t count_ = 0;
  std::string example_;
};

ContainerOptions container_options(const OpenOptions& options) {
  return {.lasting = options.lasting, .raw = options.raw, .map = options.map, .progress = options.progress};
}

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

}  // namespace

void Dump::State::load_memory() {
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
    if (const uint64_t lost = source->lost_bytes(segment->offset, segment->file_size); lost != 0) {
      truncated = true;
      short_of.add(fmt::format("program header {}: {} of {} bytes at offset {}", i, segment->file_size - lost,
                               segment->file_size, header.offset));
    }
    segments.push_back(*segment);
  }
  larger_in_file.report(warnings, "with p_filesz larger than p_memsz, which is then taken as p_filesz");
  wrapping.report(warnings, "past the end of the address space, where it is cut");
  if (!kdump)  // there they are counted in pages already
    short_of.report(warnings, fmt::format("not all of which the file has: {}", lost_at_end()));
  if (segments.empty()) warnings.push_back("the dump has no memory: there is no PT_LOAD segment");
  memory = SegmentMap(*source, std::move(segments), info.missing, warnings);
}

/// Any byte of it.
bool Dump::State::has_memory() const {
  return std::ranges::any_of(memory.segments(), [this](const Segment& s) {
    return s.file_size != 0 && (s.file_size < s.memory_size || source->lost_bytes(s.offset, s.file_size) < s.file_size);
  });
}

Expected<void> Dump::State::load_headers() {
  auto headers = kdump     ? Expected<ElfFile>(std::move(kdump->elf))
                 : foreign ? Expected<ElfFile>(std::move(foreign->elf))
                           : read_elf_file(*source, warnings);
  if (!headers) return std::unexpected(headers.error());
  elf = std::move(*headers);
  if (elf.xen.empty() || !elf.headers.empty()) return {};
  foreign_format = "Xen core";
  return read_xen_sections(*source, elf, cpus, notices, warnings);
}

/// What a kdump-compressed file has beside its pages.
Expected<void> Dump::State::load_makedumpfile_notes() {
  if (kdump->notes.empty()) {
    warnings.push_back(kdump->notes_size == 0 ? "the dump has no vCPUs: its kdump header names no notes"
                                              : "the dump has no vCPUs: its notes are lost");
  } else {
    const NoteSegment notes{std::move(kdump->notes), kdump->notes_size};
    if (auto loaded = load_vmcore(std::span(&notes, 1)); !loaded) return loaded;
  }
  if (vmcoreinfo.empty()) vmcoreinfo = kdump->vmcoreinfo.substr(0, kdump->vmcoreinfo.find('\0'));
  return {};
}

std::vector<Dump::State::NoteSegment> Dump::State::read_note_segments() {
  std::vector<NoteSegment> notes;
  uint64_t left = kMaxNoteBytes;
  for (uint32_t i = 0; i < elf.headers.size(); ++i) {
    const ProgramHeader& header = elf.headers[i];
    if (header.type != format::kSegmentNote) continue;
    has_note_segment = true;
    if (header.file_size == 0) continue;
    NoteSegment note{std::vector<std::byte>(static_cast<size_t>(
                         std::min({header.file_size, source->size() - std::min(header.offset, source->size()), left}))),
                     header.file_size};
    const Source::Result got = source->read(FileOffset(header.offset), note.bytes);
    note.bytes.resize(got.bytes);
    left -= got.bytes;
    if (!note.complete())
      warnings.push_back(
          fmt::format("the note segment (program header {}) has {} bytes at offset {}, of which {} can be read: {}", i,
                      header.file_size, header.offset, got.bytes,
                      got.error != 0 ? words_of(got.error)
                      : left == 0    ? fmt::format("this reader handles up to {} bytes of notes", kMaxNoteBytes)
                                     : lost_at_end()));
    notes.push_back(std::move(note));
  }
  return notes;
}

Expected<void> Dump::State::load_notes() {
  if (kdump) return load_makedumpfile_notes();
  if (std::string_view(foreign_format) == "Xen core") return {};
  if (foreign) {
    cpus = std::move(foreign->cpus);
    return {};
  }
  std::vector<NoteSegment> notes = read_note_segments();
  const bool announced = !notes.empty();
  std::erase_if(notes, [](const NoteSegment& note) { return note.bytes.empty(); });
  const auto standard = [this](const NoteSegment& note) { return starts_with_elf_note(note.bytes, elf.order); };
  if (notes.empty()) {
    warnings.push_back(announced          ? "the dump has no vCPUs: its notes are lost"
                       : has_note_segment ? "the dump has no vCPUs: its note segment is empty"
                                          : "the dump has no vCPUs: there is no note segment");
    return {};
  }
  if (std::ranges::any_of(notes, standard)) return load_vmcore(notes);
  if (notes.size() > 1)
    warnings.push_back(
        fmt::format("there are {} note segments; the last one is taken as the kdump note", notes.size()));
  load_qnx(notes.back());
  return {};
}

Expected<void> Dump::State::load_vmcore(std::span<const NoteSegment> segments) {
  std::vector<ElfNote> all;
  for (const NoteSegment& segment : segments) {
    if (!starts_with_elf_note(segment.bytes, elf.order)) {
      warnings.push_back("a note segment that has no ELF note is ignored");
      continue;
    }
    const ElfNotes notes = parse_elf_notes(segment.bytes, elf.order);
    all.insert(all.end(), notes.notes.begin(), notes.notes.end());
    if (!segment.complete())
      warnings.push_back(fmt::format("what follows the first {} of its note segment, from its offset {} on, is lost",
                                     notes.notes.size() == 1 ? "note" : fmt::format("{} notes", notes.notes.size()),
                                     notes.end));
    else if (!notes.problem.empty())
      warnings.push_back(notes.problem);
  }
  if (are_virtualbox_notes(all) && elf.machine == format::Machine::x86_64) {
    cpus = read_virtualbox_notes(all, warnings);
    foreign_format = "VirtualBox core";
    return {};
  }
  VmcoreNotes content = read_vmcore_notes(all, elf.machine, elf.order, info, warnings);
  if (content.of_process)
    return fail(Error::Kind::not_core,
                "it is the core of a process, not of a machine: it has notes about a process "
                "(NT_PRPSINFO, NT_AUXV) and no guest-physical memory");
  cpus = std::move(content.cpus);
  vmcoreinfo = std::move(content.vmcoreinfo);
  other_notes = std::move(content.other);
  if (cpus.empty()) warnings.push_back("the dump has no vCPUs: there is no NT_PRSTATUS note");
  return {};
}

void Dump::State::load_qnx(const NoteSegment& note) {
  auto content = read_qnx_note(note.bytes, note.size, elf.machine, elf.order, warnings);
  if (!content) {
    warnings.push_back(fmt::format("the dump has no vCPUs: {}", content.error().text));
    return;
  }
  dialect = Dialect::qnx;
  cpus = std::move(content->cpus);
  facts = content->facts;
  signal = content->signal;
  faulting_cpu = content->faulting_cpu;
  if (faulting_cpu >= cpus.size()) {
    if (!cpus.empty())
      warnings.push_back(fmt::format("the kdump note names vCPU {} as the faulting one, of {}; vCPU 0 is taken",
                                     faulting_cpu, cpus.size()));
    faulting_cpu = 0;
  }
  resolve_segments();
}

/// A dump whose writer was given no vCPU lacks none.
void Dump::State::excuse_vcpus() {
  if (!cpus.empty() || info.vcpu_count != 0) return;
  const auto missed = [](const std::string& warning) { return warning.starts_with("the dump has no vCPUs: "); };
  const auto found = std::remove_if(warnings.begin() + static_cast<ptrdiff_t>(said_to), warnings.end(), missed);
  if (found == warnings.end()) return;
  warnings.erase(found, warnings.end());
  notices.push_back("the dump has no vCPUs: its writer was given none");
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
  auto container = open_container(fd, container_options(options), warnings);
  return make(std::move(container), name, std::move(warnings));
}

Expected<std::unique_ptr<Dump>> Dump::open_source(std::unique_ptr<Source> source, const std::string& name,
                                                  const OpenOptions& options) {
  std::vector<std::string> warnings;
  auto container = open_container(std::move(source), container_options(options), warnings);
  return make(std::move(container), name, std::move(warnings));
}

/// `warnings` are those of opening the container.
Expected<std::unique_ptr<Dump>> Dump::make(Expected<Container> container, const std::string& name,
                                           std::vector<std::string> warnings) {
  const auto failed = [&](const Error& error) {
    std::string text = fmt::format("cannot open {}: {}", name, error.text);
    for (const std::string& warning : warnings) text += fmt::format("; {}", warning);
    return fail(error.kind, std::move(text));
  };
  if (!container) return failed(container.error());
  auto state = std::make_unique<State>(std::move(*container), name);
  state->warnings = warnings;  // those of unpacking explain a failure of what follows
  if (auto loaded = state->load_headers(); !loaded) return failed(loaded.error());
  state->said_from = state->warnings.size();
  state->info = parse_info(state->elf.info_json, state->warnings);
  state->said_to = state->info.error.empty() ? state->warnings.size() : state->said_from;
  if (const auto& said = state->info.machine; !said.empty() && said != format::machine_name(state->elf.machine))
    state->warnings.push_back(
        fmt::format("section .gcore.info says that the guest is {}, and the ELF header that it is {}", said,
                    format::machine_name(state->elf.machine)));
  if (auto loaded = state->load_notes(); !loaded) return failed(loaded.error());
  state->excuse_vcpus();
  drop_unavailable(state->info, state->cpus);
  state->load_memory();
  warnings = state->warnings;
  if (state->cpus.empty() && !state->has_memory())
    return failed(
        {state->truncated ? Error::Kind::truncated : Error::Kind::malformed, "it has neither memory nor vCPUs"});
  return std::unique_ptr<Dump>(new Dump(std::move(state)));
}

Dump::Dump(std::unique_ptr<State> state) : state_(std::move(state)) {}
Dump::~Dump() = default;

format::Machine Dump::machine() const { return state_->elf.machine; }
format::ByteOrder Dump::byte_order() const { return state_->elf.order; }
bool Dump::is_64_bit() const { return state_->elf.is_64_bit; }
Dialect Dump::dialect() const { return state_->dialect; }
const std::string& Dump::path() const { return state_->path; }
uint64_t Dump::file_size() const { return state_->file_size; }
uint64_t Dump::file_end() const { return state_->source->file_end(); }
bool Dump::has_file_offsets() const {
  return !state_->kdump && (!state_->foreign || state_->foreign->has_file_offsets);
}
std::string_view Dump::foreign_format() const { return state_->foreign_format; }
const std::string& Dump::foreign_name() const {
  static const std::string kNone;
  return state_->foreign ? state_->foreign->vm : kNone;
}
std::string_view Dump::compression() const { return state_->compression; }
bool Dump::has_layout_of_qemu() const { return state_->elf.by_qemu; }
bool Dump::truncated() const { return state_->truncated; }
std::span<const Segment> Dump::segments() const { return state_->memory.segments(); }
std::span<const Segment> Dump::aliases() const { return state_->memory.aliases(); }
uint64_t Dump::bytes_in_file(const Segment& segment) const {
  return segment.file_size - state_->source->lost_bytes(segment.offset, segment.file_size);
}
const Segment* Dump::segment_at(PhysAddr address) const { return state_->memory.segment_at(address); }
uint64_t Dump::memory_bytes() const { return state_->memory.bytes(); }
std::span<const Cpu> Dump::cpus() const { return state_->cpus; }
size_t Dump::faulting_cpu() const { return state_->faulting_cpu; }
uint8_t Dump::signal() const { return state_->signal; }
std::span<const OtherNotes> Dump::other_notes() const { return state_->other_notes; }
std::string_view Dump::vmcoreinfo() const { return state_->vmcoreinfo; }
std::string_view Dump::info_json() const { return state_->elf.info_json; }
const DumpInfo& Dump::info() const { return state_->info; }
const std::optional<KdumpFacts>& Dump::kdump_facts() const { return state_->facts; }
std::span<const std::string> Dump::warnings() const { return state_->warnings; }
std::vector<std::string> Dump::damage() const {
  const auto& all = state_->warnings;
  std::vector<std::string> found(all.begin(), all.begin() + static_cast<ptrdiff_t>(state_->said_from));
  found.insert(found.end(), all.begin() + static_cast<ptrdiff_t>(state_->said_to), all.end());
  return found;
}
std::span<const std::string> Dump::notices() const { return state_->notices; }
std::string Dump::trouble() const { return state_->source->trouble(); }

std::string Dump::describe(Missing missing) const {
  std::string text = reader::describe(missing, file_end());
  if (missing == Missing::io_error && !trouble().empty()) text += ": " + trouble();
  return text;
}

ReadResult Dump::read(PhysAddr address, std::span<std::byte> into) const {
  return state_->memory.read(*state_->source, address, into);
}

void Dump::expect(PhysAddr address) const { state_->memory.expect(*state_->source, address); }

View Dump::view(PhysAddr address, size_t size) const { return state_->memory.view(*state_->source, address, size); }

std::optional<Dump::Extent> Dump::next_extent(PhysAddr address) const {
  return state_->memory.next_extent(*state_->source, address);
}

std::optional<Dump::Extent> Dump::next_missing(PhysAddr address) const {
  return state_->memory.next_missing(*state_->source, address);
}

std::vector<Dump::Damage> Dump::check(const std::function<void(uint64_t, uint64_t)>& progress) const {
  std::vector<Damage> all;
  for (const Source::Damage& found : state_->source->check(progress)) {
    Damage damage{
        fmt::format("the {} data at offset {} cannot be unpacked ({}): {} bytes from {} on of the dump are lost",
                    state_->compression, found.place.at,
                    found.error == EBADMSG ? "it is damaged" : words_of(found.error), found.size, found.begin.value),
        {}};
    for (const Segment& segment : segments()) {
      const uint64_t first = std::max(found.begin.value, segment.offset.value);
      const uint64_t end = std::min(found.begin.value + found.size, segment.offset.value + segment.file_size);
      if (first < end) damage.memory.emplace_back(segment.address + (first - segment.offset.value), end - first);
    }
    all.push_back(std::move(damage));
  }
  return all;
}

}  // namespace gcore::reader
