// What a dump is read from: bytes at offsets, whatever the container. A program that has a dump's bytes elsewhere than
// in a file (in a network, in its own memory) implements it, for Dump::open_source().
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "reader/address.h"
#include "reader/error.h"
#include "reader/source/lost.h"

namespace gcore::reader {

/// Bytes that stay where they are for as long as `owner` lives.
struct PinnedBytes {
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
};

/// Offsets count unpacked bytes. Every method may be called by several threads at once. What is read never raises a
/// signal: a file that shrinks gives fewer bytes.
class Source {
 public:
  struct Result {
    size_t bytes = 0;
    int error = 0;  // errno, when reading failed (EBADMSG: the compressed data is damaged); 0 with fewer bytes than
                    // asked: the source ends
  };

  Source() = default;
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  virtual ~Source() = default;

  /// What was there when it was opened.
  virtual uint64_t size() const = 0;

  /// Where the file ends now, for people who look at one that is truncated. Not size() where offsets are not the
  /// file's.
  virtual uint64_t file_end() const { return size(); }

  /// What a truncated file lacks before size(). Reading stops there, without an error.
  virtual const Lost& lost() const;

  /// The first stretch that the file lacks at or after `offset`. The last stretch has no end: it begins at size().
  Lost::Stretch next_lost(FileOffset offset) const;

  /// How many of the `size` bytes from `offset` on the file lacks.
  uint64_t lost_bytes(FileOffset offset, uint64_t size) const;

  virtual Result read(FileOffset offset, std::span<std::byte> into) const = 0;

  /// What went wrong when it was read, one sentence without a full stop, where the words for an errno do not say it:
  /// "".
  virtual std::string trouble() const { return ""; }

  /// The first offset >= `offset` that is in a hole (or at the end), respectively in no hole (size() if there is none).
  /// A hole reads as zeros, and costs nothing to find. A source that knows of none has none.
  virtual FileOffset next_hole(FileOffset offset) const;
  virtual FileOffset next_data(FileOffset offset) const;

  /// The bytes where they are in memory: at least one, and perhaps fewer than `size`. Nothing where that would need a
  /// copy, or would not be safe.
  virtual std::optional<PinnedBytes> pin(FileOffset offset, size_t size) const;

  /// A place in the file itself.
  struct Place {
    uint64_t at = 0, size = 0;
  };
  /// Bytes [begin, begin + size) that cannot be unpacked, and the place of what they should be unpacked from.
  struct Damage {
    FileOffset begin;
    uint64_t size = 0;
    Place place;
    int error = 0;  // as Result::error
  };
  /// Unpacks all that is packed, and tells what cannot be. `progress` is called now and then: bytes that are done, and
  /// of how many. A source that packs nothing has nothing to say.
  virtual std::vector<Damage> check(const std::function<void(uint64_t done, uint64_t total)>& progress) const;

  /// Whoever calls will read about a page there next. Does nothing where that would take time.
  virtual void expect(FileOffset) const {}

  /// Reads exactly into.size() bytes, or explains: `what` names them, as in "the ELF header". Error texts of the
  /// reader's parts lack "cannot open NAME: ", which Dump::open adds.
  Expected<void> read_exactly(FileOffset offset, std::span<std::byte> into, const char* what) const;
};

/// The words for Result::error.
const char* words_of(int error);

}  // namespace gcore::reader
