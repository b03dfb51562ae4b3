// Addresses of dumps that lie elsewhere: what they look like, and how they are shown.
#pragma once

#include <expected>
#include <string>
#include <string_view>

namespace gcore::reader {

/// Whether this is the address of a place that open_remote() knows, rather than a file's path: it begins with https://,
/// http:// or s3://, in small letters.
bool is_url(std::string_view text);

/// The address as it may be printed, logged and written into files: without a user's name and password, and without a
/// query, which may be a signature ("?..." stands for it). Other texts stay as they are.
std::string shown_url(std::string_view url);

/// All of what shown_url() leaves out of `url` is taken out of the text, which may have come from anywhere.
std::string without_secrets(std::string text, std::string_view url);

/// An address of the form s3://BUCKET/KEY.
struct S3Place {
  std::string bucket, key;
};
/// The error says what is wrong with it. Without a KEY: with `prefix_will_do` that is none.
std::expected<S3Place, std::string> parse_s3_url(std::string_view url, bool prefix_will_do = false);

/// RFC 3986's percent-encoding of all but letters, digits and -._~ , and of `/` unless it is kept.
std::string percent_encoded(std::string_view text, bool keep_slash);

}  // namespace gcore::reader
