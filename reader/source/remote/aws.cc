#include "reader/source/remote/aws.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "writer/base/text.h"

namespace gcore::reader {
namespace {

std::unexpected<Error> fail(std::string text) { return std::unexpected(Error{Error::Kind::io, std::move(text)}); }

std::string_view trimmed(std::string_view text) {
  const auto is_blank = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

/// What may stand in a header: a key with a newline in it would be a header of its own.
bool is_plain(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; });
}

/// A host's name, or an address, with a port. Nothing that could become a path, a query or a user.
bool is_endpoint(std::string_view url) {
  for (const std::string_view scheme : {"https://", "http://"})
    if (url.starts_with(scheme)) {
      const std::string_view host = url.substr(scheme.size());
      return !host.empty() && is_plain(host) && host.find_first_of("/?#@\\") == std::string_view::npos;
    }
  return false;
}

bool is_region(std::string_view text) {
  return !text.empty() && text.size() <= 64 &&
         std::ranges::all_of(text, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '-'; });
}

class Finder {
 public:
  Finder(const Environment& environment) : environment_(environment) {}

  /// Reads the two files, as far as they are there. The error: a profile that was asked for is in neither.
  Expected<void> read_files() {
    const auto asked = get("AWS_PROFILE");
    profile_ = asked.value_or("default");
    const std::string home = get("HOME").value_or("");
    AwsFile credentials = parse(get("AWS_SHARED_CREDENTIALS_FILE").value_or(home + "/.aws/credentials"));
    AwsFile config = parse(get("AWS_CONFIG_FILE").value_or(home + "/.aws/config"));
    // There, all but "default" are called "profile NAME".
    values_ = config[profile_ == "default" ? profile_ : "profile " + profile_];
    if (profile_ == "default") values_.insert(config["profile default"].begin(), config["profile default"].end());
    for (const auto& [name, value] : credentials[profile_]) values_[name] = value;
    if (asked && values_.empty())
      return fail(
          fmt::format("there is no profile {} (AWS_PROFILE) in the files of AWS's tools", base::printable(profile_)));
    return {};
  }

  Expected<AwsKeys> keys() const {
    AwsKeys keys{get("AWS_ACCESS_KEY_ID").value_or(""), get("AWS_SECRET_ACCESS_KEY").value_or(""),
                 get("AWS_SESSION_TOKEN").value_or("")};
    std::string from = "the environment";
    if (keys.id.empty() != keys.secret.empty())
      return fail(fmt::format("{} is set, and {} is not",
                              keys.id.empty() ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID",
                              keys.id.empty() ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY"));
    if (keys.id.empty()) {
      keys = {of_profile("aws_access_key_id"), of_profile("aws_secret_access_key"), of_profile("aws_session_token")};
      from = "profile " + base::printable(profile_);
      if (keys.id.empty() || keys.secret.empty()) return no_keys();
    }
    if (!is_plain(keys.id) || !is_plain(keys.secret) || !is_plain(keys.token))
      return fail(fmt::format("the credentials of {} have a character that none of AWS's have", from));
    return keys;
  }

  std::string region() const {
    for (const char* name : {"AWS_REGION", "AWS_DEFAULT_REGION"})
      if (const auto value = get(name)) return *value;
    const std::string value = of_profile("region");
    return value.empty() ? "us-east-1" : value;
  }

  /// "" for AWS's own.
  std::string endpoint() const {
    for (const char* name : {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"})
      if (const auto value = get(name)) return *value;
    return of_profile("endpoint_url");
  }

 private:
  /// Set and not empty.
  std::optional<std::string> get(const char* name) const {
    auto value = environment_(name);
    return value && !value->empty() ? value : std::nullopt;
  }

  static AwsFile parse(const std::string& path) {
    std::ifstream file(path);
    return parse_aws_file(std::string(std::istreambuf_iterator<char>(file), {}));
  }

  std::string of_profile(std::string_view name) const {
    const auto found = values_.find(name);
    return found == values_.end() ? "" : found->second;
  }

  std::unexpected<Error> no_keys() const {
    for (const char* other :
         {"credential_process", "sso_session", "sso_start_url", "role_arn", "web_identity_token_file"})
      if (!of_profile(other).empty())
        return fail(
            fmt::format("profile {} has its credentials by {}, which only AWS's tools can follow: run eval "
                        "\"$(aws configure export-credentials --format env)\" before",
                        base::printable(profile_), other));
    return fail(
        "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or, where everybody "
        "may read, give --no-sign-request");
  }

  const Environment& environment_;
  std::string profile_ = "default";
  std::map<std::string, std::string, std::less<>> values_;
};

}  // namespace

Environment own_environment() {
  return [](const char* name) -> std::optional<std::string> {
    const char* value = std::getenv(name);
    return value != nullptr ? std::optional<std::string>(value) : std::nullopt;
  };
}

AwsFile parse_aws_file(std::string_view text) {
  AwsFile file;
  std::string section;
  bool within = false;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::string_view plain = trimmed(line);
    if (plain.empty() || plain.front() == '#' || plain.front() == ';' || line.front() == ' ' || line.front() == '\t')
      continue;
    if (plain.front() == '[') {
      const size_t close = plain.find(']');
      within = close != std::string_view::npos;
      if (!within) continue;
      section.clear();  // blanks in it count as one
      for (const char c : trimmed(plain.substr(1, close - 1)))
        if (c != '\t' && !(c == ' ' && section.ends_with(' '))) section += c;
      file[section];
      continue;
    }
    const size_t equals = plain.find('=');
    if (!within || equals == std::string_view::npos) continue;
    std::string name(trimmed(plain.substr(0, equals)));
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    file[section][name] = trimmed(plain.substr(equals + 1));
  }
  return file;
}

Expected<AwsSettings> aws_settings(const Environment& environment, bool anonymous) {
  Finder finder(environment);
  if (auto found = finder.read_files(); !found) return std::unexpected(found.error());
  AwsSettings settings;
  settings.region = finder.region();
  if (!is_region(settings.region))
    return fail(fmt::format("the region {} (AWS_REGION, AWS_DEFAULT_REGION or the profile's) is none",
                            base::printable(settings.region)));
  settings.endpoint = finder.endpoint();
  while (settings.endpoint.ends_with('/')) settings.endpoint.pop_back();
  if (settings.endpoint.empty())
    settings.endpoint =
        fmt::format("https://s3.{}.amazonaws.com{}", settings.region, settings.region.starts_with("cn-") ? ".cn" : "");
  // Not printed: somebody may have put a password into it.
  if (!is_endpoint(settings.endpoint))
    return fail("the endpoint (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or the profile's) is not http[s]://HOST[:PORT]");
  if (anonymous) return settings;
  auto keys = finder.keys();
  if (!keys) return std::unexpected(keys.error());
  settings.keys = std::move(*keys);
  return settings;
}

}  // namespace gcore::reader
