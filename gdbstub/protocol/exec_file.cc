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
constexpr uint64_t kMaxProgramHeaders = 1024;

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
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return std::unexpected(std::strerror(errno));
  ExecFile file(fd, path, 0);
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
  return file;
}

ExecFile::ExecFile(ExecFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)), size_(other.size_) {}

ExecFile::~ExecFile() {
  if (fd_ >= 0) close(fd_);
}

size_t ExecFile::read(uint64_t offset, std::span<std::byte> into) const {
  size_t done = 0;
  while (done < into.size() && offset + done < size_) {
    const ssize_t got = pread(fd_, into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
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
  constexpr uint64_t kKernelHalf = uint64_t{1} << 63;  // of every 64-bit machine that is served
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
      "per-CPU symbols stay where they are, which gdb does not know: symbols are all right after\n"
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
