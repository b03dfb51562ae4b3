// A file on a server, read by ranges. Private to the reader.
//
// Blocks of it are kept in memory, the last used ones. What is missing is asked for in runs of blocks, several at once.
// Whoever goes through the file from front to end finds the next ones under way, more of them the longer it goes on.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>

#include "reader/error.h"
#include "reader/source/remote/head.h"
#include "reader/source/remote/remote.h"
#include "reader/source/remote/target.h"
#include "reader/source/remote/transfers.h"
#include "reader/source/source.h"

namespace gcore::reader {

/// What a reply says the file is. Two replies that differ in it are not of one file.
struct Identity {
  uint64_t size = 0;
  std::string etag, last_modified;

  /// Why a later reply is of another file, or "". What one of the two does not say is not compared.
  std::string difference(const Identity& later) const;
};

class RemoteSource final : public Source {
 public:
  /// Asks for the first bytes, which tells size and identity.
  static Expected<std::unique_ptr<RemoteSource>> open(const Target& target, const TransferLimits& limits,
                                                      std::shared_ptr<RemoteState> state);
  ~RemoteSource() override;

  uint64_t size() const override { return identity_.size; }
  Result read(FileOffset offset, std::span<std::byte> into) const override;
  std::string trouble() const override { return state_->trouble(); }

 private:
  static constexpr uint64_t kBlock = uint64_t{64} << 10;

  struct Block {
    std::unique_ptr<std::byte[]> bytes;
    bool ready = false;
    std::list<uint64_t>::iterator used;  // of a ready one: its place in used_
  };
  class Fetch;
  struct Reached {
    uint64_t next = 0, window = 0, ahead = 0;  // blocks: expected next; how many ahead; asked for up to there
  };

  RemoteSource(const Target& target, std::shared_ptr<RemoteState> state) : target_(target), state_(std::move(state)) {}

  uint64_t block_count() const { return (identity_.size + kBlock - 1) / kBlock; }
  uint64_t block_size(uint64_t block) const { return std::min(kBlock, identity_.size - block * kBlock); }
  void want(uint64_t first, uint64_t end) const;        // with mutex_ held
  void look_ahead(uint64_t block, uint64_t end) const;  // likewise
  void make_room() const;                               // likewise
  void touch(Block& block) const;                       // likewise
  void fail(const std::string& why, bool for_good) const;

  const Target target_;
  const std::shared_ptr<RemoteState> state_;
  Identity identity_;

  mutable std::mutex mutex_;  // of what follows
  mutable std::condition_variable changed_;
  mutable std::unordered_map<uint64_t, std::shared_ptr<Block>> blocks_;
  mutable std::list<uint64_t> used_;  // ready blocks, the last used one first
  mutable std::array<Reached, 4> reached_{};
  mutable size_t next_reached_ = 0;
  mutable std::string why_;  // the last request failed
  mutable bool failed_for_good_ = false;
  mutable std::chrono::steady_clock::time_point failed_until_{};

  std::unique_ptr<Transfers> transfers_;  // last: its thread uses all of that
};

}  // namespace gcore::reader
