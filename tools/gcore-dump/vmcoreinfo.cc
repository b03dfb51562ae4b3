#include "tools/gcore-dump/vmcoreinfo.h"

#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "reader/vmcoreinfo.h"

namespace gcore::tools::qemu {
namespace {

constexpr uint64_t kPage = 4096;
constexpr size_t kBlock = 1 << 20;

/// In [offset, end) of a file, holes left out.
std::string search(int fd, uint64_t offset, uint64_t end) {
  std::vector<char> block(kBlock + kPage);  // a note may go on in the next page
  while (offset < end) {
    const off_t data = lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return "";  // nothing but a hole
    if (data >= 0) offset = std::max(offset, static_cast<uint64_t>(data) / kPage * kPage);
    if (offset >= end) return "";
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(block.size(), end - offset));
    const ssize_t got = pread(fd, block.data(), wanted, static_cast<off_t>(offset));
    if (got <= 0) return "";
    const std::string_view bytes(block.data(), static_cast<size_t>(got));
    for (size_t page = 0; page < std::min(bytes.size(), kBlock); page += kPage)
      if (std::string text = reader::vmcoreinfo_note_at(bytes.substr(page)); !text.empty()) return text;
    offset += kBlock;
  }
  return "";
}

}  // namespace

std::string find_vmcoreinfo(const Memory& memory) {
  for (const writer::MemoryRange& range : memory.shared_ranges())
    if (std::string text = search(range.fd, range.fd_offset, range.fd_offset + range.size); !text.empty()) return text;
  return "";
}

}  // namespace gcore::tools::qemu
