#include "reader/dump/qemu_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>

#include "reader/dump/device_state.h"
#include "writer/base/text.h"

namespace gcore::reader {
namespace {

constexpr uint32_t kVersion = 3;
constexpr uint8_t kEnd = 0x00, kStart = 0x01, kPart = 0x02, kLast = 0x03, kFull = 0x04, kSubsection = 0x05,
                  kCommand = 0x08, kConfiguration = 0x07, kFooter = 0x7e;
constexpr uint64_t kFill = 0x02, kBlockList = 0x04, kPage = 0x08, kEndOfPart = 0x10, kSameBlock = 0x20,
                   kMultifdFlush = 0x200, kFlags = kStreamPage - 1;
constexpr uint32_t kMappedVersion = 1;
constexpr size_t kMostState = 256 << 20, kMostBlocks = 4096, kBuffer = 256 << 10;

Error failed(Error::Kind kind, uint64_t offset, std::string_view why) {
  return {kind, fmt::format("cannot read QEMU's migration stream at offset {}: {}", offset, base::printable(why))};
}

/// The stream as numbers and bytes. After the first failure all else is zeros: to be asked now and then.
class Input {
 public:
  explicit Input(const StreamInput& from) : from_(from), buffer_(kBuffer), passed_(from.start) {}

  bool ok() const { return !error_; }
  const Error& error() const { return *error_; }
  uint64_t offset() const { return passed_ + at_; }
  void fail(Error::Kind kind, std::string_view why) {
    if (!error_) error_ = failed(kind, offset(), why);
  }

  /// `size` bytes, at most as many as the buffer has; valid until the next call.
  std::span<const std::byte> take(size_t size) {
    while (ok() && end_ - at_ < size)
      if (!more()) fail(Error::Kind::truncated, "it ends there");
    if (!ok()) {
      static const std::byte kNothing[kStreamPage] = {};
      return std::span(kNothing).first(std::min(size, sizeof kNothing));
    }
    at_ += size;
    return std::span(buffer_).subspan(at_ - size, size);
  }
  uint64_t number(size_t size) {
    uint64_t value = 0;
    for (const std::byte byte : take(size)) value = value << 8 | static_cast<uint8_t>(byte);
    return value;
  }
  uint8_t u8() { return static_cast<uint8_t>(number(1)); }
  uint32_t u32() { return static_cast<uint32_t>(number(4)); }
  std::string text(size_t size) {
    const auto bytes = take(size);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  std::string name() { return text(u8()); }

  /// Goes on at a place ahead.
  void skip_to(uint64_t place) {
    if (!ok()) return;
    if (place >= offset() && place - offset() <= end_ - at_) {
      at_ += static_cast<size_t>(place - offset());
      return;
    }
    if (!from_.seek || place < offset()) return fail(Error::Kind::malformed, "its memory is not where it should be");
    from_.seek(place);
    passed_ = place;
    at_ = end_ = 0;
  }

  /// The last byte is to be taken again.
  void put_back() { at_ -= ok() ? 1 : 0; }

  /// All that is left of it.
  std::string rest() {
    std::string all;
    do {
      all.append(reinterpret_cast<const char*>(buffer_.data()) + at_, end_ - at_);
      at_ = end_;
      if (all.size() > kMostState) fail(Error::Kind::unsupported, "there is too much of the devices' state");
    } while (ok() && more());
    return all;
  }

 private:
  /// False at the end, or when it cannot be read.
  bool more() {
    std::memmove(buffer_.data(), buffer_.data() + at_, end_ - at_);
    passed_ += at_;
    end_ -= at_;
    at_ = 0;
    const auto got = from_.read(std::span(buffer_).subspan(end_));
    if (!got) error_ = got.error();
    end_ += got ? *got : 0;
    return got && *got > 0;
  }

  const StreamInput& from_;
  std::vector<std::byte> buffer_;
  size_t at_ = 0, end_ = 0;
  uint64_t passed_;  // the place of buffer_'s first byte
  std::optional<Error> error_;
};

class Stream {
 public:
  Stream(Input& input, StreamMemory& memory, SavedGuest& guest) : in_(input), memory_(memory), guest_(guest) {}

  Expected<void> read() {
    head();
    while (in_.ok() && !guest_.has_all_memory) section();
    if (in_.ok()) guest_.state = in_.rest();
    if (!in_.ok()) return std::unexpected(in_.error());
    return read_device_states(guest_);
  }

 private:
  void head() {
    const bool is_stream = in_.text(4) == "QEVM";
    if (!is_stream) return in_.fail(Error::Kind::not_elf, "it does not start with QEVM");
    if (const uint32_t version = in_.u32(); version != kVersion)
      in_.fail(Error::Kind::unsupported, fmt::format("its version is {}, not {}", version, kVersion));
  }

  /// One of those before the devices.
  void section() {
    switch (const uint8_t kind = in_.u8()) {
      case kConfiguration:
        return configuration();
      case kSubsection:
        return configuration_part();
      case kStart:
        return start();
      case kPart:
      case kLast:
        return part();
      case kCommand:
        in_.number(2);  // which
        in_.take(in_.number(2));
        return;
      case kFull:  // a device's; a background snapshot's memory has no end of its own
      case kEnd:
        if (guest_.blocks.empty()) return in_.fail(Error::Kind::unsupported, "it has no memory");
        in_.put_back();
        guest_.has_all_memory = true;
        return;
      default:
        return in_.fail(Error::Kind::malformed, fmt::format("there is no section of kind {:#x}", kind));
    }
  }

