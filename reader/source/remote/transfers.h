// Requests under way: several at once, tried again when that may help, on a thread of their own. Private to the reader.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "reader/error.h"
#include "reader/source/remote/head.h"
#include "reader/source/remote/target.h"

namespace gcore::reader {

struct TransferLimits {
  int attempts = 5;                             // without a byte of progress
  std::chrono::milliseconds first_pause{100};   // before the second attempt; each further one is twice as long
  std::chrono::seconds connect{15}, stall{30};  // a connection that is not made, or brings nothing, for so long
  long connections = 8;
};

/// Why a request failed for good.
struct Failure {
  std::string text;    // a sentence without a full stop, and without anything secret
  int status = 0;      // of HTTP, or 0
  bool ended = false;  // the Transfers ended before; nothing went wrong
};

/// One request, and what comes back. All methods are called on the thread of the Transfers, one after the other.
class Transfer {
 public:
  virtual ~Transfer() = default;

  /// Asked for before each attempt: what is still wanted.
  virtual Request request() = 0;
  /// Of a reply that is no error (a status below 400). Returns why it is of no use, which ends the transfer, or
  /// nothing.
  virtual std::optional<std::string> take_head(const Head& head) = 0;
  /// The next bytes of such a reply. False: there are too many.
  virtual bool take_bytes(std::span<const std::byte> bytes) = 0;
  /// How much has come so far: an attempt that brought more does not count.
  virtual uint64_t progress() const = 0;
  /// A reply came to its end. False: it ended before all was there that was wanted, so ask for the rest.
  virtual bool is_complete() const = 0;
  /// The last call.
  virtual void done(const std::optional<Failure>& failure) = 0;
};

/// A transfer for whose end another thread waits.
class AwaitedTransfer : public Transfer {
 public:
  void done(const std::optional<Failure>& failure) final {
    const std::lock_guard lock(mutex_);
    failure_ = failure;
    ended_ = true;
    changed_.notify_all();
  }
  /// Why it failed, if it did.
  std::optional<Failure> wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_; });
    return failure_;
  }
  bool has_ended() {
    const std::lock_guard lock(mutex_);
    return ended_;
  }

 private:
  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  bool ended_ = false;
  std::optional<Failure> failure_;
};

class Transfers {
 public:
  /// `target` names itself in nothing but is asked to keep its secrets out of error texts.
  static Expected<std::unique_ptr<Transfers>> start(const Target& target, const TransferLimits& limits);
  /// Ends what is under way, each with a Failure.
  ~Transfers();
  Transfers(const Transfers&) = delete;
  Transfers& operator=(const Transfers&) = delete;

  /// From any thread: ends what is under way and what comes after that, each with a Failure.
  void stop();

  /// From any thread. They begin in this order; more than TransferLimits::connections wait.
  void add(std::shared_ptr<Transfer> transfer);

 private:
  class Engine;
  explicit Transfers(std::unique_ptr<Engine> engine);
  std::unique_ptr<Engine> engine_;
};

/// The words for a status of 400 and more, and for a redirection that is not followed. `document`: the start of what
/// came with it.
std::string words_for_status(const Head& head, std::string_view document, bool is_s3);

}  // namespace gcore::reader
