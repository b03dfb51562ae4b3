#include "writer/memory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "writer/aside.h"
#include "writer/snapshot.h"

namespace gcore::writer {
namespace {

// Large enough that system calls do not matter, small enough for the second-level cache; larger writes are also slower
// on ext4 (measured: 128 KiB twice as fast as 512 KiB).
constexpr size_t kBufferSize = size_t{128} * 1024;
// To find where the data of a file in memory ends takes the kernel 12 ms a GiB, without a break: a vCPU that has the
// same CPU, or waits for a page, stands still for as long. While the guest runs nobody looks further than this, nor who
// reads a block at a time (Aside), and would look again for each.
constexpr uint64_t kNear = kBufferSize;

bool is_zero_page(const std::byte* page) {
  uint64_t words[8];
  for (size_t at = 0; at < kPageSize;
       at += sizeof words) {  // a cache line at a time, so that most pages end it at once
    std::memcpy(words, page + at, sizeof words);
    if ((words[0] | words[1] | words[2] | words[3] | words[4] | words[5] | words[6] | words[7]) != 0) return false;
  }
  return true;
}

constexpr uint64_t round_down(uint64_t size) { return size & ~(kPageSize - 1); }

}  // namespace

Status check_memory(std::vector<MemoryRange>& ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) { return a.address < b.address; });
  const MemoryRange* before = nullptr;
  constexpr uint64_t kMost = uint64_t{1} << 62;  // off_t ends at 2^63, and there is more in a dump than memory
  uint64_t total = 0;
  for (const MemoryRange& range : ranges) {
    const char* defect = nullptr;
    if (range.address % kPageSize != 0 || range.size % kPageSize != 0) defect = "is not made of whole 4 KiB pages";
    if (range.size == 0) {
      defect = "is empty";
    } else if (range.size - 1 > UINT64_MAX - range.address) {
      defect = "goes beyond the end of the address space";
    }
    if (range.size > kMost || total + range.size > kMost) defect = "is more than a file can hold";
    if (range.fd >= 0 && range.fd_offset > kMost) defect = "has an offset that no file has";
    if (before && range.address - before->address < before->size) defect = "overlaps the one before it";
    if (defect) {
      char text[128];
      std::snprintf(text, sizeof text, "the VMM's memory range at 0x%" PRIx64 ", size 0x%" PRIx64 ", %s", range.address,
                    range.size, defect);
      return Status(std::string(text));
    }
    before = &range;
    total += range.size;
  }
  if (ranges.empty()) return Status(std::string("the guest has no memory"));
  return {};
}

MemorySource::MemorySource(Guest& guest, Control& control) : guest_(guest), control_(control) {}

void MemorySource::start(const MemoryRange& range) {
  if (!buffer_) buffer_.reset(new std::byte[kBufferSize]);  // not before it is known that there is memory for it
  range_ = &range;
  position_ = extent_end_ = 0;
  buffered_ = consumed_ = 0;
  file_size_ = UINT64_MAX;
  is_shared_ = aside_ && !range.is_copy;
  if (is_shared_) range_start_ = aside_->start_of(range);
  struct stat info;
  if (range.fd >= 0 && control_.enter_guest()) {
    if (fstat(range.fd, &info) == 0 && S_ISREG(info.st_mode)) file_size_ = static_cast<uint64_t>(info.st_size);
    control_.leave_guest();
  }
  if (range.fd < 0 && range.host && !page_map_) page_map_.emplace(snapshot_ ? snapshot_->userfaultfd() : -1);
}

// Finds out where position_ is: in data, in a hole of the backing file, or beyond that file's end.
void MemorySource::find_extent() {
  extent_kind_ = Piece::Kind::data;
  extent_end_ = range_->size;
  if (control_.is_abandoned()) {  // the guest, and its memory, may be gone
    extent_kind_ = Piece::Kind::missing;
    return;
  }
  if (range_->fd < 0 && !range_->host) {
    find_known();
    return;
  }
  if (file_size_ == UINT64_MAX) {
    find_touched();
    return;
  }
  const uint64_t at = range_->fd_offset + position_;
  if (at >= file_size_) {  // a mapping of this would raise SIGBUS
    extent_kind_ = Piece::Kind::missing;
    note_trouble();
    return;
  }
  const auto whole_pages_to = [&](uint64_t offset) {  // never backwards, never beyond the range
    return std::min(range_->size, position_ + ((offset - at) & ~(kPageSize - 1)));
  };
  if (range_->fd == data_.fd && data_.first <= at && at < data_.end) {
    extent_end_ = whole_pages_to(data_.end + kPageSize - 1);
    return;
  }
  if (!control_.enter_guest()) {
    extent_kind_ = Piece::Kind::missing;
    return;
  }
  const off_t data = lseek(range_->fd, static_cast<off_t>(at), SEEK_DATA);
  const bool is_data = data >= 0 && static_cast<uint64_t>(data) - at < kPageSize;
  const off_t hole = is_data && !looks_near() ? lseek(range_->fd, data, SEEK_HOLE) : -1;
  control_.leave_guest();
  if (data < 0 && errno != ENXIO) return;  // the file system knows no holes
  const uint64_t hole_end = data < 0 ? file_size_ : static_cast<uint64_t>(data);
  if (hole_end - at >= kPageSize) {
    extent_kind_ = Piece::Kind::absent;
    extent_end_ = whole_pages_to(hole_end);
    return;
  }
  uint64_t end = hole >= 0 ? static_cast<uint64_t>(hole) : file_size_;
  if (looks_near()) end = std::min(end, at + kNear);  // a hole within it is read as zeros, see find_hole()
  if (is_data) data_ = {range_->fd, static_cast<uint64_t>(data), end};
  extent_end_ = whole_pages_to(end + kPageSize - 1);
}

