#include "reader/source/remote/target.h"

#include <ctime>

#include "reader/source/remote/sha256.h"
#include "reader/source/remote/url.h"

namespace gcore::reader {

std::string amz_time(std::chrono::system_clock::time_point time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  char text[32] = "";
  std::strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &utc);
  return text;
}

Expected<Target> Target::of(const std::string& url, const Environment& environment, bool anonymous) {
  Target target;
  target.url_ = url;
  target.shown_ = shown_url(url);
  for (const char* name : {"CURL_CA_BUNDLE", "SSL_CERT_FILE"})
    if (const auto value = environment(name); value && target.certificates_.empty()) target.certificates_ = *value;
  if (!url.starts_with("s3://")) {
    const size_t host = url.find("://") + 3;
    if (host >= url.size() || url[host] == '/')
      return std::unexpected(Error{Error::Kind::io, "there is no host in that address"});
    return target;
  }
  auto place = parse_s3_url(url, true);
  if (!place) return std::unexpected(Error{Error::Kind::io, place.error()});
  auto settings = aws_settings(environment, anonymous);
  if (!settings) return std::unexpected(settings.error());
  target.aws_ = std::move(*settings);
  if (const auto value = environment("AWS_CA_BUNDLE"); value && !value->empty()) target.certificates_ = *value;
  target.bucket_ = place->bucket;
  target.path_ = "/" + place->bucket + "/" + percent_encoded(place->key, true);
  return target;
}

Target Target::with_key(const std::string& key) const {
  Target other = *this;
  other.url_ = other.shown_ = "s3://" + bucket_ + "/" + key;
  other.path_ = "/" + bucket_ + "/" + percent_encoded(key, true);
  return other;
}

Request Target::get(const std::string& range, const std::string& etag) const {
  Pairs headers;
  if (!range.empty()) headers.emplace_back("range", range);
  if (!etag.empty()) headers.emplace_back("if-match", etag);
  if (is_s3()) return signed_request("GET", {}, std::move(headers), {});
  Request request{.url = url_, .headers = {"accept-encoding: identity"}};
  for (const auto& [name, value] : headers) request.headers.push_back(name + ": " + value);
  return request;
}

Request Target::s3(const std::string& method, const Pairs& query, std::span<const std::byte> body) const {
  return signed_request(method, query, {}, body);
}

Request Target::signed_request(const std::string& method, const Pairs& query, Pairs headers,
                               std::span<const std::byte> body) const {
  Pairs encoded;
  for (const auto& [name, value] : query)
    encoded.emplace_back(percent_encoded(name, false), percent_encoded(value, false));
  Request request{.method = method, .url = aws_->endpoint + path_, .body = body, .is_signed = true};
  if (!encoded.empty()) request.url += "?" + query_text(encoded);
  if (aws_->keys) {
    const std::string time = amz_time(std::chrono::system_clock::now());
    // Over TLS the parts of an upload are protected as they are.
    const bool hash = body.empty() || aws_->endpoint.starts_with("http://");
    SignedRequest to_sign{method, path_, encoded, headers, hash ? hex(sha256(body)) : "UNSIGNED-PAYLOAD"};
    to_sign.headers.emplace_back("host", aws_->endpoint.substr(aws_->endpoint.find("://") + 3));
    Pairs ours{{"x-amz-content-sha256", to_sign.payload_hash}, {"x-amz-date", time}};
    if (!aws_->keys->token.empty()) ours.emplace_back("x-amz-security-token", aws_->keys->token);
    to_sign.headers.insert(to_sign.headers.end(), ours.begin(), ours.end());
    ours.emplace_back("authorization", authorization(to_sign, *aws_->keys, time, aws_->region, "s3"));
    headers.insert(headers.end(), ours.begin(), ours.end());
  }
  for (const auto& [name, value] : headers) request.headers.push_back(name + ": " + value);
  return request;
}

std::string Target::without_secrets(std::string text) const {
  text = reader::without_secrets(std::move(text), url_);
  if (!aws_ || !aws_->keys) return text;
  for (const std::string& secret : {aws_->keys->secret, aws_->keys->token, aws_->keys->id})
    for (size_t at = 0; !secret.empty() && (at = text.find(secret, at)) != std::string::npos; at += 3)
      text.replace(at, secret.size(), "...");
  return text;
}

}  // namespace gcore::reader
