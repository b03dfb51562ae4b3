// Signatures against those that AWS has published: "Examples: Signature Calculations" of S3's API reference, and
// get-vanilla of the Signature Version 4 test suite.
#include "reader/source/remote/sigv4.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reader/source/remote/sha256.h"

namespace gcore::reader {
namespace {

using testing::EndsWith;

const AwsKeys kKeys{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""};
constexpr char kTime[] = "20130524T000000Z", kHost[] = "examplebucket.s3.amazonaws.com";
constexpr char kOfNothing[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

using Pairs = std::vector<std::pair<std::string, std::string>>;

std::string sign(std::string_view method, std::string_view path, Pairs query, Pairs more,
                 const std::string& payload = kOfNothing) {
  SignedRequest request{method, path, std::move(query), std::move(more), payload};
  request.headers.emplace_back("x-amz-date", kTime);
  request.headers.emplace_back("x-amz-content-sha256", payload);
  request.headers.emplace_back("host", kHost);
  return authorization(request, kKeys, kTime, "us-east-1", "s3");
}

TEST(Signature, OfGetObjectWithARange) {
  EXPECT_EQ(sign("GET", "/test.txt", {}, {{"range", "bytes=0-9"}}),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
            "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
            "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST(Signature, OfPutObjectWithAnEncodedKey) {
  const std::string payload = hex(sha256("Welcome to Amazon S3."));
  EXPECT_EQ(payload, "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
  EXPECT_THAT(sign("PUT", "/test%24file.text", {},
                   {{"date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}}, payload),
              EndsWith("Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"));
}

TEST(Signature, OfAQueryWithoutAValue) {
  EXPECT_THAT(sign("GET", "/", {{"lifecycle", ""}}, {}),
              EndsWith("Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"));
}

TEST(Signature, OfAQueryInAnyOrder) {
  EXPECT_THAT(sign("GET", "/", {{"prefix", "J"}, {"max-keys", "2"}}, {}),
              EndsWith("Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"));
}

TEST(Signature, OfTheTestSuite) {
  const SignedRequest request{
      "GET", "/", {}, {{"host", "example.amazonaws.com"}, {"x-amz-date", "20150830T123600Z"}}, kOfNothing};
  EXPECT_EQ(hex(sha256(canonical_request(request))),
            "bb579772317eb040ac9ed261061d46c1f17a8133879d6129b6e1c25292927e63");
  EXPECT_THAT(authorization(request, {"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", ""},
                            "20150830T123600Z", "us-east-1", "service"),
              EndsWith("Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"));
}

// RFC 4231, test cases 1, 2 and 6 (a key that is longer than a block).
TEST(Hmac, IsThatOfRfc4231) {
  EXPECT_EQ(hex(hmac_sha256(std::string(20, '\x0b'), "Hi There")),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(hex(hmac_sha256("Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(hex(hmac_sha256(std::string(131, '\xaa'), "Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

}  // namespace
}  // namespace gcore::reader
