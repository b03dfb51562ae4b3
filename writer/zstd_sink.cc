// zstd in the seekable format (contrib/seekable_format of zstd): independent frames of 1 MiB and, in a skippable frame
// at the end, a table of their sizes. `zstd -d` unpacks it like any other file; a reader that knows the table reads any
// frame alone. Several threads compress, since the guest stands still meanwhile.
//
//     frame*                         each 1 MiB of the dump, the last one less
//     u32 0x184d2a5e, u32 size       a skippable frame
//     (u32 compressed, u32 plain)*   one entry a frame
//     u32 frames, u8 0, u32 0x8f92eab1
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <vector>

#include "writer/compress.h"
#include "writer/format/endian.h"

namespace gcore::writer {
namespace {

using format::Le32;

constexpr size_t kFrameSize = 1 << 20;
constexpr size_t kMostWorkers = 4;           // each takes 5 MiB
constexpr size_t kSlots = 2 * kMostWorkers;  // so that a worker has its next frame when it ends one
constexpr int kLevel = 1;

struct SeekEntry {
  Le32 compressed, plain;
};
struct SeekHeader {
  Le32 magic, size;
};
struct SeekFooter {
  Le32 frames;
  uint8_t descriptor;  // no checksums: the frames have their own
  Le32 magic;
};
static_assert(sizeof(SeekEntry) == 8 && sizeof(SeekFooter) == 9);

struct Slot {
  std::vector<std::byte> plain = std::vector<std::byte>(kFrameSize);
  std::vector<std::byte> packed = std::vector<std::byte>(ZSTD_compressBound(kFrameSize));
  size_t plain_size = 0, packed_size = 0;
  bool zeros = false;  // a whole frame of them; `plain` is not used
  bool done = false;
};

size_t worker_count() {
  cpu_set_t allowed;
  const size_t cpus =
      sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? static_cast<size_t>(CPU_COUNT(&allowed)) : 1;
  return std::clamp<size_t>(cpus, 1, kMostWorkers);
}

class Packer {
 public:
  Packer() : context_(ZSTD_createCCtx()) {
    if (!context_) return;
    ZSTD_CCtx_setParameter(context_, ZSTD_c_compressionLevel, kLevel);
    ZSTD_CCtx_setParameter(context_, ZSTD_c_checksumFlag, 1);
  }
  ~Packer() { ZSTD_freeCCtx(context_); }
  Packer(const Packer&) = delete;
  Packer& operator=(const Packer&) = delete;

  // packed_size stays 0 when it fails, for which only a lack of memory is a reason.
  void pack(Slot& slot) {
    slot.packed_size = 0;
    if (!context_) return;
    const size_t size =
        ZSTD_compress2(context_, slot.packed.data(), slot.packed.size(), slot.plain.data(), slot.plain_size);
    if (!ZSTD_isError(size)) slot.packed_size = size;
  }

 private:
  ZSTD_CCtx* context_;
};

// Frames are numbered; frame n is in slot n % kSlots. written_ <= taken_ <= queued_ <= written_ + kSlots.
class ZstdSink final : public FilterSink {
 public:
  explicit ZstdSink(std::unique_ptr<Sink> next);
  ~ZstdSink() override { stop(); }

  Status write(std::span<const std::byte> bytes) override;
  Status skip(uint64_t size) override;
  Status finish() override;
  void abandon() override {
    stop();
    FilterSink::abandon();
  }

 private:
  void work();
  void stop();
  Slot& filling() { return slots_[queued_ % kSlots]; }
  Status queue(bool zeros = false);
  Status write_oldest();
  Status write_frame(const Slot& slot);
  Status flush();

  std::array<Slot, kSlots> slots_;
  size_t filled_ = 0;  // bytes in filling()
  uint64_t written_ = 0;
  std::vector<SeekEntry> table_;
  Slot zeros_;  // a whole frame of zeros, packed once

