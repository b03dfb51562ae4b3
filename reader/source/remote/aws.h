// Who asks, and where: credentials, region and endpoint, from where AWS's own tools take them. Private to the reader.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "reader/error.h"
#include "reader/source/remote/sigv4.h"

namespace gcore::reader {

struct AwsSettings {
  std::optional<AwsKeys> keys;  // nothing: requests are not signed
  std::string region;
  std::string endpoint;  // "https://HOST[:PORT]", without a slash at the end
};

/// A variable of the environment, or nothing.
using Environment = std::function<std::optional<std::string>(const char* name)>;
Environment own_environment();

/// From, in this order: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; the profile AWS_PROFILE (else
/// "default") in AWS_SHARED_CREDENTIALS_FILE (else ~/.aws/credentials) and AWS_CONFIG_FILE (else ~/.aws/config). The
/// region: AWS_REGION, AWS_DEFAULT_REGION, the profile's, us-east-1. The endpoint: AWS_ENDPOINT_URL_S3,
/// AWS_ENDPOINT_URL, the profile's endpoint_url, AWS's own of the region. `anonymous`: credentials are not looked for;
/// else it is an error when there are none. No text of an error has any of what is secret.
Expected<AwsSettings> aws_settings(const Environment& environment, bool anonymous);

/// The sections of a file of AWS's: "[default]" and what is below it. Lines that make no sense are passed over, and so
/// is what is nested (indented).
using AwsFile = std::map<std::string, std::map<std::string, std::string, std::less<>>, std::less<>>;
AwsFile parse_aws_file(std::string_view text);

}  // namespace gcore::reader
