#include "reader/guest/linux/symbols/debug_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "reader/guest/linux/symbols/elf_sections.h"
#include "reader/guest/linux/symbols/module_bytes.h"
#include "reader/guest/linux/symbols/open_file.h"

namespace gcore::reader::linux_guest {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxLink = 4096, kMaxModinfo = 1 << 20;
constexpr uint16_t kRelocatable = 1;
constexpr size_t kChunk = 1 << 18;
constexpr uint32_t kNobits = 8;
constexpr uint64_t kCompressed = 0x800;  // SHF_COMPRESSED

void read_link(const ElfSections& sections, const ElfSections::ReadAt& read, SymbolFileFacts& facts) {
  const auto* section = sections.find(".gnu_debuglink");
  const auto bytes = section != nullptr ? ElfSections::bytes(read, *section, kMaxLink) : std::nullopt;
  if (!bytes) return;
  const auto* text = reinterpret_cast<const char*>(bytes->data());
  const size_t length = strnlen(text, bytes->size()), checksum_at = length / 4 * 4 + 4;
  if (length == 0 || checksum_at + 4 > bytes->size()) return;
  const std::string name(text, length);
  if (name.find('/') != std::string::npos || name == "." || name == "..") return;
  facts.debug_link = name;
  facts.debug_link_checksum = format::load<uint32_t>(&(*bytes)[checksum_at], sections.order());
}

void read_module_name(const ElfSections& sections, const ElfSections::ReadAt& read, SymbolFileFacts& facts) {
  const auto* section = sections.find(".modinfo");
  const auto bytes = section != nullptr ? ElfSections::bytes(read, *section, kMaxModinfo) : std::nullopt;
  if (!bytes) return;
  std::string_view rest(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  while (!rest.empty()) {
    const std::string_view entry = rest.substr(0, rest.find('\0'));
    if (entry.starts_with("name=")) facts.module_name = entry.substr(5);
    rest.remove_prefix(std::min(rest.size(), entry.size() + 1));
  }
}

/// CRC-32 as .gnu_debuglink has it: that of zlib and Ethernet.
constexpr std::array<uint32_t, 256> kCrcTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ ((value & 1) != 0 ? 0xedb88320 : 0);
    table[i] = value;
  }
  return table;
}();

std::optional<uint32_t> checksum(const std::string& path) {
  const OpenFile file(path);
  if (!file.why().empty()) return std::nullopt;
  std::vector<std::byte> chunk(kChunk);
  uint64_t at = 0;
  uint32_t sum = ~uint32_t{0};
  while (const size_t got = file.read(at, chunk)) {
    for (size_t i = 0; i < got; ++i) sum = sum >> 8 ^ kCrcTable[(sum ^ std::to_integer<uint32_t>(chunk[i])) & 0xff];
    at += got;
  }
  return ~sum;
}

Expected<SymbolFileFacts> facts_of(const ElfSections::ReadAt& read) {
  const auto sections = ElfSections::read(read);
  if (!sections) return std::unexpected(sections.error());
  SymbolFileFacts facts;
  facts.is_relocatable = sections->type() == kRelocatable;
  for (const auto& section : sections->list()) {
    const bool here = section.type != kNobits && section.size != 0, packed = section.name.starts_with(".zdebug_");
    if (here && (section.name == ".debug_info" || section.name == ".zdebug_info")) facts.has_debug_information = true;
    if (here && section.name == ".symtab") facts.has_symbols = true;
    if (here && (packed || (section.flags & kCompressed) != 0)) facts.has_compressed_sections = true;
  }
  facts.build_id = sections->build_id(read);
  read_link(*sections, read, facts);
  read_module_name(*sections, read, facts);
  return facts;
}

bool is_same(const std::string& one, const std::string& other) {
  std::error_code error;
  return fs::equivalent(one, other, error) && !error;
}

}  // namespace

std::vector<std::string> default_debug_roots() { return {"/usr/lib/debug"}; }

Expected<SymbolFileFacts> symbol_file_facts(const std::string& path) {
  if (is_packed_file(path)) {
    const auto bytes = read_module_bytes(path);
    if (!bytes) return std::unexpected(bytes.error());
    return facts_of([&](uint64_t offset, std::span<std::byte> into) -> size_t {
      const size_t count = offset < bytes->size() ? std::min<uint64_t>(into.size(), bytes->size() - offset) : 0;
      if (count != 0) std::memcpy(into.data(), bytes->data() + offset, count);
      return count;
    });
  }
  const OpenFile file(path);
  if (!file.why().empty()) return std::unexpected(Error{Error::Kind::io, file.why()});
  return facts_of([&](uint64_t offset, std::span<std::byte> into) { return file.read(offset, into); });
}

std::optional<std::string> find_by_build_id(std::string_view build_id, std::span<const std::string> roots) {
  if (build_id.size() < 3) return std::nullopt;
  for (const std::string& root : roots) {
    const std::string path = fmt::format("{}/.build-id/{}/{}.debug", root, build_id.substr(0, 2), build_id.substr(2));
    std::error_code error;
    if (fs::is_regular_file(path, error)) return path;
  }
  return std::nullopt;
}

DebugFile find_debug_file(const std::string& path, const SymbolFileFacts& facts, std::span<const std::string> roots) {
  if (facts.has_debug_information) return {path, ""};
  if (auto found = find_by_build_id(facts.build_id, roots)) {
    const auto other = symbol_file_facts(*found);
    if (other && other->build_id == facts.build_id && other->has_debug_information) return {*std::move(found), ""};
  }
  if (facts.debug_link.empty()) return {};
  std::error_code error;
  const fs::path resolved = fs::canonical(path, error);
  const std::string folder = (error ? fs::absolute(path) : resolved).parent_path().string();
  std::vector<std::string> places{folder + "/" + facts.debug_link, folder + "/.debug/" + facts.debug_link};
  for (const std::string& root : roots) {
    places.push_back(root + folder + "/" + facts.debug_link);
    places.push_back(root + "/" + facts.debug_link);
  }
  std::string of_another_build;
  for (const std::string& place : places) {
    if (!fs::is_regular_file(place, error) || is_same(place, path)) continue;
    const auto other = symbol_file_facts(place);
    if (!other || !other->has_debug_information) continue;
    const bool has_ids = !facts.build_id.empty() && !other->build_id.empty();
    if (has_ids ? other->build_id == facts.build_id : checksum(place) == facts.debug_link_checksum) return {place, ""};
    if (of_another_build.empty()) of_another_build = place;
  }
  if (!of_another_build.empty())
    return {"", fmt::format("{} has no debug information, and {} is of another build", path, of_another_build)};
  return {"",
          fmt::format("the debug information of {} is in a file of its own, {}, which was not found beside it or in "
                      "/usr/lib/debug: name that file",
                      path, facts.debug_link)};
}

}  // namespace gcore::reader::linux_guest
