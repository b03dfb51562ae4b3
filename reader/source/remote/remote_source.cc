#include "reader/source/remote/remote_source.h"

#ifdef GCORE_WITH_LIBCURL

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

namespace gcore::reader {
namespace {

using namespace std::chrono_literals;

constexpr uint64_t kCache = 64 << 20;
constexpr uint64_t kRequest = 16;    // blocks in one request at most
constexpr uint64_t kAround = 8;      // blocks that are asked for where one is missing
constexpr uint64_t kFarAhead = 128;  // blocks at most
constexpr auto kGiveUpFor = 5s;      // after a failure, no request is made for so long

std::unexpected<Error> fail_to_open(std::string text) {
  return std::unexpected(Error{Error::Kind::io, std::move(text)});
}

}  // namespace

std::string Identity::difference(const Identity& later) const {
  if (later.size != size)
    return fmt::format("it has changed since it was opened: it had {} bytes and has {}", size, later.size);
  if (!etag.empty() && !later.etag.empty() && later.etag != etag)
    return fmt::format("it has changed since it was opened: its ETag was {} and is {}", etag, later.etag);
  if (!last_modified.empty() && !later.last_modified.empty() && later.last_modified != last_modified)
    return fmt::format("it has changed since it was opened: it was of {} and is of {}", last_modified,
                       later.last_modified);
  return "";
}

/// The first request: it says what the file is.
class FirstFetch final : public AwaitedTransfer {
 public:
  FirstFetch(const Target& target, uint64_t size, std::shared_ptr<RemoteState> state)
      : target_(target), bytes_(size), state_(std::move(state)) {}

  Request request() override {
    state_->count_request();
    filled_ = 0;
    return target_.get(fmt::format("bytes=0-{}", bytes_.size() - 1), "");
  }

  std::optional<std::string> take_head(const Head& head) override {
    filled_ = 0;
    if (head.status == 200 && head.length == 0) {  // a server may not bother about a range of nothing
      wanted_ = 0;
      return std::nullopt;
    }
    if (head.status == 200)
      return "the server does not serve ranges of bytes; with --download all of it is read into a temporary file first";
    if (head.status != 206) return fmt::format("the server answers {} to a request for a range", head.status);
    if (!head.range)
      return head.nonsense.empty()
                 ? "the server does not say which range it sends (there is no Content-Range)"
                 : "the server sends a range that makes no sense (Content-Range: " + head.nonsense + ")";
    if (!head.range->total) return "the server does not say how large it is (Content-Range without a size)";
    wanted_ = std::min<uint64_t>(bytes_.size(), *head.range->total);
    if (!head.range->satisfied || head.range->first != 0 || head.range->last + 1 != wanted_)
      return fmt::format("the server sends another range than it was asked for (bytes {} to {} for 0 to {})",
                         head.range->first, head.range->last, bytes_.size() - 1);
    identity = {*head.range->total, head.etag, head.last_modified};
    return std::nullopt;
  }

  bool take_bytes(std::span<const std::byte> bytes) override {
    if (bytes.size() > wanted_ - filled_) return false;
    std::memcpy(bytes_.data() + filled_, bytes.data(), bytes.size());
    filled_ += bytes.size();
    state_->count_bytes(bytes.size());
    return true;
  }

  uint64_t progress() const override { return 0; }
  bool is_complete() const override { return filled_ == wanted_; }

  std::span<const std::byte> bytes() const { return std::span(bytes_).first(filled_); }
  Identity identity;

 private:
  const Target& target_;
  std::vector<std::byte> bytes_;
  std::shared_ptr<RemoteState> state_;
  uint64_t filled_ = 0, wanted_ = 0;
};

/// A run of blocks on its way.
class RemoteSource::Fetch final : public Transfer {
 public:
  Fetch(const RemoteSource& of, uint64_t first, std::vector<std::shared_ptr<Block>> blocks)
      : of_(of),
        first_(first),
        blocks_(std::move(blocks)),
        at_(first * kBlock),
        end_(std::min((first + blocks_.size()) * kBlock, of.identity_.size)) {}

