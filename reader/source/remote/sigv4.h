// AWS Signature Version 4, as S3 and what speaks like it want it. Private to the reader.
//
// Signed by us and not by libcurl: its CURLOPT_AWS_SIGV4 sends no x-amz-content-sha256 in Debian 12's 7.88, without
// which servers answer 400, and older versions sign keys with = or * in them wrongly.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gcore::reader {

struct AwsKeys {
  std::string id, secret;
  std::string token;  // "" for keys that do not expire
};

/// What is signed: everything as it is sent.
struct SignedRequest {
  std::string_view method;                                   // "GET"
  std::string_view path;                                     // percent-encoded, from its first slash on
  std::vector<std::pair<std::string, std::string>> query;    // percent-encoded, in any order
  std::vector<std::pair<std::string, std::string>> headers;  // lower-case names, values without blanks around; `host`
  std::string payload_hash;                                  // hex of SHA-256, or "UNSIGNED-PAYLOAD"
};

/// The value of the header Authorization. `time`: as in x-amz-date, 20130524T000000Z; that header is among `headers`,
/// as are x-amz-content-sha256 and, with a token, x-amz-security-token.
std::string authorization(const SignedRequest& request, const AwsKeys& keys, std::string_view time,
                          std::string_view region, std::string_view service);

/// The two steps on the way to it, which AWS's examples show too.
std::string canonical_request(const SignedRequest& request);
std::string string_to_sign(const SignedRequest& request, std::string_view time, std::string_view region,
                           std::string_view service);

/// A query as it stands in an address, without the question mark.
std::string query_text(std::vector<std::pair<std::string, std::string>> query);

}  // namespace gcore::reader
