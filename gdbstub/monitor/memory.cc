// Monitor commands that look at memory and at how it is translated.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "gdbstub/monitor/monitor.h"

namespace gcore::gdbstub {
namespace {

constexpr uint64_t kMaxExamined = 65536;

struct Format {
  uint64_t count = 1;
  char letter = 'x';
  size_t size = 4;
};

/// "/16xb": a count, a letter for how, a letter for the size, as GDB's x and QEMU's xp have them.
std::expected<Format, std::string> parse_format(std::string_view text) {
  Format format;
  uint64_t count = 0;
  size_t at = 1;
  for (; at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])) != 0; ++at)
    count = std::min<uint64_t>(count * 10 + static_cast<uint64_t>(text[at] - '0'), kMaxExamined + 1);
  if (at > 1) format.count = count;
  if (format.count > kMaxExamined) return std::unexpected(fmt::format("at most {} items", kMaxExamined));
  bool sized = false;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    switch (c) {
      case 'b':
        format.size = 1, sized = true;
        break;
      case 'h':
        format.size = 2, sized = true;
        break;
      case 'w':
        format.size = 4, sized = true;
        break;
      case 'g':
        format.size = 8, sized = true;
        break;
      case 'x':
      case 'd':
      case 'u':
      case 'o':
      case 'c':
        format.letter = c;
        break;
      default:
        return std::unexpected(fmt::format("there is no format '{}': use x d u o c and b h w g", c));
    }
  }
  if (format.letter == 'c' && !sized) format.size = 1;
  return format;
}

std::string item_text(uint64_t value, const Format& format) {
  const unsigned unused = 64 - 8 * static_cast<unsigned>(format.size);
  switch (format.letter) {
    case 'd':
      return fmt::format("{}", static_cast<int64_t>(value << unused) >> unused);
    case 'u':
      return fmt::format("{}", value);
    case 'o':
      return fmt::format("{:#o}", value);
    case 'c':
      return value >= 0x20 && value < 0x7f ? fmt::format("'{}'", static_cast<char>(value))
                                           : fmt::format("'\\x{:02x}'", value);
    default:
      return fmt::format("0x{:0{}x}", value, format.size * 2);
  }
}

/// QEMU's xp and x: memory by guest-physical address, or in `space`.
MonitorResult examine(const Client& client, std::string_view command, const Space& space,
                      std::span<const std::string> words) {
  Format format;
  if (!words.empty() && words[0].starts_with('/')) {
    const auto parsed = parse_format(words[0]);
    if (!parsed) return std::unexpected(parsed.error());
    format = *parsed;
    words = words.subspan(1);
  }
  if (words.size() != 1)
    return std::unexpected(fmt::format("say {0} [/FORMAT] ADDRESS, for example {0} /4xg $sp", command));
  auto address = monitor_number(client, words[0]);
  if (!address) return std::unexpected(address.error());
  const size_t per_line = 16 / format.size;
  std::string text;
  for (uint64_t i = 0; i < format.count; ++i, *address += format.size) {
    std::byte bytes[8] = {};
    if (client.target.read(space, *address, std::span(bytes, format.size)) < format.size) {
      text += fmt::format("{}{}: {:#x}: {}\n", i % per_line == 0 ? "" : "\n", command, *address,
                          client.target.why_unreadable(space, *address));
      return text;
    }
    uint64_t value = 0;
    for (size_t b = 0; b < format.size; ++b)
      value = value << 8 | static_cast<uint64_t>(bytes[client.target.big_endian() ? b : format.size - 1 - b]);
    if (i % per_line == 0) text += fmt::format("{:016x}:", *address);
    text += " " + item_text(value, format);
    if (i % per_line == per_line - 1 || i + 1 == format.count) text += "\n";
  }
  return text;
}

MonitorResult examine_physical(Client& client, std::span<const std::string> words) {
  return examine(client, "xp", {.cpu = client.monitor_cpu(), .physical = true, .root = {}}, words);
}

MonitorResult examine_virtual(Client& client, std::span<const std::string> words) {
  return examine(client, "x", client.monitor_space(), words);
}

std::expected<uint64_t, std::string> only_address(Client& client, std::span<const std::string> words) {
  if (words.size() != 1) return std::unexpected("say which address: 0x1000, or a register such as $pc");
  return monitor_number(client, words[0]);
}

MonitorResult physical_of(Client& client, std::span<const std::string> words) {
  const auto address = only_address(client, words);
  if (!address) return std::unexpected(address.error());
  const Walk walk = client.target.walk(client.monitor_space(), *address);
  return walk.fault.empty() ? fmt::format("gpa: {:#x}\n", walk.physical) : "Unmapped\n";
}

std::string permissions(const Mapping& mapping) {
  return fmt::format("{}{}{}{}", mapping.read ? 'r' : '-', mapping.write ? 'w' : '-', mapping.execute ? 'x' : '-',
                     mapping.user ? 'u' : '-');
}

std::string size_text(uint64_t bytes) {
  constexpr std::pair<unsigned, char> kUnits[] = {{40, 'T'}, {30, 'G'}, {20, 'M'}, {10, 'K'}};
  for (const auto& [shift, letter] : kUnits)
    if (bytes >> shift != 0 && (bytes & ((uint64_t{1} << shift) - 1)) == 0)
      return fmt::format("{}{}", bytes >> shift, letter);
  return fmt::format("{}", bytes);
}

