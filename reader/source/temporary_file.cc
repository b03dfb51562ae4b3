#include "reader/source/temporary_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "writer/base/sparse_file.h"

namespace gcore::reader {

Expected<TemporaryFile> TemporaryFile::make() {
  const char* wanted = std::getenv("TMPDIR");
  int error = ENOENT;
  for (const char* folder : {wanted, "/var/tmp", "/tmp"}) {
    if (!folder || !*folder) continue;
    if (base::UniqueFd file = base::unnamed_file(folder)) return TemporaryFile(std::move(file));
    error = errno;
  }
  return std::unexpected(
      Error{Error::Kind::io, fmt::format("no temporary file can be made for unpacking it ($TMPDIR, /var/tmp, /tmp): {}",
                                         std::strerror(error))});
}

Expected<void> TemporaryFile::write(uint64_t offset, std::span<const std::byte> bytes) {
  // Zeros that replace something that was there (a flattened file may write a place twice) do have to be written.
  const auto again = bytes.first(std::min<uint64_t>(bytes.size(), size_ > offset ? size_ - offset : 0));
  int problem = base::write_at(fd_.get(), again, offset);
  if (problem == 0) problem = base::write_sparse(fd_.get(), bytes.subspan(again.size()), offset + again.size());
  if (problem != 0) return failed(problem);
  size_ = std::max(size_, offset + bytes.size());
  return {};
}

Expected<int> TemporaryFile::finish() {
  if (::ftruncate(fd_.get(), static_cast<off_t>(size_)) != 0) return failed(errno);
  return fd_.release();
}

std::unexpected<Error> TemporaryFile::failed(int code) const {
  return std::unexpected(
      Error{Error::Kind::io, fmt::format("it cannot be unpacked into a temporary file ({} bytes so far): {}; TMPDIR "
                                         "selects another place",
                                         size_, std::strerror(code))});
}

}  // namespace gcore::reader