  Request request() override {
    of_.state_->count_request();
    const std::string& etag = of_.identity_.etag;
    return of_.target_.get(fmt::format("bytes={}-{}", at_, end_ - 1), etag.starts_with('"') ? etag : "");
  }

  std::optional<std::string> take_head(const Head& head) override {
    changed_ = true;  // unless all is well
    if (head.status == 200) return "the server no longer serves ranges of bytes";
    if (head.status != 206) return fmt::format("the server answers {} to a request for a range", head.status);
    if (!head.range || !head.range->satisfied)
      return "the server sends a range that makes no sense" +
             (head.nonsense.empty() ? "" : " (Content-Range: " + head.nonsense + ")");
    if (std::string difference =
            of_.identity_.difference({head.range->total.value_or(of_.identity_.size), head.etag, head.last_modified});
        !difference.empty())
      return difference;
    if (head.range->first != at_ || head.range->last >= end_)
      return fmt::format("the server sends another range than it was asked for (bytes {} to {} for {} to {})",
                         head.range->first, head.range->last, at_, end_ - 1);
    changed_ = false;
    return std::nullopt;
  }

  bool take_bytes(std::span<const std::byte> bytes) override {
    if (bytes.size() > end_ - at_) return false;
    of_.state_->count_bytes(bytes.size());
    while (!bytes.empty()) {
      const uint64_t number = at_ / kBlock, within = at_ % kBlock;
      const auto part = bytes.first(static_cast<size_t>(std::min<uint64_t>(bytes.size(), kBlock - within)));
      const auto& block = blocks_[static_cast<size_t>(number - first_)];
      std::memcpy(block->bytes.get() + within, part.data(), part.size());
      at_ += part.size();
      bytes = bytes.subspan(part.size());
      if (at_ % kBlock != 0 && at_ != end_) continue;
      const std::lock_guard lock(of_.mutex_);
      block->ready = true;
      of_.used_.push_front(number);
      block->used = of_.used_.begin();
      of_.changed_.notify_all();
    }
    return true;
  }

  uint64_t progress() const override { return at_; }
  bool is_complete() const override { return at_ == end_; }

  void done(const std::optional<Failure>& failure) override {
    if (!failure || failure->ended) return;
    {
      const std::lock_guard lock(of_.mutex_);
      for (uint64_t number = at_ / kBlock; number < first_ + blocks_.size(); ++number) of_.blocks_.erase(number);
    }
    of_.fail(failure->text, changed_ || failure->status == 412 || failure->status == 416);
  }