  std::mutex mutex_;  // for what follows, and Slot::done
  std::condition_variable queued_more_, done_more_;
  uint64_t queued_ = 0, taken_ = 0;
  bool stopping_ = false;
  std::vector<pthread_t> workers_;
};

ZstdSink::ZstdSink(std::unique_ptr<Sink> next) : FilterSink(std::move(next)) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (size_t i = worker_count(); i > 0; --i) {
    pthread_t thread;
    const auto body = [](void* self) -> void* {
      static_cast<ZstdSink*>(self)->work();
      return nullptr;
    };
    if (pthread_create(&thread, nullptr, body, this) == 0) workers_.push_back(thread);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void ZstdSink::work() {
  Packer packer;
  std::unique_lock lock(mutex_);
  while (true) {
    queued_more_.wait(lock, [this] { return stopping_ || taken_ < queued_; });
    if (stopping_) return;
    Slot& slot = slots_[taken_++ % kSlots];
    if (slot.done) continue;
    lock.unlock();
    packer.pack(slot);
    lock.lock();
    slot.done = true;
    done_more_.notify_all();
  }
}

void ZstdSink::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  queued_more_.notify_all();
  for (const pthread_t worker : workers_) pthread_join(worker, nullptr);
  workers_.clear();
}

Status ZstdSink::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const size_t part = std::min(bytes.size(), kFrameSize - filled_);
    std::memcpy(filling().plain.data() + filled_, bytes.data(), part);
    filled_ += part;
    bytes = bytes.subspan(part);
    if (filled_ == kFrameSize)
      if (Status status = queue(); !status) return status;
  }
  return {};
}

Status ZstdSink::skip(uint64_t size) {
  while (size > 0) {
    if (filled_ == 0 && size >= kFrameSize) {
      if (Status status = queue(true); !status) return status;
      size -= kFrameSize;
      continue;
    }
    const auto part = static_cast<size_t>(std::min<uint64_t>(size, kFrameSize - filled_));
    std::memset(filling().plain.data() + filled_, 0, part);
    filled_ += part;
    size -= part;
    if (filled_ == kFrameSize)
      if (Status status = queue(); !status) return status;
  }
  return {};
}

// Hands the slot that is full, or a frame of zeros in its place, to the workers, and makes room for the next one.
Status ZstdSink::queue(bool zeros) {
  Slot& slot = filling();
  slot.plain_size = zeros ? kFrameSize : std::exchange(filled_, 0);
  slot.zeros = zeros;
  if (!zeros && workers_.empty()) Packer().pack(slot);
  {
    const std::lock_guard lock(mutex_);
    slot.done = zeros || workers_.empty();
    ++queued_;
  }
  queued_more_.notify_one();
  return queued_ - written_ == kSlots ? write_oldest() : Status();
}

Status ZstdSink::write_oldest() {
  Slot& slot = slots_[written_++ % kSlots];
  {
    std::unique_lock lock(mutex_);
    done_more_.wait(lock, [&slot] { return slot.done; });
    taken_ = std::max(taken_, written_);  // no worker need have looked at a frame of zeros
  }
  if (!slot.zeros) return write_frame(slot);
  if (zeros_.packed_size == 0) {
    zeros_.plain_size = kFrameSize;
    Packer().pack(zeros_);
  }
  return write_frame(zeros_);
}

Status ZstdSink::write_frame(const Slot& slot) {
  if (slot.packed_size == 0) return Status(std::string("zstd compression: no memory"));
  table_.push_back({static_cast<uint32_t>(slot.packed_size), static_cast<uint32_t>(slot.plain_size)});
  return next().write({slot.packed.data(), slot.packed_size});
}

Status ZstdSink::flush() {
  while (written_ < queued_)
    if (Status status = write_oldest(); !status) return status;
  return {};
}

Status ZstdSink::finish() {
  if (filled_ > 0)
    if (Status status = queue(); !status) return status;
  if (Status status = flush(); !status) return status;
  const auto table_size = static_cast<uint32_t>(table_.size() * sizeof(SeekEntry) + sizeof(SeekFooter));
  const SeekHeader header = {0x184d2a5e, table_size};
  const SeekFooter footer = {static_cast<uint32_t>(table_.size()), 0, 0x8f92eab1};
  if (Status status = next().write(std::as_bytes(std::span(&header, 1))); !status) return status;
  if (Status status = next().write(std::as_bytes(std::span(table_))); !status) return status;
  if (Status status = next().write(std::as_bytes(std::span(&footer, 1))); !status) return status;
  return next().finish();
}

}  // namespace

std::unique_ptr<Sink> open_zstd_sink(std::unique_ptr<Sink> next) { return std::make_unique<ZstdSink>(std::move(next)); }

}  // namespace gcore::writer
