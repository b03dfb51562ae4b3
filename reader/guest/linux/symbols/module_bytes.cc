#include "reader/guest/linux/symbols/module_bytes.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>

#include "reader/guest/linux/symbols/open_file.h"
#include "reader/source/packed_bytes.h"

namespace gcore::reader::linux_guest {
namespace {

constexpr size_t kStart = 1 << 16, kHeader = 20;
constexpr uint64_t kMaxFile = 1 << 30;
// Object files with debug information pack to a fifth or so.
constexpr uint64_t kLeastRoom = 16 << 20, kMostRatio = 100;

std::unexpected<Error> fail(Error::Kind kind, std::string why) { return std::unexpected(Error{kind, std::move(why)}); }

bool is_object_file(std::span<const std::byte> start) {
  constexpr std::byte kRelocatable{1};
  if (start.size() < kHeader || std::memcmp(start.data(), "\177ELF", 4) != 0) return false;
  const bool big = start[5] == std::byte{2};
  return start[big ? 17 : 16] == kRelocatable && start[big ? 16 : 17] == std::byte{0};
}

std::optional<Packing> packed(const OpenFile& file) {
  std::array<std::byte, 16> start{};
  return packed_by(std::span(start).first(file.read(0, start)));
}

}  // namespace

bool is_packed_file(const std::string& path) {
  const OpenFile file(path);
  return file.why().empty() && packed(file).has_value();
}

Expected<std::vector<std::byte>> read_module_bytes(const std::string& path) {
  const OpenFile file(path);
  if (!file.why().empty()) return fail(Error::Kind::io, file.why());
  const auto how = packed(file);
  std::vector<std::byte> bytes(how ? kStart : std::min(file.size(), kMaxFile));
  bytes.resize(file.read(0, bytes));
  if (!how) return bytes;
  const auto start = unpack_bytes(*how, bytes, kHeader, Beyond::cut);
  if (!start) return std::unexpected(start.error());
  if (!is_object_file(*start))
    return fail(Error::Kind::not_elf,
                "it is compressed, and not a kernel's module; unpack it first (a packed kernel image, vmlinuz, has no "
                "symbols: take the vmlinux with debug information)");
  bytes.resize(std::min(file.size(), kMaxFile));
  bytes.resize(file.read(0, bytes));
  return unpack_bytes(*how, bytes, std::min(kMaxFile, kLeastRoom + kMostRatio * bytes.size()));
}

}  // namespace gcore::reader::linux_guest