 private:
  const RemoteSource& of_;
  const uint64_t first_;
  const std::vector<std::shared_ptr<Block>> blocks_;
  uint64_t at_;
  const uint64_t end_;
  bool changed_ = false;
};

Expected<std::unique_ptr<RemoteSource>> RemoteSource::open(const Target& target, const TransferLimits& limits,
                                                           std::shared_ptr<RemoteState> state) {
  std::unique_ptr<RemoteSource> source(new RemoteSource(target, std::move(state)));
  auto transfers = Transfers::start(target, limits);
  if (!transfers) return std::unexpected(transfers.error());
  const auto first = std::make_shared<FirstFetch>(source->target_, kBlock, source->state_);
  (*transfers)->add(first);
  if (const auto failure = first->wait()) {
    if (failure->status == 416) return fail_to_open("it is empty");
    return fail_to_open(failure->text);
  }
  source->identity_ = first->identity;
  if (source->identity_.size == 0) return fail_to_open("it is empty");
  auto block = std::make_shared<Block>();
  block->bytes = std::make_unique_for_overwrite<std::byte[]>(kBlock);
  std::ranges::copy(first->bytes(), block->bytes.get());
  block->ready = true;
  source->used_.push_front(0);
  block->used = source->used_.begin();
  source->blocks_.emplace(0, std::move(block));
  source->transfers_ = std::move(*transfers);
  return source;
}

RemoteSource::~RemoteSource() { transfers_.reset(); }

void RemoteSource::fail(const std::string& why, bool for_good) const {
  const std::lock_guard lock(mutex_);
  why_ = why;
  if (for_good) state_->set_trouble(why);
  failed_for_good_ = failed_for_good_ || for_good;
  failed_until_ = std::chrono::steady_clock::now() + kGiveUpFor;
  changed_.notify_all();
}

void RemoteSource::touch(Block& block) const { used_.splice(used_.begin(), used_, block.used); }

void RemoteSource::make_room() const {
  while (blocks_.size() * kBlock > kCache && !used_.empty()) {
    blocks_.erase(used_.back());
    used_.pop_back();
  }
}

/// Asks for those of the blocks that are neither there nor on their way.
void RemoteSource::want(uint64_t first, uint64_t end) const {
  end = std::min(end, block_count());
  for (uint64_t block = first; block < end;) {
    if (blocks_.contains(block)) {
      ++block;
      continue;
    }
    std::vector<std::shared_ptr<Block>> run;
    const uint64_t begin = block;
    for (; block < end && run.size() < kRequest && !blocks_.contains(block); ++block) {
      auto fresh = std::make_shared<Block>();
      fresh->bytes = std::make_unique_for_overwrite<std::byte[]>(kBlock);
      blocks_.emplace(block, fresh);
      run.push_back(std::move(fresh));
    }
    transfers_->add(std::make_shared<Fetch>(*this, begin, std::move(run)));
  }
  make_room();
}

/// The blocks [block, end) are about to be read: sees to what comes after them, where reads follow each other.
void RemoteSource::look_ahead(uint64_t block, uint64_t end) const {
  const auto follows = [&](const Reached& one) {
    return one.next != 0 && block + 1 >= one.next && block <= one.next + 1;
  };
  auto found = std::ranges::find_if(reached_, follows);
  if (found == reached_.end()) {
    found = reached_.begin() + static_cast<ptrdiff_t>(next_reached_++ % reached_.size());
    *found = {end, 0, end};
    return;
  }
  if (end <= found->next) return;  // within the block that was read last
  found->next = end;
  // Half of it is read before more is asked for, so that requests are large.
  if (found->ahead > end + found->window / 2) return;
  found->window = std::clamp<uint64_t>(found->window * 2, kAround, kFarAhead);
  const uint64_t from = std::max(found->ahead, end);
  found->ahead = std::max(from, end + found->window);
  want(from, found->ahead);
}

Source::Result RemoteSource::read(FileOffset offset, std::span<std::byte> into) const {
  Result result;
  if (offset.value >= identity_.size || into.empty()) return result;
  into = into.first(static_cast<size_t>(std::min<uint64_t>(into.size(), identity_.size - offset.value)));
  const uint64_t end = (offset.value + into.size() - 1) / kBlock + 1;
  std::unique_lock lock(mutex_);
  look_ahead(offset.value / kBlock, std::min(end, offset.value / kBlock + kFarAhead));
  while (result.bytes < into.size()) {
    const uint64_t at = offset.value + result.bytes, number = at / kBlock;
    const auto found = blocks_.find(number);
    if (found == blocks_.end() || !found->second->ready) {
      const bool given_up = failed_for_good_ || std::chrono::steady_clock::now() < failed_until_;
      if (found == blocks_.end()) {
        if (given_up) {
          state_->set_trouble(why_);
          result.error = EIO;
          break;
        }
        const uint64_t around = number / kAround * kAround;
        want(end - number > 1 ? number : around, std::min(std::max(end, around + kAround), number + kFarAhead));
      }
      changed_.wait(lock);
      continue;
    }
    const std::shared_ptr<Block> block = found->second;
    touch(*block);
    const uint64_t within = at % kBlock;
    const size_t count =
        static_cast<size_t>(std::min<uint64_t>(into.size() - result.bytes, block_size(number) - within));
    lock.unlock();
    std::memcpy(into.data() + result.bytes, block->bytes.get() + within, count);
    result.bytes += count;
    lock.lock();
  }
  return result;
}

}  // namespace gcore::reader

#endif
