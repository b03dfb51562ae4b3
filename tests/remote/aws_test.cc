// Who asks, and where: the environment, the shared files, and what is said when there is nothing.
#include "reader/source/remote/aws.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/support/temp_dir.h"

namespace gcore::reader {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class Aws : public testing::Test {
 protected:
  Aws() {
    set("HOME", home_.path());
    set("AWS_SHARED_CREDENTIALS_FILE", home_.path("credentials"));
    set("AWS_CONFIG_FILE", home_.path("config"));
  }
  void set(const std::string& name, const std::string& value) { variables_[name] = value; }
  Expected<AwsSettings> get(bool anonymous = false) const {
    return aws_settings(
        [this](const char* name) {
          const auto found = variables_.find(name);
          return found == variables_.end() ? std::nullopt : std::optional(found->second);
        },
        anonymous);
  }
  void expect_keys(const std::string& id, const std::string& secret, const std::string& token) const {
    const auto settings = get();
    ASSERT_TRUE(settings) << settings.error().text;
    EXPECT_EQ(settings->keys->id, id);
    EXPECT_EQ(settings->keys->secret, secret);
    EXPECT_EQ(settings->keys->token, token);
  }
  std::string error() const {
    const auto settings = get();
    return settings ? "" : settings.error().text;
  }
  gcore::tests::TempDir home_;
  std::map<std::string, std::string> variables_;
};

TEST_F(Aws, KeysComeFromTheEnvironmentFirst) {
  home_.write("credentials", "[default]\naws_access_key_id = file\naws_secret_access_key = filesecret\n");
  expect_keys("file", "filesecret", "");
  set("AWS_ACCESS_KEY_ID", "env");
  set("AWS_SECRET_ACCESS_KEY", "envsecret");
  expect_keys("env", "envsecret", "");
  set("AWS_SESSION_TOKEN", "token");
  expect_keys("env", "envsecret", "token");
}

TEST_F(Aws, AProfileIsLookedForInBothFiles) {
  home_.write("credentials",
              "# a comment\n[default]\naws_access_key_id=d\naws_secret_access_key=ds\n\n"
              "[ work ]\r\naws_access_key_id = w\r\n  nested = x\r\naws_secret_access_key = s=with=equals\r\n"
              "aws_session_token = t\r\n");
  home_.write("config",
              "[default]\nregion = eu-north-1\n[profile work]\nregion=eu-west-1\ns3 =\n  addressing_style = path\n"
              "endpoint_url = https://store.example.org:9000/\n[profile  other]\naws_access_key_id = o\n"
              "aws_secret_access_key = os\n");
  expect_keys("d", "ds", "");
  EXPECT_EQ(get()->region, "eu-north-1");
  EXPECT_EQ(get()->endpoint, "https://s3.eu-north-1.amazonaws.com");
  set("AWS_PROFILE", "work");
  expect_keys("w", "s=with=equals", "t");
  EXPECT_EQ(get()->region, "eu-west-1");
  EXPECT_EQ(get()->endpoint, "https://store.example.org:9000");
  set("AWS_PROFILE", "other");
  expect_keys("o", "os", "");
  set("AWS_PROFILE", "nobody");
  EXPECT_THAT(error(), HasSubstr("there is no profile nobody (AWS_PROFILE)"));
}

TEST_F(Aws, FilesAreInTheHomeDirectoryUnlessTheEnvironmentSaysOtherwise) {
  variables_.erase("AWS_SHARED_CREDENTIALS_FILE");
  variables_.erase("AWS_CONFIG_FILE");
  ASSERT_EQ(std::system(("mkdir " + home_.path(".aws")).c_str()), 0);
  home_.write(".aws/credentials", "[default]\naws_access_key_id = h\naws_secret_access_key = hs\n");
  home_.write(".aws/config", "[default]\nregion = cn-north-1\n");
  expect_keys("h", "hs", "");
  EXPECT_EQ(get()->endpoint, "https://s3.cn-north-1.amazonaws.com.cn");
}

TEST_F(Aws, RegionAndEndpointOfTheEnvironmentComeFirst) {
  home_.write("config", "[default]\nregion = file-1\nendpoint_url = http://file\n");
  EXPECT_EQ(get(true)->region, "file-1");
  set("AWS_DEFAULT_REGION", "default-1");
  EXPECT_EQ(get(true)->region, "default-1");
  set("AWS_REGION", "first-1");
  EXPECT_EQ(get(true)->region, "first-1");
  EXPECT_EQ(get(true)->endpoint, "http://file");
  set("AWS_ENDPOINT_URL", "http://all:1");
  EXPECT_EQ(get(true)->endpoint, "http://all:1");
  set("AWS_ENDPOINT_URL_S3", "https://s3:2/");
  EXPECT_EQ(get(true)->endpoint, "https://s3:2");
  set("AWS_ENDPOINT_URL_S3", "");
  EXPECT_EQ(get(true)->endpoint, "http://all:1");
}

TEST_F(Aws, NothingAtAllIsAnErrorUnlessNobodyIsToBeAsked) {
  EXPECT_THAT(error(), AllOf(HasSubstr("there are no credentials"), HasSubstr("--no-sign-request")));
  const auto anonymous = get(true);
  ASSERT_TRUE(anonymous);
  EXPECT_FALSE(anonymous->keys);
  EXPECT_EQ(anonymous->region, "us-east-1");
  EXPECT_EQ(anonymous->endpoint, "https://s3.us-east-1.amazonaws.com");
}

TEST_F(Aws, WhatOnlyAwsToolsCanFollowIsNamed) {
  home_.write("config", "[default]\nsso_session = corp\n");
  EXPECT_THAT(error(), AllOf(HasSubstr("sso_session"), HasSubstr("aws configure export-credentials")));
}

TEST_F(Aws, ErrorsRepeatNothingSecret) {
  set("AWS_SECRET_ACCESS_KEY", "topsecret");
  EXPECT_THAT(error(), AllOf(HasSubstr("AWS_ACCESS_KEY_ID is not"), Not(HasSubstr("topsecret"))));
  set("AWS_ACCESS_KEY_ID", "id");
  set("AWS_SECRET_ACCESS_KEY", "top\r\nsecret: x");
  EXPECT_THAT(error(), AllOf(HasSubstr("have a character"), Not(HasSubstr("secret"))));
  set("AWS_SECRET_ACCESS_KEY", "s");
  for (const char* endpoint : {"https://user:topsecret@host", "topsecret", "https://host/path", "https://",
                               "ftp://host", "https://ho st", "https://host?x"}) {
    set("AWS_ENDPOINT_URL", endpoint);
    EXPECT_THAT(error(), AllOf(HasSubstr("the endpoint"), Not(HasSubstr("topsecret")))) << endpoint;
  }
  set("AWS_ENDPOINT_URL", "");
  for (const char* region : {"eu west", "a/b", "evil.example.org#", "\x1b[2J"}) {
    set("AWS_REGION", region);
    EXPECT_THAT(error(), AllOf(HasSubstr("the region"), Not(HasSubstr("\x1b")))) << region;
  }
}

TEST(AwsFile, PassesOverWhatMakesNoSense) {
  EXPECT_TRUE(parse_aws_file("").empty());
  EXPECT_TRUE(parse_aws_file("a = b\n[unfinished\nc = d").empty());
  const AwsFile file = parse_aws_file("[a]\nNAME = v\nno equals\n; c\n[\tb  c ]\nx=\n" + std::string(3, '\0'));
  EXPECT_EQ(file.at("a").at("name"), "v");
  EXPECT_EQ(file.at("b c").at("x"), "");
}

}  // namespace
}  // namespace gcore::reader
