#include "reader/source/remote/download.h"

#ifdef GCORE_WITH_LIBCURL

#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>

#include "reader/source/file.h"
#include "reader/source/temporary_file.h"

namespace gcore::reader {
namespace {

class Download final : public Transfer {
 public:
  Download(const Target& target, RemoteState& state) : target_(target), state_(state) {}

  Request request() override {
    state_.count_request();
    return target_.get("", "");
  }

  std::optional<std::string> take_head(const Head& head) override {
    if (head.status != 200) return "the server answers " + std::to_string(head.status) + " to a request for all of it";
    const std::lock_guard lock(mutex_);
    total_ = head.length.value_or(0);
    known_ = head.length.has_value();
    done_ = 0;
    auto made = TemporaryFile::make();
    if (!made) return made.error().text;
    file_.emplace(std::move(*made));
    return std::nullopt;
  }

  bool take_bytes(std::span<const std::byte> bytes) override {
    if (auto written = file_->write(file_->size(), bytes); !written) {
      error_ = written.error();
      return false;
    }
    state_.count_bytes(bytes.size());
    const std::lock_guard lock(mutex_);
    done_ += bytes.size();
    changed_.notify_all();
    return true;
  }

  uint64_t progress() const override { return 0; }
  bool is_complete() const override { return !known_ || done_ == total_; }

  void done(const std::optional<Failure>& failure) override {
    const std::lock_guard lock(mutex_);
    failure_ = failure;
    ended_ = true;
    changed_.notify_all();
  }

  /// The file's descriptor.
  Expected<int> wait(const std::function<void(uint64_t, uint64_t)>& progress) {
    std::unique_lock lock(mutex_);
    while (!ended_) {
      changed_.wait(lock);
      const uint64_t done = done_, total = total_;
      lock.unlock();
      if (progress) progress(done, total);
      lock.lock();
    }
    if (error_) return std::unexpected(*error_);
    if (failure_) return std::unexpected(Error{Error::Kind::io, failure_->text});
    if (done_ == 0) return std::unexpected(Error{Error::Kind::not_elf, "it is empty"});
    return file_->finish();
  }

 private:
  const Target& target_;
  RemoteState& state_;
  std::optional<TemporaryFile> file_;
  std::optional<Error> error_;
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t done_ = 0, total_ = 0;
  bool known_ = false, ended_ = false;
  std::optional<Failure> failure_;
};

}  // namespace

Expected<std::unique_ptr<Source>> download(const Target& target, const TransferLimits& limits,
                                           const std::function<void(uint64_t, uint64_t)>& progress,
                                           RemoteState& state) {
  auto transfers = Transfers::start(target, limits);
  if (!transfers) return std::unexpected(transfers.error());
  const auto transfer = std::make_shared<Download>(target, state);
  (*transfers)->add(transfer);
  auto fd = transfer->wait(progress);
  transfers->reset();
  if (!fd) return std::unexpected(fd.error());
  auto file = File::adopt(*fd, File::Lasting::yes);
  if (!file) return std::unexpected(file.error());
  return std::unique_ptr<Source>(std::move(*file));
}

}  // namespace gcore::reader

#endif
