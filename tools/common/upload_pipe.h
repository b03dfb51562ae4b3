// A dump's way to an object of S3: the writer writes into a pipe, and a thread sends what comes out of it.
#pragma once

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <expected>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "reader/source/remote/upload.h"
#include "writer/base/unique_fd.h"

namespace gcore::tools {

/// For one dump.
class UploadPipe {
 public:
  explicit UploadPipe(std::unique_ptr<reader::Upload> upload)
      : upload_(std::move(upload)), done_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~UploadPipe() { (void)end(false); }
  UploadPipe(const UploadPipe&) = delete;
  UploadPipe& operator=(const UploadPipe&) = delete;

  /// As writer::Options::open_pipe.
  int open() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return -1;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are for the program's own threads
    thread_ = std::thread([this, output = ends[0]] {
      sent_ = upload_->send(output);
      close(output);  // a writer that has more is told so
      eventfd_write(done_.get(), 1);
    });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return ends[1];
  }

  /// Readable when all was sent, or nothing more is.
  int done_fd() const { return done_.get(); }

  /// From any thread: has end() return soon, with an error.
  void cancel() { upload_->cancel(); }

  /// When nobody writes any more: has the object appear if all of the dump was written, and else nothing of it. The
  /// error: why it did not; of one that was not to appear there is none unless sending it failed.
  std::expected<void, std::string> end(bool whole) {
    if (!thread_.joinable()) return {};
    if (!whole) upload_->cancel();
    thread_.join();
    if (sent_ && whole) sent_ = upload_->finish();
    if (sent_ && whole) return {};
    upload_->abort();
    return sent_ ? std::expected<void, std::string>() : std::unexpected(sent_.error().text);
  }

  const std::string& name() const { return upload_->name(); }

 private:
  const std::unique_ptr<reader::Upload> upload_;
  const base::UniqueFd done_;
  reader::Expected<void> sent_;
  std::thread thread_;
};

}  // namespace gcore::tools
