// Guests that QEMU or libvirt saved, as dumps: the stream gives the memory of each block and the devices' state; where
// in guest-physical memory a block is, saved_layout.cc finds out.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>
#include <utility>

#include "reader/dump/foreign/foreign.h"
#include "reader/dump/foreign/saved_layout.h"
#include "reader/dump/foreign/stream_memory.h"
#include "reader/dump/qemu_stream.h"
#include "reader/dump/stream_registers.h"
#include "reader/source/decoder.h"
#include "reader/source/file.h"
#include "reader/source/unpack.h"
#include "writer/format/endian.h"

namespace gcore::reader {
namespace {

constexpr std::string_view kStream = "QEVM", kLibvirt = "LibvirtQemudSave", kUnfinished = "LibvirtQemudPart";

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
  const std::string instead =
      fmt::format("unpack what follows libvirt's header, and open that: tail -c +{1} FILE | {0} -dc >STREAM",
                  to_string(packing), header.stream() + 1);
  if (const auto known = new_decoder(packing, instead); !known) return std::unexpected(known.error());
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

Expected<ForeignDump> make_dump(Opened opened, const std::optional<MemoryMap>& map, ForeignDump dump) {
  const auto complete = read_stream(opened, dump.warnings);
  if (!complete) return std::unexpected(complete.error());
  auto layout = map ? layout_by_map(opened.guest, *map) : layout_by_machine(opened.guest);
  if (!layout) return std::unexpected(layout.error());
  dump.elf.machine = layout->machine;
  take_cpus(opened.guest, *complete, dump);
  auto memory =
      stream_source(std::move(opened.source), std::move(opened.runs), layout->places, opened.guest.has_all_memory);
  if (opened.guest.has_all_memory) confirm(*layout, opened.guest.blocks, dump.cpus, *memory);
  for (const PlacedBlock& one : layout->places)
    dump.elf.headers.push_back(load_segment(one.address, one.address, one.size));
  std::ranges::move(layout->warnings, std::back_inserter(dump.warnings));
  dump.notices.push_back(std::move(layout->notice));
  dump.has_file_offsets = false;
  dump.memory = std::move(memory);
  return dump;
}

}  // namespace

bool is_saved_guest(std::span<const std::byte> start) {
  const std::string_view text = text_of(start);
  return text.starts_with(kStream) || text.starts_with(kLibvirt) || text.starts_with(kUnfinished);
}

Expected<ForeignDump> open_saved_guest(std::unique_ptr<Source> source, std::span<const std::byte> start,
                                       const std::optional<MemoryMap>& map) {
  ForeignDump dump;
  dump.format = "QEMU migration stream";
  if (text_of(start).starts_with(kStream)) return make_dump({.source = std::move(source)}, map, std::move(dump));
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
  return make_dump(std::move(opened), map, std::move(dump));
}

}  // namespace gcore::reader
