// A file, or a place for one, on a server: how it is asked for. Private to the reader.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "reader/error.h"
#include "reader/source/remote/aws.h"

namespace gcore::reader {

/// A request as it is sent.
struct Request {
  std::string method = "GET", url;
  std::vector<std::string> headers{};  // "name: value"
  std::span<const std::byte> body{};   // of PUT and POST; must stay as long as the request
  bool is_signed = false;              // it is for this host and path only: no redirection is followed
};

class Target {
 public:
  using Pairs = std::vector<std::pair<std::string, std::string>>;

  /// Of https://, http:// or s3://. `anonymous`: as aws_settings().
  static Expected<Target> of(const std::string& url, const Environment& environment, bool anonymous);

  /// The same bucket, another key.
  Target with_key(const std::string& key) const;

  const std::string& shown() const { return shown_; }  // the address, fit for printing
  const std::string& url() const { return url_; }      // as it was given, with what is secret in it
  bool is_s3() const { return aws_.has_value(); }

  /// The whole file, or with `range` ("bytes=0-99") a part of it; only if it still is `etag`, where that is not "".
  Request get(const std::string& range, const std::string& etag) const;

  /// Of S3: any request for the object, with a query whose names and values are not encoded yet.
  Request s3(const std::string& method, const Pairs& query, std::span<const std::byte> body = {}) const;

  /// A certificate authority's file that the environment names, or "".
  const std::string& certificates() const { return certificates_; }

  /// The text without what is secret of this target, should a server have sent it back.
  std::string without_secrets(std::string text) const;

 private:
  Request signed_request(const std::string& method, const Pairs& query, Pairs headers,
                         std::span<const std::byte> body) const;

  std::string url_, shown_, certificates_;
  std::optional<AwsSettings> aws_;
  std::string bucket_, path_;  // of S3: `path_` is encoded, with the bucket
};

/// "20130524T000000Z"
std::string amz_time(std::chrono::system_clock::time_point time);

}  // namespace gcore::reader
