// Guests that QEMU or libvirt saved, as dumps: the stream gives the memory of each block and the devices' state; where
// in guest-physical memory a block is, follows from the machine's type.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <string_view>
#include <utility>

#include "reader/dump/foreign/foreign.h"
#include "reader/dump/foreign/stream_memory.h"
#include "reader/dump/qemu_stream.h"
#include "reader/dump/stream_registers.h"
#include "reader/source/decoder.h"
#include "reader/source/file.h"
#include "reader/source/unpack.h"
#include "writer/base/text.h"
#include "writer/format/endian.h"

namespace gcore::reader {
namespace {

constexpr std::string_view kStream = "QEVM", kLibvirt = "LibvirtQemudSave", kUnfinished = "LibvirtQemudPart";
constexpr uint64_t kGiB = uint64_t{1} << 30;

std::unexpected<Error> fail(Error::Kind kind, std::string text) {
  return std::unexpected(Error{kind, std::move(text)});
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// ---- libvirt's file: src/qemu/qemu_saveimage.h ----

/// Magic, then u32 in the host's byte order: version, bytes of XML and cookie, was it running, compression, offset of
/// the cookie, 14 more. XML and cookie follow, then the stream.
struct SaveHeader {
  static constexpr size_t kSize = 16 + 19 * sizeof(uint32_t);
  uint32_t version = 0, data = 0, compression = 0;
  bool big = false;
  uint64_t stream() const { return kSize + data; }
};

/// By the header's number; the last is libvirt's own layout of a stream that has holes, which QEMU knows as mapped-ram.
constexpr Packing kCompressions[] = {Packing::none, Packing::gzip, Packing::bzip2, Packing::xz,
                                     Packing::lzop, Packing::zstd, Packing::none};

Expected<SaveHeader> read_header(const Source& source) {
  std::array<std::byte, SaveHeader::kSize> bytes{};
  if (auto read = source.read_exactly(FileOffset(0), bytes, "the header of libvirt's file"); !read)
    return std::unexpected(read.error());
  SaveHeader header;
  const auto number = [&](size_t index) {
    return format::load<uint32_t>(&bytes[16 + 4 * index],
                                  header.big ? format::ByteOrder::big : format::ByteOrder::little);
  };
  header.big = number(0) > 0xffff;
  header.version = number(0);
  header.data = number(1);
  header.compression = number(3);
  if (header.version == 0 || header.version > 3)
    return fail(Error::Kind::unsupported,
                fmt::format("libvirt's file is of version {}; this reader knows 1 to 3", header.version));
  if (header.stream() > source.size())
    return fail(Error::Kind::truncated,
                fmt::format("it ends within libvirt's description of the domain ({} bytes)", header.data));
  if (header.compression >= std::size(kCompressions))
    return fail(Error::Kind::unsupported,
                fmt::format("libvirt's file is compressed in a way that is not known ({})", header.compression));
  return header;
}

/// The first <name> of the XML, which is the domain's.
std::string domain_name(const Source& source, const SaveHeader& header) {
  std::string xml(std::min<size_t>(header.data, 64 << 10), '\0');
  xml.resize(source.read(FileOffset(SaveHeader::kSize), std::as_writable_bytes(std::span(xml))).bytes);
  const size_t from = xml.find("<name>"), end = xml.find("</name>");
  if (from == std::string::npos || end == std::string::npos || end < from) return "";
  return xml.substr(from + 6, end - from - 6);
}

/// The stream, unpacked into a temporary file.
Expected<std::unique_ptr<Source>> unpack_stream(std::unique_ptr<Source> source, const SaveHeader& header,
                                                std::vector<std::string>& warnings) {
  const Packing packing = kCompressions[header.compression];
  if (const auto known = new_decoder(packing); !known)
    return fail(Error::Kind::unsupported,
                fmt::format("libvirt's file is compressed with {0}, which this program was built without; unpack what "
                            "follows its header, and open that: tail -c +{1} FILE | {0} -dc >STREAM",
                            to_string(packing), header.stream() + 1));
  std::array<std::byte, 512> start{};
  const Source::Result got = source->read(FileOffset(header.stream()), start);
  if (got.error != 0) return fail(Error::Kind::io, fmt::format("it cannot be read: {}", words_of(got.error)));
  const auto check = [](std::span<const std::byte> bytes) -> Expected<void> {
    if (text_of(bytes).starts_with(kStream)) return {};
    return fail(Error::Kind::malformed, "what libvirt's file has compressed is no migration stream");
  };
  auto unpacked = unpack(input_of(*source, header.stream() + got.bytes), std::span(start).first(got.bytes), packing, 0,
                         check, nullptr, warnings);
  if (!unpacked) return std::unexpected(unpacked.error());
  return std::move(*unpacked);
}

// ---- where blocks are in guest-physical memory ----

struct MachineType {
  const char* prefix;
  format::Machine machine;
  uint64_t base;       // of its memory
  uint64_t low_limit;  // memory below 4 GiB ends there at the latest; 0: it is in one piece
  uint64_t low_size;   // and when there is more than fits, there
};

/// hw/i386/pc_q35.c, pc_piix.c and microvm.c; hw/arm/virt.c. A type may have a distributor's name after it
/// (pc-q35-rhel9.2.0, pc-i440fx-jammy).
constexpr MachineType kMachineTypes[] = {
    {"pc-q35", format::Machine::x86_64, 0, 0xb0000000, 2 * kGiB},
    {"pc-i440fx", format::Machine::x86_64, 0, 0xe0000000, 3 * kGiB},
    {"pc-", format::Machine::x86_64, 0, 0xe0000000, 3 * kGiB},
    {"microvm", format::Machine::x86_64, 0, 3 * kGiB, 3 * kGiB},
    {"virt", format::Machine::aarch64, kGiB, 0, 0},
};

const MachineType* type_of(std::string_view machine) {
  const auto found =
      std::ranges::find_if(kMachineTypes, [&](const MachineType& type) { return machine.starts_with(type.prefix); });
  return found != std::end(kMachineTypes) ? found : nullptr;
}

/// Whether a block is not the guest's main memory: a ROM, a device's memory, firmware.
bool is_device_memory(std::string_view name) {
  static constexpr std::string_view kParts[] = {"/rom@", "vram", "flash", ".bios",
                                                ".rom",  "-ppi", "ramfb", "vmcoreinfo"};
  if (std::ranges::any_of(kParts, [&](std::string_view part) { return name.find(part) != name.npos; })) return true;
  return name.find('/') != name.npos && !name.starts_with("/objects/");
}

/// Numbers in names count as such: node 2 comes before node 10.
bool comes_before(std::string_view a, std::string_view b) {
  size_t at = 0;
  while (at < a.size() && at < b.size() && a[at] == b[at] && std::isdigit(static_cast<unsigned char>(a[at])) == 0) ++at;
  const auto digits = [](std::string_view text) {
    const size_t end = std::min(text.find_first_not_of("0123456789"), text.size());
    return text.substr(0, end);
  };
  const std::string_view left = digits(a.substr(at)), right = digits(b.substr(at));
  if (left.size() != right.size() && !left.empty() && !right.empty()) return left.size() < right.size();
  return a < b;
}

/// The main memory's blocks in the order of their addresses. Several of one kind (NUMA nodes) are one after the other;
/// `rest` has those that were plugged in later, whose place only the running machine knew.
std::vector<size_t> main_memory(std::span<const StreamBlock> blocks, std::vector<std::string>& rest) {
  std::vector<size_t> all;
  for (size_t i = 0; i < blocks.size(); ++i)
    if (!is_device_memory(blocks[i].name)) all.push_back(i);
  const auto is = [&](size_t i, std::string_view word) { return blocks[i].name.find(word) != std::string::npos; };
  std::ranges::sort(all, [&](size_t a, size_t b) { return comes_before(blocks[a].name, blocks[b].name); });
  const bool nodes = all.size() > 1 && std::ranges::count_if(all, [&](size_t i) { return is(i, "node"); }) > 1;
  if (all.size() < 2) return all;
  const auto largest = *std::ranges::max_element(all, {}, [&](size_t i) { return blocks[i].size; });
  std::erase_if(all, [&](size_t i) {
    const bool drop = nodes ? !is(i, "node") : i != largest;
    if (drop) rest.push_back(blocks[i].name);
    return drop;
  });
  return all;
}

std::vector<PlacedBlock> place(const MachineType& type, std::span<const StreamBlock> blocks,
                               std::span<const size_t> memory) {
  uint64_t total = 0;
  for (const size_t block : memory) total += blocks[block].size;
  const uint64_t low = type.low_limit == 0 || total < type.low_limit ? total : type.low_size;
  std::vector<PlacedBlock> places;
  uint64_t done = 0;
  for (const size_t block : memory)
    for (uint64_t offset = 0; offset < blocks[block].size;) {
      const bool below = done < low;
      const uint64_t size = below ? std::min(blocks[block].size - offset, low - done) : blocks[block].size - offset;
      const uint64_t address = below ? type.base + done : 4 * kGiB + (done - low);
      places.push_back({address, size, block, offset});
      offset += size;
      done += size;
    }
  return places;
}

/// A PC's firmware ends at 4 GiB; the vCPUs start there.
void place_firmware(std::span<const StreamBlock> blocks, std::vector<PlacedBlock>& places) {
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i].name != "pc.bios" || blocks[i].size > 256 << 20) continue;
    const uint64_t address = 4 * kGiB - blocks[i].size;
    const auto next = std::ranges::upper_bound(places, address, {}, &PlacedBlock::address);
    places.insert(next, {address, blocks[i].size, i, 0});
    return;
  }
}

