// Heads of replies, which a server may make of anything.
#include "reader/source/remote/head.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reader/source/remote/transfers.h"
#include "tests/fuzz/replay.h"

extern "C" int fuzz_head(const uint8_t* data, size_t size);

namespace gcore::reader {
namespace {

TEST(ContentRange, IsReadWhereItMakesSense) {
  const auto all = parse_content_range("bytes 0-99/1234");
  ASSERT_TRUE(all);
  EXPECT_TRUE(all->satisfied);
  EXPECT_EQ(all->first, 0u);
  EXPECT_EQ(all->last, 99u);
  EXPECT_EQ(all->total, 1234u);
  const auto none = parse_content_range(" Bytes */5 ");
  ASSERT_TRUE(none);
  EXPECT_FALSE(none->satisfied);
  EXPECT_EQ(none->total, 5u);
  const auto unknown = parse_content_range("bytes 7-7/*");
  ASSERT_TRUE(unknown);
  EXPECT_FALSE(unknown->total);
  EXPECT_TRUE(parse_content_range("bytes 0-18446744073709551614/18446744073709551615"));
}

class WrongContentRange : public testing::TestWithParam<const char*> {};

TEST_P(WrongContentRange, IsRefused) { EXPECT_FALSE(parse_content_range(GetParam())); }

INSTANTIATE_TEST_SUITE_P(Each, WrongContentRange,
                         testing::Values("", "bytes", "bytes ", "bytes 0-99", "0-99/100", "bits 0-99/100",
                                         "bytes 0-100/100", "bytes 99-0/100", "bytes -5/100", "bytes 5-/100",
                                         "bytes 0-9/10x", "bytes +0-9/10", "bytes 0 - 9/10", "bytes 0-9/-10",
                                         "bytes 0-9/18446744073709551616", "bytes 0-18446744073709551616/*",
                                         "bytes */*", "bytes 0x0-0x9/0x10", "bytes\t0-9/10", "bytes 0-9/10/10",
                                         "bytes 0-9/ 10", "bytes 0-9,20-29/100"));

TEST(Head, BeginsAnewWithEachStatusLine) {
  HeadParser parser;
  for (const char* line : {"HTTP/1.1 302 Found\r\n", "Location: elsewhere\r\n", "ETag: \"old\"\r\n", "\r\n",
                           "HTTP/1.1 206 Partial Content\r\n", "content-LENGTH: 10\r\n",
                           "Content-Range: bytes 0-9/20\r\n", "etag:  \"new\"  \r\n", "Last-Modified: Mon\r\n",
                           "Retry-After: 7\r\n", "x-amz-bucket-region: eu-west-1\r\n", "\r\n"})
    parser.line(line);
  const Head& head = parser.head();
  EXPECT_EQ(head.status, 206);
  EXPECT_EQ(head.length, 10u);
  EXPECT_EQ(head.range->total, 20u);
  EXPECT_EQ(head.etag, "\"new\"");
  EXPECT_EQ(head.last_modified, "Mon");
  EXPECT_EQ(head.retry_after, 7u);
  EXPECT_EQ(head.region, "eu-west-1");
}

TEST(Head, TakesNonsenseForNothing) {
  HeadParser parser;
  for (const std::string& line :
       {std::string("HTTP/1.1"), std::string("HTTP/1.1 abc"), std::string(":"), std::string("no colon"), std::string(),
        std::string("Content-Length: -1"), std::string("Content-Length: 99999999999999999999"),
        std::string("Retry-After: Fri, 31 Dec"), std::string("Content-Range: bytes \x1b[31m"),
        "ETag: " + std::string(100000, 'x'), std::string("\0\xff: \xff", 4)})
    parser.line(line);
  const Head& head = parser.head();
  EXPECT_EQ(head.status, 0);
  EXPECT_FALSE(head.length);
  EXPECT_FALSE(head.retry_after);
  EXPECT_FALSE(head.range);
  EXPECT_EQ(head.nonsense, "bytes ?[31m");
  EXPECT_LE(head.etag.size(), 1024u);
}

TEST(ErrorDocument, GivesItsCodeIfThatIsAWord) {
  EXPECT_EQ(error_code_in("<?xml?><Error><Code>NoSuchKey</Code><Key>x</Key></Error>"), "NoSuchKey");
  for (const std::string& document : {std::string("<Code>two words</Code>"), std::string("<Code></Code>"),
                                      std::string("<Code>unfinished"), "<Code>" + std::string(65, 'a') + "</Code>",
                                      std::string("<html>"), std::string(), std::string("<Code>\x1b[2J</Code>")})
    EXPECT_EQ(error_code_in(document), "") << document;
  EXPECT_EQ(xml_element("<a><UploadId>x&amp;lt;&lt;</UploadId></a>", "UploadId"), "x&lt;<");
}

TEST(Words, SayWhatAStatusMeansAndWhatToDo) {
  const auto words = [](int status, const std::string& document = "", const std::string& region = "") {
    Head head;
    head.status = status;
    head.region = region;
    return words_for_status(head, document, true);
  };
  EXPECT_EQ(words(404, "<Error><Code>NoSuchBucket</Code></Error>"), "there is no such object (404, NoSuchBucket)");
  EXPECT_EQ(words(403), "the server does not allow it (403)");
  EXPECT_EQ(words(301, "<Code>PermanentRedirect</Code>", "eu-west-1"),
            "the server says that it is elsewhere (301, PermanentRedirect); the bucket is in region eu-west-1: set "
            "AWS_REGION");
  EXPECT_EQ(words(503, "<Code>SlowDown</Code>"), "the server failed (503, SlowDown)");
  EXPECT_EQ(words(400, "<Code>ExpiredToken</Code>"), "the server refuses it (400, ExpiredToken)");
}

TEST(Head, CorpusIsSurvived) { gcore::tests::replay_corpus("head", fuzz_head); }

}  // namespace
}  // namespace gcore::reader