// The same for memory that the guest reads itself.
void MemorySource::find_known() {
  const uint64_t left = range_->size - position_;
  if (!control_.enter_guest()) {
    extent_kind_ = Piece::Kind::missing;
    return;
  }
  const Guest::Stretch known = guest_.known_memory(range_->address + position_, left);
  control_.leave_guest();
  if (known.size == 0 || known.size > left || known.size % kPageSize != 0) return;
  extent_end_ = position_ + known.size;
  if (known.zero) extent_kind_ = Piece::Kind::absent;
}

// The same for memory without a file.
void MemorySource::find_touched() {
  if (range_->fd >= 0 || !range_->host) return;
  const auto address = reinterpret_cast<uintptr_t>(range_->host) + position_;
  const auto extent = address % kPageSize == 0 ? page_map_->find(address, range_->size - position_) : std::nullopt;
  if (!extent) return;
  extent_end_ = position_ + extent->size;
  if (!extent->touched) extent_kind_ = Piece::Kind::absent;
}

uint64_t MemorySource::touched(const MemoryRange& range) {
  uint64_t bytes = 0;
  for (start(range); position_ < range.size; position_ = extent_end_) {
    find_extent();
    if (extent_kind_ == Piece::Kind::data) bytes += extent_end_ - position_;
  }
  return bytes;
}

Stretch MemorySource::stretch() {
  constexpr uint64_t kMost = 1 << 20;  // between two looks at the progress
  const Stretch none = {0, -1, 0, nullptr};
  if (snapshot_ || aside_ || consumed_ != buffered_ || position_ == range_->size || (range_->fd < 0 && !range_->host))
    return none;
  if (position_ == extent_end_) find_extent();
  if (extent_kind_ != Piece::Kind::data) return none;
  uint64_t size = std::min(extent_end_ - position_, kMost);
  // What a mapping shows of a page in which the file ends is not in the file.
  if (file_size_ != UINT64_MAX) size = std::min(size, round_down(file_size_ - range_->fd_offset - position_));
  const auto* host = static_cast<const std::byte*>(range_->host);
  return {size, range_->fd, range_->fd_offset + position_, host ? host + position_ : nullptr};
}

Piece MemorySource::in_place() {
  if (position_ == range_->size) return {Piece::Kind::data, 0, nullptr};
  if (position_ == extent_end_) find_extent();
  const uint64_t size = extent_end_ - position_;
  position_ = extent_end_;
  return {extent_kind_, size, nullptr};
}

uint64_t MemorySource::claim(uint64_t size) {
  return is_shared_ ? aside_->claim(range_start_ + position_, size) : size;
}

void MemorySource::have_read(uint64_t size) {
  if (is_shared_) aside_->have_read(range_start_ + position_ + size);
}

Piece MemorySource::next() {
  if (consumed_ == buffered_) {
    if (position_ == range_->size) return {Piece::Kind::data, 0, nullptr};
    const uint64_t wanted = std::min<uint64_t>(range_->size - position_, kBufferSize);
    const uint64_t most = claim(wanted);
    if (most == 0) {
      const Piece copy = aside_->next(range_start_ + position_, wanted);
      position_ += copy.size;
      return copy;
    }
    if (position_ == extent_end_) find_extent();
    if (extent_kind_ != Piece::Kind::data) {
      const uint64_t left = claim(extent_end_ - position_);
      if (snapshot_) snapshot_->take(range_->address, position_, left, nullptr);
      have_read(left);
      position_ += left;
      return {extent_kind_, left, nullptr};
    }
    buffered_ = read(buffer_.get(), static_cast<size_t>(std::min(extent_end_ - position_, most)));
    consumed_ = 0;
    if (snapshot_) snapshot_->take(range_->address, position_, buffered_, buffer_.get());
    have_read(std::max<uint64_t>(buffered_, kPageSize));
    if (buffered_ == 0) {
      note_trouble();
      if (snapshot_) snapshot_->take(range_->address, position_, kPageSize, nullptr);
      position_ += kPageSize;
      return {Piece::Kind::missing, kPageSize, nullptr};
    }
  }
  const std::byte* start = buffer_.get() + consumed_;
  const bool zero = is_zero_page(start);
  size_t size = kPageSize;
  while (consumed_ + size < buffered_ && is_zero_page(start + size) == zero) size += kPageSize;
  Piece piece = {zero ? Piece::Kind::zero : Piece::Kind::data, size, start};
  if (zero && looks_near()) find_hole(piece);
  consumed_ += piece.size;
  position_ += piece.size;
  return piece;
}