std::string pages_text(const Mapping& mapping) {
  return mapping.page_size == 0 ? "no paging" : size_text(mapping.page_size) + " pages";
}

MonitorResult walk_text(Client& client, std::span<const std::string> words) {
  const auto address = only_address(client, words);
  if (!address) return std::unexpected(address.error());
  const Walk walk = client.target.walk(client.monitor_space(), *address);
  std::string text = space_text(client);
  for (const WalkStep& step : walk.steps)
    text += fmt::format("  {:<6} at {:#018x}: {}\n", step.level, step.entry_address,
                        step.entry ? fmt::format("{:#018x}", *step.entry) : "cannot be read");
  if (!walk.note.empty()) text += "  " + walk.note + "\n";
  if (!walk.fault.empty()) return text + fmt::format("{:#x}: {}\n", *address, walk.fault);
  text += fmt::format("{:#x} is guest-physical {:#x} ({}, {})\n", *address, walk.physical, pages_text(walk.mapping),
                      permissions(walk.mapping));
  const std::string why = client.target.why_unreadable(client.monitor_space(), *address);
  return why.empty() ? text : text + why + "\n";
}

MonitorResult why(Client& client, std::span<const std::string> words) {
  if (words.empty()) return monitor_diagnosis(client);
  const auto address = only_address(client, words);
  if (!address) return std::unexpected(address.error());
  const std::string reason = client.target.why_unreadable(client.monitor_space(), *address);
  if (!reason.empty()) return fmt::format("{}{:#x}: {}\n", space_owner(client), *address, reason);
  const std::string zero = client.target.why_zero(client.monitor_space(), *address);
  return fmt::format("{}{:#x} can be read{}{}\n", space_owner(client), *address, zero.empty() ? "" : "; ", zero);
}

class MapText : public MappingText {
 public:
  MapText(std::string header, uint64_t first, uint64_t last)
      : text_(std::move(header)), header_(text_.size()), first_(first), last_(last) {}
  bool add(const Mapping& mapping) override {
    const uint64_t mapping_last = mapping.start + (mapping.size - 1);
    if (mapping.start > last_) return false;
    if (mapping_last < first_) return true;
    if (text_.size() > kMaxMonitorText) {
      text_ += fmt::format("the list goes on; see map {:#x}\n", mapping.start);
      return false;
    }
    text_ += fmt::format("{:016x}-{:016x} {} {:>10} -> {:#x}\n", mapping.start, mapping_last, permissions(mapping),
                         pages_text(mapping), mapping.physical);
    return true;
  }
  std::string finish(const std::string& note) override {
    if (text_.size() == header_ && note.empty()) text_ += "nothing is mapped there\n";
    return text_ + note_line(note);
  }

 private:
  std::string text_;
  size_t header_;
  uint64_t first_, last_;
};

MonitorResult map(Client& client, std::span<const std::string> words) {
  uint64_t bounds[2] = {0, UINT64_MAX};
  if (words.size() > 2) return std::unexpected("say map [START [LENGTH]]");
  for (size_t i = 0; i < words.size(); ++i) {
    const auto number = monitor_number(client, words[i]);
    if (!number) return std::unexpected(number.error());
    bounds[i] = *number;
  }
  if (bounds[1] == 0) return std::unexpected("the length is 0: leave it out to list up to the end");
  const uint64_t last = bounds[0] + std::min(bounds[1] - 1, UINT64_MAX - bounds[0]);
  return list_mappings(client, std::make_unique<MapText>(space_text(client), bounds[0], last));
}

MonitorResult segments(Client& client, std::span<const std::string>) {
  std::string text;
  for (const Segment& segment : client.target.segments()) {
    text +=
        fmt::format("{:016x}-{:016x} {} bytes", segment.address, segment.address + (segment.size - 1), segment.size);
    if (segment.file_size == 0)
      text += ", left out by the dump's writer";
    else if (segment.file_size < segment.size)
      text += fmt::format(", zeros from {:#x}", segment.address + segment.file_size);
    if (segment.cut_off != 0 && segment.scattered)
      text += fmt::format(", the dump file lacks {} bytes of it", segment.cut_off);
    else if (segment.cut_off != 0)
      text += fmt::format(", the dump file ends before {:#x}", segment.address + segment.file_size - segment.cut_off);
    text += '\n';
    if (text.size() > kMaxMonitorText) return text + "the list goes on\n";
  }
  return text.empty() ? "the dump has no memory\n" : text;
}

constexpr MonitorCommand kCommands[] = {
    {"vtop", "ADDRESS", "how an address is translated, step by step", walk_text},
    {"gva2gpa", "ADDRESS", "the guest-physical address of a virtual one", physical_of},
    {"why", "[ADDRESS]", "what went wrong in a Linux guest; or why an address cannot be read, or is zero", why},
    {"xp", "[/FORMAT] ADDRESS", "guest-physical memory; a format such as /16xb", examine_physical, Asks::nothing},
    {"x", "[/FORMAT] ADDRESS", "the same through the address space", examine_virtual},
    {"map", "[START [LENGTH]]", "what the address space maps", map},
    {"segments", "", "the dump's memory by guest-physical address", segments, Asks::nothing},
};

}  // namespace

std::span<const MonitorCommand> monitor_memory_commands() { return kCommands; }

}  // namespace gcore::gdbstub
