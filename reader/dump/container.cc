#include "reader/dump/container.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>

#include "reader/dump/elf_file.h"
#include "reader/source/decoder.h"
#include "reader/source/file.h"
#include "reader/source/flattened.h"
#include "reader/source/gzip_source.h"
#include "reader/source/temporary_file.h"
#include "reader/source/unpack.h"
#include "reader/source/zstd_source.h"
#include "writer/base/unique_fd.h"

namespace gcore::reader {
namespace {

constexpr size_t kStart = 512;  // a tar archive says so that late

using Start = std::array<std::byte, kStart>;

std::unexpected<Error> fail(Error::Kind kind, std::string text) {
  return std::unexpected(Error{kind, std::move(text)});
}

std::unexpected<Error> unreadable(int error) {
  return fail(Error::Kind::io, fmt::format("it cannot be read: {}", words_of(error)));
}

/// Refuses what no reader of ours takes; what is too short to tell is left to them.
Expected<void> check_start(std::span<const std::byte> start, bool unpacked, const ContainerOptions& options) {
  if (options.raw || start.size() < 4 || std::memcmp(start.data(), format::kElfMagic, 4) == 0) return {};
  if (is_kdump(start) || is_flattened(start) || is_foreign(start)) return {};
  return fail(Error::Kind::not_elf, (unpacked ? "unpacked, " : "") + describe_foreign_file(start));
}

/// Through an index; nullptr with the file still there when it has too few places to start from.
Expected<std::unique_ptr<Source>> open_indexed(std::unique_ptr<Source>& file, Packing packing,
                                               const ContainerOptions& options, std::vector<std::string>& warnings) {
  const CheckStart check = [&](std::span<const std::byte> start) { return check_start(start, true, options); };
#ifdef GCORE_WITH_ZSTD
  if (packing == Packing::zstd) {
    auto source = ZstdSource::open(file, options.progress, warnings);
    if (!source) return std::unexpected(source.error());
    if (*source == nullptr) return nullptr;
    Start start{};
    const Source::Result got = (*source)->read(FileOffset(0), start);
    if (auto fine = check(std::span(start).first(got.bytes)); !fine) return std::unexpected(fine.error());
    return std::move(*source);
  }
#endif
  auto source = GzipSource::open(file, check, options.progress, warnings);
  if (!source) return std::unexpected(source.error());
  return std::move(*source);
}

Expected<Container> open_packed(std::unique_ptr<Source> file, Packing packing, const ContainerOptions& options,
                                std::vector<std::string>& warnings) {
  if (auto known = new_decoder(packing); !known) return std::unexpected(known.error());
  const size_t before = warnings.size();
  auto source = open_indexed(file, packing, options, warnings);
  if (!source) return std::unexpected(source.error());
  if (*source) return Container{std::move(*source), to_string(packing), {}, {}, {}};
  warnings.resize(before);  // unpacking finds the same
  Start start{};
  const Source::Result got = file->read(FileOffset(0), start);
  if (got.error != 0) return unreadable(got.error);
  auto unpacked = unpack(
      input_of(*file, got.bytes), std::span(start).first(got.bytes), packing, file->size(),
      [&](std::span<const std::byte> bytes) { return check_start(bytes, true, options); }, options.progress, warnings);
  if (!unpacked) return std::unexpected(unpacked.error());
  return Container{
      std::move(*unpacked),
      to_string(packing),
      {},
      {},
      {fmt::format("the {} data has no place to start from in more than {} MiB; it was unpacked into a temporary file",
                   to_string(packing), kMaxBlock >> 20)}};
}

Expected<Container> open_stream(int fd, std::span<const std::byte> start, Packing packing,
                                const ContainerOptions& options, std::vector<std::string>& warnings) {
  if (start.empty()) return fail(Error::Kind::not_elf, "it is empty");
  auto file = unpack(
      input_of(fd), start, packing, 0,
      [&](std::span<const std::byte> bytes) { return check_start(bytes, packing != Packing::none, options); },
      options.progress, warnings);
  if (!file) return std::unexpected(file.error());
  return Container{std::move(*file), to_string(packing), {}, {}, {}};
}

/// By what the descriptor is, and by its first bytes.
Expected<Container> open_outer(int fd, const ContainerOptions& options, std::vector<std::string>& warnings) {
  base::UniqueFd input(fd);
  struct stat info{};
  if (::fstat(fd, &info) != 0)
    return fail(Error::Kind::io, fmt::format("it cannot be examined: {}", std::strerror(errno)));
  if (S_ISDIR(info.st_mode)) return fail(Error::Kind::io, "it is a directory");
  const bool seekable = (S_ISREG(info.st_mode) || S_ISBLK(info.st_mode)) && ::lseek(fd, 0, SEEK_SET) == 0;

  Start bytes{};
  const auto got = read_all(fd, bytes);
  if (!got) return unreadable(errno);
  const auto start = std::span(bytes).first(*got);
  const Packing packing = packing_of(start);
  if (!seekable) return open_stream(fd, start, packing, options, warnings);
  auto file = File::adopt(input.release(), options.lasting ? File::Lasting::yes : File::Lasting::unknown);
  if (!file) return std::unexpected(file.error());
  if (packing == Packing::none) return Container{std::move(*file), to_string(packing), {}, {}, {}};
  return open_packed(std::move(*file), packing, options, warnings);
}

Expected<Container> open_inner_kdump(Rearranged file, Container outer, std::vector<std::string>& warnings) {
  auto kdump = open_kdump(std::move(file), warnings);
  if (!kdump) return std::unexpected(kdump.error());
  outer.source = std::move(kdump->memory);
  outer.name = "kdump";
  outer.kdump = std::move(*kdump);
  return outer;
}

Expected<Container> as_foreign(Expected<ForeignDump> foreign, Container outer, std::vector<std::string>& warnings) {
  if (!foreign) return std::unexpected(foreign.error());
  outer.source = std::move(foreign->memory);
  outer.notices.insert(outer.notices.end(), foreign->notices.begin(), foreign->notices.end());
  warnings.insert(warnings.end(), foreign->warnings.begin(), foreign->warnings.end());
  if (foreign->packing != nullptr) outer.name = foreign->packing;
  outer.foreign = std::move(*foreign);
  return outer;
}

Expected<std::span<const std::byte>> read_start(const Source& source, Start& into) {
  const Source::Result got = source.read(FileOffset(0), into);
  if (got.error != 0) return unreadable(got.error);
  return std::span<const std::byte>(into).first(got.bytes);
}

/// What is in what the outermost layer was taken off.
Expected<Container> open_inner(Expected<Container> outer, const ContainerOptions& options,
                               std::vector<std::string>& warnings) {
  if (!outer) return outer;
  Start bytes{};
  auto start = read_start(*outer->source, bytes);
  if (!start) return std::unexpected(start.error());
  if (start->empty() && std::string_view(outer->name) != to_string(Packing::none))
    return warnings.empty() ? fail(Error::Kind::not_elf, "unpacked, it is empty")
                            : fail(Error::Kind::truncated, "nothing of it can be unpacked");
  if (options.map && (options.raw || !is_saved_guest(*start)))
    return fail(Error::Kind::usage, "a memory map is for guests that QEMU or libvirt saved, and it is none");
  if (options.raw) {
    auto source = std::move(outer->source);
    return as_foreign(open_raw(std::move(source), *options.raw), std::move(*outer), warnings);
  }
  if (is_foreign(*start)) {
    auto source = std::move(outer->source);
    return as_foreign(open_foreign(std::move(source), *start, options.map), std::move(*outer), warnings);
  }
  if (is_kdump(*start)) {
    auto file = as_file(std::move(outer->source));
    if (!file) return std::unexpected(file.error());
    // libkdumpfile needs a file that it can read where it is.
    return open_inner_kdump({.file = std::move(*file), .flattened_size = 0, .truncated = false, .lost = {}},
                            std::move(*outer), warnings);
  }
  if (!is_flattened(*start)) return outer;

  auto file = rearrange(*outer->source, warnings);
  if (!file) return std::unexpected(file.error());
  start = read_start(*file->file, bytes);
  if (!start) return std::unexpected(start.error());
  if (is_kdump(*start)) return open_inner_kdump(std::move(*file), std::move(*outer), warnings);
  outer->source = source_of(std::move(*file));
  outer->name = "flattened";
  return outer;
}

}  // namespace

Expected<Container> open_container(int fd, const ContainerOptions& options, std::vector<std::string>& warnings) {
  return open_inner(open_outer(fd, options, warnings), options, warnings);
}

Expected<Container> open_container(std::unique_ptr<Source> source, const ContainerOptions& options,
                                   std::vector<std::string>& warnings) {
  Start bytes{};
  const auto start = read_start(*source, bytes);
  if (!start) return std::unexpected(start.error());
  const Packing packing = packing_of(*start);
  if (packing == Packing::none)
    return open_inner(Container{std::move(source), to_string(packing), {}, {}, {}}, options, warnings);
  return open_inner(open_packed(std::move(source), packing, options, warnings), options, warnings);
}

}  // namespace gcore::reader