  void configuration() {
    const uint32_t length = in_.u32();
    if (length > 256) return in_.fail(Error::Kind::malformed, "the machine's name is too long");
    guest_.machine = in_.text(length);
  }

  /// Those that QEMU has (migration/savevm.c).
  void configuration_part() {
    const std::string name = in_.name();
    in_.u32();  // version
    if (name == "configuration/target-page-bits") {
      in_.u32();
    } else if (name == "configuration/uuid") {
      in_.take(16);
    } else if (name == "configuration/capabilities") {
      for (uint32_t count = in_.u32(); count > 0 && in_.ok(); --count)
        if (in_.name() == "mapped-ram") mapped_ = true;
    } else {
      in_.fail(Error::Kind::unsupported, "its configuration has \"" + name + "\", which is not known");
    }
  }

  void start() {
    const uint32_t id = in_.u32();
    const std::string name = in_.name();
    in_.u32();  // instance
    const uint32_t version = in_.u32();
    if (!in_.ok()) return;
    if (name != "ram" || version != 4)
      return in_.fail(Error::Kind::unsupported,
                      fmt::format("it has \"{}\", version {}, which has no length", name, version));
    ram_ = id;
    ram();
    footer(id);
  }

  void part() {
    const uint32_t id = in_.u32();
    if (id != ram_) return in_.fail(Error::Kind::malformed, fmt::format("a part of section {}, which never began", id));
    ram();
    footer(id);
  }

  void footer(uint32_t id) {
    if (in_.u8() != kFooter || in_.u32() != id) in_.fail(Error::Kind::malformed, "a section has no end");
  }

  void ram() {
    while (in_.ok()) {
      const uint64_t word = in_.number(8), flags = word & kFlags, address = word & ~kFlags;
      if (flags == kEndOfPart) return;
      if (flags == kBlockList) {
        block_list(address);
      } else if (flags == kMultifdFlush && mapped_) {
        continue;  // threads wrote the pages, to the same places
      } else if ((flags & ~kSameBlock) == kFill || (flags & ~kSameBlock) == kPage) {
        one_page(address, flags);
      } else {
        in_.fail(Error::Kind::unsupported,
                 fmt::format("its memory has flags {:#x}: it was made with compression, xbzrle, multifd or the like",
                             flags));
      }
    }
  }

  void block_list(uint64_t total) {
    if (!guest_.blocks.empty()) return in_.fail(Error::Kind::malformed, "a second list of blocks");
    struct Place {
      uint64_t bitmap, pages;
    };
    std::vector<Place> places;
    for (uint64_t sum = 0; in_.ok() && sum < total;) {
      StreamBlock block{in_.name(), in_.number(8)};
      if (guest_.blocks.size() == kMostBlocks || block.size == 0 || block.size > total - sum ||
          block.size % kStreamPage != 0)
        return in_.fail(Error::Kind::malformed, "its blocks of memory contradict their sum");
      sum += block.size;
      index_.emplace(block.name, guest_.blocks.size());
      if (mapped_) {
        if (in_.u32() != kMappedVersion || in_.number(8) != kStreamPage)
          return in_.fail(Error::Kind::unsupported, "its mapped memory is of a version that is not known");
        const uint64_t bitmap = in_.number(8), pages = in_.number(8);
        if (pages < bitmap || pages > UINT64_MAX - block.size)
          return in_.fail(Error::Kind::malformed, "its memory is not where it should be");
        places.push_back({bitmap, pages});
        in_.skip_to(pages + block.size);
      }
      guest_.blocks.push_back(std::move(block));
    }
    if (in_.ok()) check(memory_.begin(guest_.blocks));
    for (size_t i = 0; i < places.size() && in_.ok(); ++i) check(memory_.mapped(i, places[i].bitmap, places[i].pages));
  }

  void one_page(uint64_t address, uint64_t flags) {
    if ((flags & kSameBlock) == 0) {
      const auto found = index_.find(in_.name());
      if (!in_.ok()) return;
      if (found == index_.end()) return in_.fail(Error::Kind::malformed, "a page of a block that is not in the list");
      block_ = found->second;
    }
    if (block_ >= guest_.blocks.size() || address >= guest_.blocks[block_].size)
      return in_.fail(Error::Kind::malformed, "a page beyond its block");
    if ((flags & kFill) != 0) {
      const std::byte value{in_.u8()};
      if (in_.ok()) check(memory_.fill(block_, address, value));
    } else {
      const auto bytes = in_.take(kStreamPage);
      if (in_.ok()) check(memory_.page(block_, address, bytes, in_.offset() - kStreamPage));
    }
  }

  void check(Expected<void> done) {
    if (!done) in_.fail(done.error().kind, done.error().text);
  }

  Input& in_;
  StreamMemory& memory_;
  SavedGuest& guest_;
  std::map<std::string, size_t> index_;
  size_t block_ = SIZE_MAX;
  std::optional<uint32_t> ram_;
  bool mapped_ = false;
};

}  // namespace

Expected<void> StreamMemory::mapped(size_t, uint64_t, uint64_t) {
  return std::unexpected(Error{Error::Kind::unsupported, "its memory is mapped (mapped-ram), which needs a file"});
}

Expected<void> read_qemu_stream(const StreamInput& from, StreamMemory& memory, SavedGuest& guest) {
  Input input(from);
  return Stream(input, memory, guest).read();
}

}  // namespace gcore::reader
