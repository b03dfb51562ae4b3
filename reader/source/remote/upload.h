// A new object of S3, written as it comes: the other direction, which needs the same requests and signatures. What is
// written appears when it is complete (a multipart upload), and until then nobody sees anything of it.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "reader/error.h"
#include "reader/source/remote/url.h"

namespace gcore::reader {

struct UploadOptions {
  bool replace = false;                                     // an object that is there already; else that is an error
  std::string if_there = "it exists; --force replaces it";  // its words
  bool anonymous = false;                                   // as RemoteOptions
  int attempts = 5;
  std::chrono::milliseconds first_pause{100};
  std::chrono::seconds stall{30};
};

class Upload {
 public:
  /// Finds out who asks and where, which makes no request. `url` is s3://BUCKET/KEY. The errors here and below are the
  /// whole line, "cannot write NAME: WHY", without anything secret.
  static Expected<std::unique_ptr<Upload>> prepare(const std::string& url, const UploadOptions& options = {});

  /// Aborts what was not finished, as well as that can be done: where no request arrives any more, what was sent stays
  /// with the server, unseen, until it is told to remove such things (a lifecycle rule).
  ~Upload();
  Upload(const Upload&) = delete;
  Upload& operator=(const Upload&) = delete;

  /// Begins it, which fails where the object is there already, and sends what comes out of `fd`, a pipe, until that
  /// ends; parts of it at once. Takes 40 MiB of memory for the first 8 GB, and up to twice as much for
  /// each 8, 16, ... GB that follow. `fd`
  /// stays the caller's.
  Expected<void> send(int fd);

  /// Has the object appear. After send(), when all that was to be written has come.
  Expected<void> finish();

  /// Has the server forget what it has. Not while send() or finish() runs.
  void abort();

  /// From any thread: has send() and finish() fail soon.
  void cancel();

  /// s3://BUCKET/KEY
  const std::string& name() const;

 private:
  class Parts;
  explicit Upload(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace gcore::reader
