// A dump that lies elsewhere: https://HOST/PATH, http://HOST/PATH or s3://BUCKET/KEY, read by ranges of bytes through
// libcurl, with nothing of it on disk. A program opens it so, and gives the source to Dump::open_source(). Nothing else
// in the reader opens an address, least of all one that a dump names.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "reader/error.h"
#include "reader/source/remote/url.h"
#include "reader/source/source.h"

namespace gcore::reader {

/// Whether this build of the reader has it. libcurl itself is loaded when it is needed first.
bool has_remote();

struct RemoteOptions {
  /// Read all of it into an unnamed temporary file in $TMPDIR (else /var/tmp) first, in one request: for servers that
  /// serve no ranges.
  bool download = false;
  /// Called during that: bytes that are done, and of how many (0 when nobody knows).
  std::function<void(uint64_t done, uint64_t total)> progress;
  /// s3:// without credentials, where everybody may read.
  bool anonymous = false;

  int attempts = 5;                            // of a request, after errors that may go away
  std::chrono::milliseconds first_pause{100};  // before the second; each further one twice as long
  std::chrono::seconds stall{30};              // a connection that brings nothing for so long has failed
};

/// What has become of a source while it is read; it may outlive it. Thread-safe.
class RemoteState {
 public:
  /// Why it could not be read, one sentence without a full stop and without anything secret; or "".
  std::string trouble() const;
  /// Requests that were made, and bytes that came.
  uint64_t requests() const;
  uint64_t bytes() const;

  void set_trouble(const std::string& why);
  void count_request();
  void count_bytes(uint64_t bytes);

 private:
  mutable std::mutex mutex_;
  std::string trouble_;
  uint64_t requests_ = 0, bytes_ = 0;
};

struct Remote {
  std::unique_ptr<Source> source;
  std::shared_ptr<const RemoteState> state;
  std::string name;  // the address as it may be shown: shown_url()
};

/// Opens what the address names; credentials, region, endpoint and certificates as gcore-inspect(1) says, from the
/// environment and the files of AWS's tools. The source is read by several threads at once, holds 64 MiB of the file at
/// most, and has the whole fail when the file changes underneath (ETag, Last-Modified or size). The error is the whole
/// line: "cannot open NAME: WHY".
Expected<Remote> open_remote(const std::string& url, const RemoteOptions& options = {});

}  // namespace gcore::reader
