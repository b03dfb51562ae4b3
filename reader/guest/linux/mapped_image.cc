#include "reader/guest/linux/mapped_image.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <unordered_set>

#include "reader/dump/vmcoreinfo.h"
#include "reader/guest/linux/machine.h"
#include "reader/search/search.h"
#include "writer/format/endian.h"

namespace gcore::reader {
namespace {

using translate::Mapping;
using translate::Translator;

constexpr uint64_t kPage = 4096, kLargePage = 2 << 20, kMaxGap = 16 << 20;
constexpr uint64_t kMinImage = 4 << 20, kMaxImage = 512 << 20;

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void add(MappedImage& image, Mapping next) {
  if (!image.empty()) {
    Mapping& last = image.back();
    if (last.start + last.size == next.start && last.physical + last.size == next.physical &&
        last.permissions == next.permissions) {
      last.size += next.size;
      return;
    }
  }
  image.push_back(next);
}

/// What is mapped in [from, end), until a gap of `max_gap` bytes.
MappedImage mapped(const Translator& translator, uint64_t from, uint64_t end, uint64_t max_gap) {
  MappedImage image;
  uint64_t mapped_end = from;
  for (uint64_t at = from; at < end && at >= from && at - mapped_end < max_gap;) {
    const auto there = translator.translate(VirtAddr(at), end - at);
    if (there) {
      const uint64_t size = std::min(there->contiguous, end - at);
      add(image, {VirtAddr(at), size, there->address, there->page_size, there->permissions});
      at = mapped_end = at + size;
    } else {
      if (there.error().height < 0) break;
      // Where a table is missing, most of it is.
      const bool is_lost = there.error().kind == translate::Fault::Kind::table_missing;
      at += is_lost ? kLargePage - at % kLargePage : there.error().contiguous;
    }
  }
  return image;
}

}  // namespace

uint64_t size_of(const MappedImage& image) {
  uint64_t bytes = 0;
  for (const Mapping& piece : image) bytes += piece.size;
  return bytes;
}

uint64_t bytes_in_dump(const Dump& dump, const MappedImage& image) {
  uint64_t bytes = 0;
  for (const Mapping& piece : image) {
    for (uint64_t done = 0; done < piece.size;) {
      const Segment* segment = dump.segment_at(piece.physical + done);
      if (segment == nullptr) {
        done += std::min(kPage, piece.size - done);
        continue;
      }
      const uint64_t left = segment->memory_size - (piece.physical.value + done - segment->address.value);
      const uint64_t part = std::min(left, piece.size - done);
      bytes += part;
      done += part;
    }
  }
  return bytes;
}

namespace {

/// Not what a kernel has: too little for one, or more or in more pieces than any has, as hostile tables make it.
bool is_no_image(const MappedImage& image) {
  constexpr size_t kMaxPieces = 4096;
  const uint64_t bytes = size_of(image);
  return bytes < kMinImage || bytes > kMaxImage || image.size() > kMaxPieces;
}

}  // namespace

MappedImage image_between(const Translator& translator, VirtAddr from, VirtAddr end) {
  MappedImage image = mapped(translator, from.value, end.value, end.value - from.value);
  return is_no_image(image) ? MappedImage{} : image;
}

MappedImage image_around(const Translator& translator, VirtAddr inside) {
  uint64_t first = inside.value & ~(kPage - 1);
  if (!translator.translate(VirtAddr(first))) return {};
  const uint64_t lowest = first - std::min(first, kMaxImage);
  while (first > lowest && translator.translate(VirtAddr(first - kPage))) first -= kPage;
  const uint64_t end = first > UINT64_MAX - kMaxImage ? UINT64_MAX : first + kMaxImage;
  MappedImage image = mapped(translator, first, end, kMaxGap);
  return is_no_image(image) ? MappedImage{} : image;
}

MappedImage kernel_image(format::Machine machine, const Translator& translator, std::optional<VirtAddr> inside) {
  const auto* linux = linux_guest::find_linux_machine(machine);
  if (linux != nullptr && linux->fixed_image != nullptr) return linux->fixed_image(translator);
  return inside ? image_around(translator, *inside) : MappedImage{};
}

bool is_vmcoreinfo_name(std::span<const std::byte> head) { return as_text(head).substr(12, 10) == "VMCOREINFO"; }

std::optional<FoundNote> note_at(const Dump& dump, PhysAddr address) {
  std::byte head[24];
  if (dump.read(address, head).bytes != sizeof head || !is_vmcoreinfo_name(head)) return std::nullopt;
  std::vector<std::byte> bytes(kMaxVmcoreinfoNote);
  bytes.resize(dump.read(address, bytes).bytes);
  std::string text = vmcoreinfo_note_at(as_text(bytes));
  return text.empty() ? std::nullopt : std::optional(FoundNote{std::move(text), address});
}

std::optional<FoundNote> find_note_by_image(const Dump& dump, const Translator& translator, const MappedImage& image,
                                            const AcceptNote& accept) {
  constexpr size_t kChunk = 256 << 10;
  size_t budget = 1 << 17;
  std::unordered_set<uint64_t> seen;
  std::vector<std::byte> chunk(kChunk);
  const auto order = dump.byte_order();
  const auto is_name = [](const std::byte* at) { return std::memcmp(at, "VMCO", 4) == 0; };
  for (const Mapping& piece : image) {
    if (!piece.permissions.write) continue;
    for (uint64_t done = 0; done < piece.size; done += kChunk) {
      const PhysAddr from = piece.physical + done;
      const auto wanted = static_cast<size_t>(std::min<uint64_t>(kChunk, piece.size - done));
      const size_t got = dump.read(from, std::span(chunk).first(wanted)).bytes & ~size_t{7};
      for (size_t at = 0; at < got; at += 8) {
        uint64_t raw;
        std::memcpy(&raw, &chunk[at], sizeof raw);
        if (raw == 0) continue;
        std::optional<FoundNote> note;
        const auto value = format::load<uint64_t>(&chunk[at], order);
        if (value >> 56 == 0xff && value % kPage == 0 && value < 0xffffffff80000000) {
          if (!seen.insert(value).second) continue;
          if (budget-- == 0) return std::nullopt;
          const auto target = translator.translate(VirtAddr(value));
          if (target) note = note_at(dump, target->address);
        } else if (is_name(&chunk[at]) || is_name(&chunk[at + 4])) {
          const uint64_t name = from.value + at + (is_name(&chunk[at]) ? 0 : 4);
          if (name >= 12) note = note_at(dump, PhysAddr(name - 12));
        }
        if (note && accept(*note)) return note;
      }
    }
  }
  return std::nullopt;
}

namespace {

/// The line of the kernel's first message at `address`; "" when it is something else.
std::string banner_at(const Dump& dump, PhysAddr address, std::string_view release) {
  constexpr size_t kLongest = 1024;
  std::byte bytes[kLongest];
  const std::string_view text = as_text(std::span(bytes).first(dump.read(address, bytes).bytes));
  const std::string_view line = text.substr(0, text.find('\n'));
  // linux_banner ends with a newline, and is a string of its own; copies in logs are not.
  if (line.size() == text.size() || text.substr(line.size() + 1, 1) != std::string_view("\0", 1)) return "";
  if (std::ranges::any_of(line, [](unsigned char c) { return c < 0x20 || c == 0x7f; })) return "";
  if (!release.empty() && !line.substr(sizeof "Linux version").starts_with(release)) return "";
  return std::string(line);
}

}  // namespace

std::string find_banner(const Dump& dump, const MappedImage& image, std::string_view release) {
  constexpr std::string_view kStart = "Linux version ";
  const auto pattern = std::as_bytes(std::span(kStart));
  // It is read-only data. A kernel that has not got so far as to protect that has it writable, or executable, too.
  const auto rank = [](const Mapping& piece) {
    return (piece.permissions.write ? 1 : 0) + (piece.permissions.execute ? 2 : 0);
  };
  MappedImage ordered = image;
  std::ranges::stable_sort(ordered, {}, rank);
  std::string numberless;  // newer kernels hold a copy without the build's number ("# SMP") as well
  for (const Mapping& piece : ordered) {
    Search search = Search::in_memory(dump, piece.physical, piece.physical + (piece.size - 1), pattern);
    std::vector<uint64_t> hits;
    for (bool more = true; more;) {
      hits.clear();
      more = search.step(hits, 1 << 20, 64);
      for (const uint64_t hit : hits) {
        std::string banner = banner_at(dump, PhysAddr(hit), release);
        const size_t number = banner.find(" #");
        if (number + 2 < banner.size() && number != std::string::npos && banner[number + 2] != ' ') return banner;
        if (numberless.empty()) numberless = std::move(banner);
      }
    }
  }
  return numberless;
}

}  // namespace gcore::reader
