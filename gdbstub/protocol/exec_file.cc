#include "gdbstub/protocol/exec_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "gdbstub/target.h"

namespace gcore::gdbstub {
namespace {

constexpr size_t kHeaderBytes = 64;  // an ELF64 header; an ELF32 one is shorter
constexpr uint8_t kClass64 = 2, kBigEndian = 2;
constexpr uint64_t kLoad = 1, kCore = 4;
constexpr uint64_t kMaxProgramHeaders = 1024, kMaxSections = 1 << 16;
constexpr uint16_t kX86_64 = 62;
constexpr uint64_t kKernelHalf = uint64_t{1} << 63;  // of every 64-bit machine that is served

/// An unsigned field of an ELF file of either byte order.
uint64_t field(std::span<const std::byte> bytes, size_t offset, size_t size, bool big) {
  uint64_t value = 0;
  for (size_t i = 0; i < size; ++i)
    value = value << 8 | static_cast<uint64_t>(bytes[offset + (big ? i : size - 1 - i)]);
  return value;
}

}  // namespace

std::expected<ExecFile, std::string> ExecFile::open(const std::string& path) {
  // O_NONBLOCK: a FIFO would make open wait for a writer.
  base::UniqueFd opened(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!opened) return std::unexpected(std::strerror(errno));
  const int fd = opened.get();
  ExecFile file(std::move(opened), path, 0);
  struct stat status{};
  if (fstat(fd, &status) != 0) return std::unexpected(std::strerror(errno));
  if (!S_ISREG(status.st_mode)) return std::unexpected("it is not a regular file");
  file.size_ = static_cast<uint64_t>(status.st_size);
  std::array<std::byte, 4> magic{};
  if (file.read(0, magic) != magic.size() || std::memcmp(magic.data(), "\177ELF", 4) != 0)
    return std::unexpected("it is not an ELF file");
  if (file.header_field(16) == kCore)
    return std::unexpected("it is a memory dump (a core file), not a program or kernel");
  char resolved[PATH_MAX];
  if (realpath(path.c_str(), resolved) != nullptr) file.path_ = resolved;
  file.take_per_cpu_out_of_segments();
  return file;
}

size_t ExecFile::read(uint64_t offset, std::span<std::byte> into) const {
  size_t done = 0;
  while (done < into.size() && offset + done < size_) {
    const ssize_t got = pread(file_.get(), into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    done += static_cast<size_t>(got);
  }
  for (const auto& [at, byte] : changes_)
    if (at >= offset && at - offset < done) into[at - offset] = byte;
  return done;
}

/// The segment becomes PT_NULL. Its sections become SHT_NOBITS, or GDB would warn of contents that are in no segment.
void ExecFile::take_per_cpu_out_of_segments() {
  std::array<std::byte, kHeaderBytes> header{};
  if (read(0, header) != header.size() || static_cast<uint8_t>(header[4]) != kClass64 || machine() != kX86_64 ||
      static_cast<uint8_t>(header[5]) == kBigEndian)
    return;
  const auto linked = first_segment();
  if (!linked || *linked < kKernelHalf) return;
  const uint64_t segments = field(header, 32, 8, false), sections = field(header, 40, 8, false);
  std::array<std::byte, 64> entry{};
  uint64_t end = 0;  // of what is linked from 0 on
  for (uint64_t i = 0; i < std::min(field(header, 56, 2, false), kMaxProgramHeaders) && end == 0; ++i) {
    const uint64_t at = segments + i * field(header, 54, 2, false);
    if (read(at, std::span(entry).first(56)) != 56) return;
    if (field(entry, 0, 4, false) != kLoad || field(entry, 16, 8, false) != 0) continue;
    end = field(entry, 40, 8, false);
    changes_.emplace_back(at, std::byte{0});
  }
  if (end == 0) return;
  constexpr uint64_t kContents = 1, kAllocated = 2;
  constexpr std::byte kNoContents{8};
  for (uint64_t i = 0; i < std::min(field(header, 60, 2, false), kMaxSections); ++i) {
    const uint64_t at = sections + i * field(header, 58, 2, false);
    if (read(at, entry) != entry.size()) return;
    if (field(entry, 4, 4, false) == kContents && (field(entry, 8, 8, false) & kAllocated) != 0 &&
        field(entry, 16, 8, false) < end)
      changes_.emplace_back(at + 4, kNoContents);
  }
}

uint16_t ExecFile::header_field(size_t offset) const {
  std::array<std::byte, kHeaderBytes> header{};
  if (read(0, header) < offset + 2) return 0;
  return static_cast<uint16_t>(field(header, offset, 2, static_cast<uint8_t>(header[5]) == kBigEndian));
}

std::optional<uint64_t> ExecFile::first_segment() const {
  std::array<std::byte, kHeaderBytes> header{};
  if (read(0, header) != header.size()) return std::nullopt;
  const bool wide = static_cast<uint8_t>(header[4]) == kClass64, big = static_cast<uint8_t>(header[5]) == kBigEndian;
  const uint64_t table = wide ? field(header, 32, 8, big) : field(header, 28, 4, big);
  const size_t entry_size = field(header, wide ? 54 : 42, 2, big);
  const uint64_t count = std::min(field(header, wide ? 56 : 44, 2, big), kMaxProgramHeaders);
  std::array<std::byte, 56> entry{};
  const size_t needed = wide ? 56 : 32;
  if (entry_size < needed) return std::nullopt;
  for (uint64_t i = 0; i < count; ++i) {
    if (read(table + i * entry_size, std::span(entry).first(needed)) != needed) return std::nullopt;
    if (field(entry, 0, 4, big) == kLoad) return wide ? field(entry, 16, 8, big) : field(entry, 8, 4, big);
  }
  return std::nullopt;
}

std::optional<uint64_t> linked_address(const Target& target, const ExecFile* file) {
  constexpr uint64_t kLinuxTextX86_64 = 0xffffffff81000000;
  std::optional<uint64_t> linked;
  if (file != nullptr)
    linked = file->first_segment();
  else if (target.arch() == Arch::x86_64)
    linked = kLinuxTextX86_64;
  return linked && *linked >= kKernelHalf ? linked : std::nullopt;
}

std::string moved_symbols_advice(const Target& target, const ExecFile* file) {
  const auto displacement = target.kernel_displacement();
  if (target.arch() != Arch::x86_64 || !displacement || *displacement == 0) return "";
  if (file != nullptr && !linked_address(target, file)) return "";  // it is no kernel
  return fmt::format(
      "per-CPU symbols stay where they are, which gdb does not know of a file that it was given: symbols are all right "
      "after\n"
      "  symbol-file\n  add-symbol-file {} -o {:#x} -s .data..percpu 0\n",
      file == nullptr ? "vmlinux" : file->path(), *displacement);
}

std::string missing_file_hint(const Target& target, const ExecFile* file) {
  if (file != nullptr || linked_address(target, file)) return "";
  const auto displacement = target.kernel_displacement();
  if (!displacement || *displacement == 0) return "";
  return fmt::format(
      "the kernel was moved by {:#x} at boot: name its ELF file with --symbols, else gdb has symbols where they were "
      "linked",
      *displacement);
}

}  // namespace gcore::gdbstub
