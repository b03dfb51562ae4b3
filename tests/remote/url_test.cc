// What is shown of an address: never a password, never a signature.
#include "reader/source/remote/url.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gcore::reader {
namespace {

struct Shown {
  const char *url, *shown;
};

class ShownUrl : public testing::TestWithParam<Shown> {};

TEST_P(ShownUrl, HasNothingSecret) { EXPECT_EQ(shown_url(GetParam().url), GetParam().shown); }

INSTANTIATE_TEST_SUITE_P(
    Each, ShownUrl,
    testing::Values(
        Shown{"https://host/a/b.gcore", "https://host/a/b.gcore"}, Shown{"https://host:8443/a", "https://host:8443/a"},
        Shown{"https://user:secret@host/a", "https://host/a"}, Shown{"https://token@host:1/a", "https://host:1/a"},
        Shown{"https://user:p@ss@host/a", "https://host/a"}, Shown{"https://user:se/cret@host/a", "https://host/a"},
        Shown{"https://user:se?cret@host/a", "https://user:se?..."},  // no address at all: curl says so
        Shown{"https://host/a@b", "https://host/a@b"}, Shown{"https://host:80/a@b", "https://host:80/a@b"},
        Shown{"http://host/a?X-Amz-Signature=secret", "http://host/a?..."},
        Shown{"http://host/a#secret", "http://host/a?..."},
        Shown{"https://user:secret@host?sig=secret", "https://host?..."},
        Shown{"s3://bucket/key?with#odd@signs", "s3://bucket/key?with#odd@signs"}, Shown{"a file", "a file"},
        Shown{"./https://x:y@z", "./https://x:y@z"}, Shown{"https://", "https://"}, Shown{"", ""}));

TEST(WithoutSecrets, TakesThemOutOfAnyText) {
  const std::string url = "https://user:pa55word@host/a?sig=abcdef";
  EXPECT_EQ(without_secrets("cannot open " + url + ": no", url), "cannot open https://host/a?...: no");
  EXPECT_EQ(without_secrets("bad password pa55word, signature sig=abcdef", url), "bad password ..., signature ...");
  EXPECT_EQ(without_secrets("nothing", url), "nothing");
  const std::string several = "https://host/a?part=1&Signature=abc/de=&x#end-of-it";
  EXPECT_EQ(without_secrets("no abc/de= here (412), 1 end-of-it", several), "no ... here (412), 1 ...");
  EXPECT_EQ(without_secrets("pa55word", "https://host/"), "pa55word");
}

TEST(Url, IsTakenForOneByItsStartAlone) {
  for (const char* url : {"https://x", "http://x", "s3://x"}) EXPECT_TRUE(is_url(url)) << url;
  for (const char* path : {"HTTPS://x", "ftp://x", "file:///x", "https:/x", "./https://x", "s3:x", ""})
    EXPECT_FALSE(is_url(path)) << path;
}

TEST(S3Url, HasABucketAndAKey) {
  const auto place = parse_s3_url("s3://b.u-c_k/a/b c?d");
  ASSERT_TRUE(place);
  EXPECT_EQ(place->bucket, "b.u-c_k");
  EXPECT_EQ(place->key, "a/b c?d");
  for (const char* wrong :
       {"s3://", "s3:///key", "s3://bucket", "s3://bucket/", "s3://buc ket/key", "s3://a:b@c/key", "x"})
    EXPECT_FALSE(parse_s3_url(wrong)) << wrong;
  EXPECT_TRUE(parse_s3_url("s3://bucket/", true));
  EXPECT_TRUE(parse_s3_url("s3://bucket", true));
  EXPECT_TRUE(parse_s3_url("s3://b/" + std::string(1024, 'k')));
  EXPECT_FALSE(parse_s3_url("s3://b/" + std::string(1025, 'k')));
}

TEST(PercentEncoding, LeavesOnlyWhatRfc3986LeavesAlone) {
  EXPECT_EQ(percent_encoded("aZ09-._~", false), "aZ09-._~");
  EXPECT_EQ(percent_encoded("a/b", true), "a/b");
  EXPECT_EQ(percent_encoded("a/b", false), "a%2Fb");
  EXPECT_EQ(percent_encoded("=*+ &\xc3\xa4", true), "%3D%2A%2B%20%26%C3%A4");
}

}  // namespace
}  // namespace gcore::reader