std::string describe(std::span<const PlacedBlock> places) {
  std::string text;
  for (const PlacedBlock& one : places)
    text += fmt::format("{}{:#x} bytes at {:#x}", text.empty() ? "" : ", ", one.size, one.address);
  return text;
}

// ---- the dump ----

struct Opened {
  std::unique_ptr<Source> source;
  uint64_t start = 0;  // of the stream
  SavedGuest guest{};
  std::vector<StreamIndex::Runs> runs{};
};

/// Whether it was read to its end.
Expected<bool> read_stream(Opened& opened, std::vector<std::string>& warnings) {
  StreamIndex index(*opened.source);
  uint64_t at = opened.start;
  const StreamInput input{.read = [&](std::span<std::byte> into) -> Expected<size_t> {
                            const Source::Result got = opened.source->read(FileOffset(at), into);
                            if (got.bytes == 0 && got.error != 0)
                              return fail(Error::Kind::io,
                                          fmt::format("it cannot be read at offset {}: {}", at, words_of(got.error)));
                            at += got.bytes;
                            return got.bytes;
                          },
                          .seek = [&](uint64_t place) { at = place; },
                          .start = opened.start};
  const auto read = read_qemu_stream(input, index, opened.guest);
  opened.runs = index.finish(!opened.guest.has_all_memory);
  const bool has_list = !opened.runs.empty();  // of all blocks
  if (!read && (!has_list || read.error().kind == Error::Kind::unsupported)) return std::unexpected(read.error());
  if (!read)
    warnings.push_back(fmt::format("{}; {}", read.error().text,
                                   opened.guest.has_all_memory
                                       ? "the vCPUs' registers are lost"
                                       : "the memory from there on and all registers are lost"));
  return read.has_value();
}

