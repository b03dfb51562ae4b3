#include "reader/source/remote/sigv4.h"

#include <algorithm>

#include "reader/source/remote/sha256.h"

namespace gcore::reader {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";

std::string_view view_of(const Sha256& hash) { return {reinterpret_cast<const char*>(hash.data()), hash.size()}; }

using Pairs = std::vector<std::pair<std::string, std::string>>;

std::string signed_names(Pairs headers) {
  std::ranges::sort(headers);
  std::string names;
  for (const auto& [name, value] : headers) names += (names.empty() ? "" : ";") + name;
  return names;
}

std::string scope(std::string_view time, std::string_view region, std::string_view service) {
  return std::string(time.substr(0, 8)) + "/" + std::string(region) + "/" + std::string(service) + "/aws4_request";
}

}  // namespace

std::string query_text(Pairs query) {
  std::ranges::sort(query);
  std::string text;
  for (const auto& [name, value] : query) text += (text.empty() ? "" : "&") + name + "=" + value;
  return text;
}

std::string canonical_request(const SignedRequest& request) {
  std::string text = std::string(request.method) + "\n" + std::string(request.path) + "\n" + query_text(request.query);
  text += "\n";
  Pairs headers = request.headers;
  std::ranges::sort(headers);
  for (const auto& [name, value] : headers) text += name + ":" + value + "\n";
  return text + "\n" + signed_names(headers) + "\n" + request.payload_hash;
}

std::string string_to_sign(const SignedRequest& request, std::string_view time, std::string_view region,
                           std::string_view service) {
  return std::string(kAlgorithm) + "\n" + std::string(time) + "\n" + scope(time, region, service) + "\n" +
         hex(sha256(canonical_request(request)));
}

std::string authorization(const SignedRequest& request, const AwsKeys& keys, std::string_view time,
                          std::string_view region, std::string_view service) {
  Sha256 key = hmac_sha256("AWS4" + keys.secret, time.substr(0, 8));
  for (const std::string_view part : {region, service, std::string_view("aws4_request")})
    key = hmac_sha256(view_of(key), part);
  const Sha256 signature = hmac_sha256(view_of(key), string_to_sign(request, time, region, service));
  return std::string(kAlgorithm) + " Credential=" + keys.id + "/" + scope(time, region, service) +
         ",SignedHeaders=" + signed_names(request.headers) + ",Signature=" + hex(signature);
}

}  // namespace gcore::reader
