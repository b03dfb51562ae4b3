#include "reader/source/remote/url.h"

#include <algorithm>
#include <array>
#include <vector>

namespace gcore::reader {
namespace {

constexpr size_t kShortestSecret = 6;  // in a query, where most values are none: of these a text would be in pieces
constexpr std::array<std::string_view, 3> kSchemes{"https://", "http://", "s3://"};

bool is_unreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
         c == '_' || c == '~';
}

/// An address, taken apart as far as it has to be to hide what is secret in it.
struct Parts {
  std::string_view scheme, user, host, path, query;  // `query` with its ? or #
};

Parts parts_of(std::string_view url) {
  Parts parts;
  for (const std::string_view scheme : kSchemes)
    if (url.starts_with(scheme)) parts.scheme = url.substr(0, scheme.size());
  std::string_view rest = url.substr(parts.scheme.size());
  if (parts.scheme == "s3://") {  // a key may have any character
    parts.host = rest;
    return parts;
  }
  const size_t end = std::min(rest.find_first_of("/?#\\"), rest.size());
  parts.host = rest.substr(0, end);
  // A password may have a slash that somebody did not encode: then all up to the last @ before a query is hidden.
  const std::string_view before_query = rest.substr(0, std::min(rest.find_first_of("?#"), rest.size()));
  if (const size_t at = before_query.rfind('@'); at != std::string_view::npos) {
    const size_t colon = before_query.substr(0, end).rfind(':');
    const bool is_host = colon == std::string_view::npos || before_query.substr(0, end).find_first_not_of(
                                                                "0123456789", colon + 1) == std::string_view::npos;
    if (at < end || !is_host) {
      parts.user = rest.substr(0, at);
      rest.remove_prefix(at + 1);
      parts.host = rest.substr(0, std::min(rest.find_first_of("/?#"), rest.size()));
    }
  }
  rest.remove_prefix(parts.host.size());
  parts.path = rest.substr(0, std::min(rest.find_first_of("?#"), rest.size()));
  parts.query = rest.substr(parts.path.size());
  return parts;
}

void erase_all(std::string& text, std::string_view what) {
  if (what.empty()) return;
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos;) {
    text.replace(at, what.size(), "...");
    at += 3;
  }
}

}  // namespace

bool is_url(std::string_view text) {
  return std::ranges::any_of(kSchemes, [&](std::string_view scheme) { return text.starts_with(scheme); });
}

std::string shown_url(std::string_view url) {
  if (!is_url(url)) return std::string(url);
  const Parts parts = parts_of(url);
  std::string shown = std::string(parts.scheme) + std::string(parts.host) + std::string(parts.path);
  if (!parts.query.empty()) shown += "?...";
  return shown;
}

std::string without_secrets(std::string text, std::string_view url) {
  if (!is_url(url)) return text;
  const Parts parts = parts_of(url);
  if (parts.user.empty() && parts.query.empty()) return text;
  const std::string shown = shown_url(url);
  for (size_t at = 0; (at = text.find(url, at)) != std::string::npos; at += shown.size())
    text.replace(at, url.size(), shown);
  if (parts.query.size() > 1) erase_all(text, parts.query.substr(1));
  for (std::string_view rest = parts.query; !rest.empty();) {
    const std::string_view pair = rest.substr(0, rest.find_first_of("&#", 1));
    rest.remove_prefix(pair.size());
    const size_t equals = pair.find('=');
    const std::string_view value = pair.substr(equals == std::string_view::npos ? 1 : equals + 1);
    if (value.size() >= kShortestSecret) erase_all(text, value);
  }
  erase_all(text, parts.user);
  if (const size_t colon = parts.user.find(':'); colon != std::string_view::npos)
    erase_all(text, parts.user.substr(colon + 1));
  return text;
}

std::expected<S3Place, std::string> parse_s3_url(std::string_view url, bool prefix_will_do) {
  constexpr std::string_view kScheme = "s3://";
  if (!url.starts_with(kScheme)) return std::unexpected("it does not begin with s3://");
  url.remove_prefix(kScheme.size());
  const size_t slash = url.find('/');
  S3Place place{std::string(url.substr(0, slash)),
                slash == std::string_view::npos ? "" : std::string(url.substr(slash + 1))};
  const auto fits = [](char c) { return is_unreserved(c); };
  if (place.bucket.empty()) return std::unexpected("there is no bucket in it: it is s3://BUCKET/KEY");
  if (place.bucket.size() > 255 || !std::ranges::all_of(place.bucket, fits))
    return std::unexpected("its bucket has a character that no bucket's name has: it is s3://BUCKET/KEY");
  if (place.key.size() > 1024) return std::unexpected("its key has more than 1024 bytes");
  if (place.key.empty() && !prefix_will_do) return std::unexpected("there is no key in it: it is s3://BUCKET/KEY");
  return place;
}

std::string percent_encoded(std::string_view text, bool keep_slash) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  std::string encoded;
  encoded.reserve(text.size());
  for (const char c : text) {
    if (is_unreserved(c) || (keep_slash && c == '/')) {
      encoded += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      encoded += '%';
      encoded += kDigits[byte >> 4];
      encoded += kDigits[byte & 15];
    }
  }
  return encoded;
}

}  // namespace gcore::reader