Expected<const MachineType*> known_machine(const SavedGuest& guest) {
  if (const MachineType* type = type_of(guest.machine)) return type;
  return fail(
      Error::Kind::unsupported,
      fmt::format("it is of machine type {}, whose memory's place is not known to this reader (pc, q35, microvm "
                  "and aarch64's virt are); restore the guest, and dump it with gcore-dump",
                  guest.machine.empty() ? "\"\"" : base::printable(guest.machine)));
}

/// `complete`: the stream was read to its end. Where it was not, a warning has said so.
void take_cpus(const SavedGuest& guest, bool complete, ForeignDump& dump) {
  if (std::ranges::find(guest.devices, "cpu", &DeviceState::name) != guest.devices.end()) {
    auto cpus = stream_registers(guest, dump.elf.machine);
    if (cpus) dump.cpus = std::move(*cpus);
    if (!cpus) dump.warnings.push_back(fmt::format("the dump has no vCPUs: {}", cpus.error().text));
  } else if (complete) {
    dump.notices.push_back("the dump has no vCPUs: the stream has the state of none");
  }
}

Expected<ForeignDump> make_dump(Opened opened, ForeignDump dump) {
  const auto complete = read_stream(opened, dump.warnings);
  if (!complete) return std::unexpected(complete.error());
  const auto type = known_machine(opened.guest);
  if (!type) return std::unexpected(type.error());
  std::vector<std::string> rest;
  const auto memory = main_memory(opened.guest.blocks, rest);
  auto places = place(**type, opened.guest.blocks, memory);
  if (places.empty()) return fail(Error::Kind::malformed, "its stream has no block of main memory");
  for (const std::string& name : rest)
    dump.warnings.push_back(fmt::format(
        "the memory block \"{}\" is not used: where a block that was plugged in is, the stream does not say",
        base::printable(name)));
  const std::string where = describe(places);
  if ((*type)->machine == format::Machine::x86_64) place_firmware(opened.guest.blocks, places);
  dump.elf.machine = (*type)->machine;
  for (const PlacedBlock& one : places) dump.elf.headers.push_back(load_segment(one.address, one.address, one.size));
  take_cpus(opened.guest, *complete, dump);
  dump.notices.push_back(
      fmt::format("memory is where machine type {} has it: {}", base::printable(opened.guest.machine), where));
  dump.has_file_offsets = false;
  dump.memory = stream_source(std::move(opened.source), std::move(opened.runs), places, opened.guest.has_all_memory);
  return dump;
}

}  // namespace

bool is_saved_guest(std::span<const std::byte> start) {
  const std::string_view text = text_of(start);
  return text.starts_with(kStream) || text.starts_with(kLibvirt) || text.starts_with(kUnfinished);
}

Expected<ForeignDump> open_saved_guest(std::unique_ptr<Source> source, std::span<const std::byte> start) {
  ForeignDump dump;
  dump.format = "QEMU migration stream";
  if (text_of(start).starts_with(kStream)) return make_dump({.source = std::move(source)}, std::move(dump));
  dump.format = "libvirt saved domain";
  const auto header = read_header(*source);
  if (!header) return std::unexpected(header.error());
  if (text_of(start).starts_with(kUnfinished))
    dump.warnings.push_back("libvirt did not finish saving the domain: its file says that it is incomplete");
  dump.vm = domain_name(*source, *header);
  Opened opened{.source = std::move(source), .start = header->stream()};
  if (kCompressions[header->compression] != Packing::none) {
    auto unpacked = unpack_stream(std::move(opened.source), *header, dump.warnings);
    if (!unpacked) return std::unexpected(unpacked.error());
    opened.source = std::move(*unpacked);
    opened.start = 0;
  }
  return make_dump(std::move(opened), std::move(dump));
}

}  // namespace gcore::reader
