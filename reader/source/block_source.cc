#include "reader/source/block_source.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

namespace gcore::reader {
namespace {

constexpr uint64_t kLarge = uint64_t{4} << 20;

}  // namespace

void BlockSource::set_blocks(std::vector<Block> blocks, uint64_t size) {
  blocks_ = std::move(blocks);
  blocks_.shrink_to_fit();
  size_ = size;
}

uint64_t BlockSource::size_of(size_t block) const {
  return (block + 1 < blocks_.size() ? blocks_[block + 1].begin : size_) - blocks_[block].begin;
}

size_t BlockSource::block_at(uint64_t offset) const {
  const auto after = std::ranges::upper_bound(blocks_, offset, {}, &Block::begin);
  return static_cast<size_t>(after - blocks_.begin()) - 1;
}

Source::Result BlockSource::read(FileOffset offset, std::span<std::byte> into) const {
  Result result;
  if (offset.value >= size_ || into.empty()) return result;
  for (size_t block = block_at(offset.value); block < blocks_.size() && result.bytes < into.size(); ++block) {
    const uint64_t within = offset.value + result.bytes - blocks_[block].begin;
    const size_t count = static_cast<size_t>(std::min<uint64_t>(into.size() - result.bytes, size_of(block) - within));
    const auto part = into.subspan(result.bytes, count);
    if (blocks_[block].kind == Block::Kind::zero) {
      std::memset(part.data(), 0, part.size());
    } else {
      const Bytes bytes = get(block, result.error);
      if (!bytes) return result;
      std::memcpy(part.data(), bytes.get() + within, part.size());
    }
    result.bytes += count;
  }
  return result;
}

FileOffset BlockSource::next_hole(FileOffset offset) const {
  if (offset.value >= size_) return FileOffset(size_);
  size_t block = block_at(offset.value);
  if (zero(block)) return offset;
  // Not far: whoever goes over all of memory asks again, and a search from each place to the end would take quadratic
  // time.
  for (size_t looked = 0; looked < 64; ++looked)
    if (++block == blocks_.size() || zero(block)) break;
  return FileOffset(block == blocks_.size() ? size_ : blocks_[block].begin);
}

FileOffset BlockSource::next_data(FileOffset offset) const {
  if (offset.value >= size_) return FileOffset(size_);
  size_t block = block_at(offset.value);
  if (!zero(block)) return offset;
  while (++block < blocks_.size() && zero(block)) {
  }
  return FileOffset(block == blocks_.size() ? size_ : blocks_[block].begin);
}

std::optional<PinnedBytes> BlockSource::pin(FileOffset offset, size_t size) const {
  if (offset.value >= size_ || size == 0) return std::nullopt;
  const size_t block = block_at(offset.value);
  if (blocks_[block].kind == Block::Kind::zero) return std::nullopt;
  int error = 0;
  const Bytes bytes = get(block, error);
  if (!bytes) return std::nullopt;
  const uint64_t within = offset.value - blocks_[block].begin;
  const size_t there = static_cast<size_t>(std::min<uint64_t>(size, size_of(block) - within));
  return PinnedBytes{{bytes.get() + within, there}, bytes};
}

Source::Place BlockSource::place_of(size_t block) const {
  const bool last = block + 1 == blocks_.size();
  return {blocks_[block].packed, last ? 0 : blocks_[block + 1].packed - blocks_[block].packed};
}

std::vector<Source::Damage> BlockSource::check(const std::function<void(uint64_t, uint64_t)>& progress) const {
  std::vector<Damage> found;
  std::vector<std::byte> bytes;
  for (size_t block = 0; block < blocks_.size(); ++block) {
    if (progress) progress(blocks_[block].begin, size_);
    if (zero(block)) continue;
    bytes.resize(static_cast<size_t>(size_of(block)));
    if (const int error = unpack(block, bytes); error != 0)
      found.push_back({FileOffset(blocks_[block].begin), size_of(block), place_of(block), error});
  }
  if (progress) progress(size_, size_);
  return found;
}

BlockSource::Bytes BlockSource::cached(size_t block) const {
  const std::lock_guard lock(mutex_);
  const auto place = places_.find(block);
  if (place == places_.end()) return nullptr;
  used_.splice(used_.begin(), used_, place->second);
  return used_.front().bytes;
}

BlockSource::Bytes BlockSource::get(size_t block, int& error) const {
  if (Bytes found = cached(block)) return found;
  const size_t size = static_cast<size_t>(size_of(block));
  std::unique_lock<std::mutex> large;
  if (size > kLarge) {
    large = std::unique_lock(one_large_);
    if (Bytes found = cached(block)) return found;  // another thread had it unpacked meanwhile
  }
  const std::shared_ptr<std::byte[]> fresh(new (std::nothrow) std::byte[size]);
  error = fresh ? unpack(block, {fresh.get(), size}) : ENOMEM;
  if (error != 0) return nullptr;
  keep(block, fresh);
  return fresh;
}

void BlockSource::keep(size_t block, const Bytes& bytes) const {
  const std::lock_guard lock(mutex_);
  if (places_.contains(block)) return;  // two threads unpacked it
  used_.push_front({block, bytes});
  places_.emplace(block, used_.begin());
  cached_bytes_ += size_of(block);
  while (cached_bytes_ > kBlockCache && used_.size() > 1) {
    cached_bytes_ -= size_of(used_.back().block);
    places_.erase(used_.back().block);
    used_.pop_back();
  }
}

}  // namespace gcore::reader