// Zeros that were read may be a hole. (To find where one begins is what nobody waits for here; where one ends is known
// at once.)
void MemorySource::find_hole(Piece& zeros) {
  if (file_size_ == UINT64_MAX || !control_.enter_guest()) return;
  const auto at = static_cast<off_t>(range_->fd_offset + position_);
  const off_t data = lseek(range_->fd, at, SEEK_DATA);
  const bool is_rest = data < 0 && errno == ENXIO;
  control_.leave_guest();
  const uint64_t hole = is_rest ? zeros.size : data > at ? round_down(static_cast<uint64_t>(data - at)) : 0;
  if (hole > 0) zeros = {Piece::Kind::absent, std::min(hole, zeros.size), nullptr};
}

// The causes are told apart: a descriptor that is none, a file that is too short, an address where nothing is mapped.
void MemorySource::note_trouble() {
  if (!trouble_.empty() || control_.is_abandoned()) return;
  char text[192];
  std::snprintf(text, sizeof text, "at guest-physical 0x%" PRIx64 " ", range_->address + position_);
  trouble_ = text;
  if (range_->fd >= 0 && file_size_ != UINT64_MAX && range_->fd_offset + position_ >= file_size_) {
    std::snprintf(text, sizeof text, "the file of its fd %d has ended (after %" PRIu64 " bytes)", range_->fd,
                  file_size_);
    trouble_ += text;
  } else if (range_->fd >= 0) {
    trouble_ += system_error(file_error_, "pread of its fd " + std::to_string(range_->fd)).text();
  }
  if (range_->host && host_error_ != 0) {
    std::snprintf(text, sizeof text, "process_vm_readv of its host address %p",
                  static_cast<const void*>(static_cast<const char*>(range_->host) + position_));
    trouble_ += (range_->fd >= 0 ? ", and " : "") + system_error(host_error_, text).text();
    if (host_error_ == EFAULT) trouble_ += " (nothing is mapped there that can be read)";
  }
  if (range_->fd < 0 && !range_->host)
    trouble_ += "the range has neither a host address nor an fd, and read_memory() read nothing";
}

// How many leading bytes could be read: whole pages; 0 when the first page cannot be read.
size_t MemorySource::read(std::byte* to, size_t size) {
  file_error_ = host_error_ = 0;
  if (range_->fd >= 0) {
    bool usable = true;
    if (!control_.enter_guest()) return 0;
    const size_t got = read_file(to, size, usable);
    control_.leave_guest();
    if (usable) return got;
  }
  if (range_->host) return read_host(to, size);
  if (range_->fd >= 0 || !control_.enter_guest()) return 0;
  const size_t got = guest_.read_memory(range_->address + position_, to, size);
  control_.leave_guest();
  return round_down(std::min(size, got));
}

// `usable` becomes false when this file cannot be read at all, so that the host mapping is to be tried.
size_t MemorySource::read_file(std::byte* to, size_t size, bool& usable) {
  size_t done = 0;
  while (done < size) {
    const ssize_t got =
        pread(range_->fd, to + done, size - done, static_cast<off_t>(range_->fd_offset + position_ + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) file_error_ = errno;
    if (got < 0 && done == 0) usable = false;
    if (got <= 0) break;
    done += static_cast<size_t>(got);
  }
  // The file may end within a page; what a mapping shows after its end is zeros.
  if (done % kPageSize != 0 && range_->fd_offset + position_ + done >= file_size_) {
    const size_t tail = kPageSize - done % kPageSize;
    std::memset(to + done, 0, tail);
    done += tail;
  }
  return round_down(done);
}

size_t MemorySource::read_host(std::byte* to, size_t size) {
  const char* from = static_cast<const char*>(range_->host) + position_;
  // The kernel copies up to a bad page. Should one refuse the whole for a bad page in it, the page alone is asked for.
  for (const size_t length : {size, size_t{kPageSize}}) {
    const iovec local{to, length};
    const iovec remote{const_cast<char*>(from), length};
    const ssize_t got = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
    if (got < 0) host_error_ = errno;
    if (got >= static_cast<ssize_t>(kPageSize)) return round_down(static_cast<size_t>(got));
  }
  return 0;
}

}  // namespace gcore::writer
