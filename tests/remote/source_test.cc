// A source over HTTP against a server that behaves well, and one that does not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <span>
#include <thread>

#include "reader/source/remote/remote.h"
#include "tests/remote/remote_server.h"

namespace gcore::tests {
namespace {

using reader::FileOffset;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr size_t kSize = (size_t{24} << 20) + 12345;

/// Bytes of which no two stretches are alike.
std::string noise(size_t size) {
  std::mt19937_64 random(42);
  std::string bytes((size + 7) / 8 * 8, '\0');
  for (size_t at = 0; at < bytes.size(); at += 8) {
    const uint64_t word = random();
    bytes.replace(at, 8, reinterpret_cast<const char*>(&word), 8);
  }
  bytes.resize(size);
  return bytes;
}

class RemoteFile : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    bytes_ = noise(kSize);
    shared_ = new RemoteServer;
  }
  static void TearDownTestSuite() { delete shared_; }
  RemoteFile() {
    server_.reset();
    server_.folder().write("file", bytes_);
  }

  reader::Expected<reader::Remote> try_open(reader::RemoteOptions options = {},
                                            const std::string& name = "file") const {
    options.first_pause = 1ms;
    return reader::open_remote(server_.url(name, "user:topsecret@") + "?sig=topsecret", options);
  }
  reader::Remote open(const reader::RemoteOptions& options = {}) const {
    auto remote = try_open(options);
    if (!remote) throw std::runtime_error(remote.error().text);
    return std::move(*remote);
  }
  /// Why it cannot be opened. Never anything secret.
  std::string error(const reader::RemoteOptions& options = {}, const std::string& name = "file") const {
    const auto remote = try_open(options, name);
    const std::string text = remote ? "" : remote.error().text;
    EXPECT_THAT(text, Not(HasSubstr("topsecret")));
    return text;
  }
  static std::string read(const reader::Remote& remote, uint64_t offset, size_t size, int error = 0) {
    std::string bytes(size, '?');
    const auto got = remote.source->read(FileOffset(offset), std::as_writable_bytes(std::span(bytes.data(), size)));
    EXPECT_EQ(got.error, error) << remote.state->trouble();
    bytes.resize(got.bytes);
    return bytes;
  }
  std::string part(uint64_t offset, size_t size) const {
    return offset < bytes_.size() ? bytes_.substr(offset, size) : "";
  }
  /// Reads all of it, from front to end.
  void expect_all(const reader::Remote& remote) const {
    for (uint64_t at = 0; at < kSize; at += 300000) ASSERT_EQ(read(remote, at, 300000), part(at, 300000)) << at;
  }
  std::string trouble_of_reading(const reader::Remote& remote) const {
    for (uint64_t at = 0; at < kSize; at += 100000) {
      std::string bytes(100000, '?');
      if (remote.source->read(FileOffset(at), std::as_writable_bytes(std::span(bytes.data(), bytes.size()))).error != 0)
        break;
    }
    EXPECT_THAT(remote.state->trouble(), Not(HasSubstr("topsecret")));
    EXPECT_EQ(remote.source->trouble(), remote.state->trouble());
    return remote.state->trouble();
  }

  static inline std::string bytes_;
  static inline RemoteServer* shared_ = nullptr;
  RemoteServer& server_ = *shared_;
};

TEST_F(RemoteFile, IsReadAsItIs) {
  const reader::Remote remote = open();
  EXPECT_EQ(remote.source->size(), kSize);
  EXPECT_EQ(remote.name, server_.url("file") + "?...");
  EXPECT_EQ(read(remote, 0, 10), part(0, 10));
  EXPECT_EQ(read(remote, kSize - 5, 100), part(kSize - 5, 5));
  EXPECT_EQ(read(remote, kSize, 100), "");
  EXPECT_EQ(read(remote, UINT64_MAX, 100), "");
  EXPECT_EQ(read(remote, 65535, 2), part(65535, 2));
  EXPECT_EQ(read(remote, 5, kSize), part(5, kSize));
  expect_all(remote);
}

TEST_F(RemoteFile, IsNotFetchedBeforeItIsReadNorTwice) {
  const reader::Remote remote = open();
  EXPECT_EQ(server_.requests(), 1u);
  EXPECT_LE(remote.state->bytes(), 64u << 10);
  std::mt19937 random(7);
  for (int i = 0; i < 20; ++i) read(remote, random() % kSize, 100);
  const uint64_t before = remote.state->requests();
  EXPECT_LE(remote.state->bytes(), 20u * (512 << 10));
  random.seed(7);
  for (int i = 0; i < 20; ++i) {
    const uint64_t at = random() % kSize;
    EXPECT_EQ(read(remote, at, 100), part(at, 100));
  }
  EXPECT_EQ(remote.state->requests(), before);
}

// What comes next is under way before it is asked for: in a hundred times fewer requests than reads, and nothing twice.
TEST_F(RemoteFile, IsReadAheadFromFrontToEnd) {
  const reader::Remote remote = open();
  for (uint64_t at = 0; at < kSize; at += 8192) ASSERT_EQ(read(remote, at, 8192), part(at, 8192)) << at;
  EXPECT_EQ(remote.state->bytes(), kSize);
  EXPECT_LE(remote.state->requests(), 60u);
}

TEST_F(RemoteFile, IsReadByManyThreadsAtOnce) {
  const reader::Remote remote = open();
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < 8; ++thread)
    threads.emplace_back([&, thread] {
      std::mt19937 random(thread);
      for (int i = 0; i < 100; ++i) {
        const uint64_t at = random() % kSize;
        const size_t size = random() % 200000;
        ASSERT_EQ(read(remote, at, size), part(at, size));
      }
    });
  for (std::thread& thread : threads) thread.join();
}

struct Passing {
  const char *name, *rules;
};
constexpr Passing kPassing[] = {
    Passing{"Unavailable", R"([{"do": "status", "status": 503, "times": 3}])"},
    Passing{"UnavailableLater", R"([{"do": "status", "status": 503, "skip": 3, "times": 4}])"},
    Passing{"InternalError", R"([{"do": "status", "status": 500, "times": 2}])"},
    Passing{"TooMany", R"([{"do": "status", "status": 429, "times": 2, "headers": {"Retry-After": "0"}}])"},
    Passing{"Cut", R"([{"do": "cut", "times": 3}])"},
    Passing{"CutLater", R"([{"do": "cut", "skip": 2, "times": 20}])"},
    Passing{"Stalls", R"([{"do": "stall", "skip": 1, "times": 1}])"}};

TEST_F(RemoteFile, WithPassingTroubleIsTriedAgain) {
  reader::RemoteOptions options;
  options.stall = 1s;
  for (const Passing& passing : kPassing) {
    SCOPED_TRACE(passing.name);
    server_.rules(passing.rules);
    const reader::Remote remote = open(options);
    expect_all(remote);
    EXPECT_EQ(remote.state->trouble(), "");
  }
}

struct Lasting {
  const char *name, *rules, *why;
};
constexpr Lasting kLasting[] = {
    Lasting{"Forbidden", R"({"do": "status", "status": 403)", "the server does not allow it (403)"},
    Lasting{"Unauthorized", R"({"do": "status", "status": 401)", "wants to know who asks (401)"},
    Lasting{"NotFound", R"({"do": "status", "status": 404)", "there is no such file (404)"},
    Lasting{"NoRange", R"({"do": "status", "status": 416)", "it is empty"},
    Lasting{"InternalError", R"({"do": "status", "status": 500)", "the server failed (500), 5 times"},
    Lasting{"Unavailable", R"({"do": "status", "status": 503)", "the server failed (503), 5 times"},
    Lasting{"Teapot", R"({"do": "status", "status": 418)", "the server refuses it (418)"},
    Lasting{"NoContent", R"({"do": "status", "status": 204)", "answers 204 to a request for a range"},
    Lasting{"NoRanges", R"({"do": "no-ranges")", "the server does not serve ranges of bytes; with --download"},
    Lasting{"WrongRange", R"({"do": "wrong-range", "value": "bytes 1-9/25178169")",
            "sends another range than it was asked"},
    Lasting{"NonsenseRange", R"({"do": "wrong-range", "value": "bytes 9-1/100")", "makes no sense"},
    Lasting{"NoContentRange", R"({"do": "wrong-range", "value": null)", "does not say which range"}};

TEST_F(RemoteFile, WithLastingTroubleIsRefusedInOneLine) {
  for (const Lasting& lasting : kLasting) {
    SCOPED_TRACE(lasting.name);
    server_.rules(std::string("[") + lasting.rules + "}]");
    const std::string text = error();
    EXPECT_THAT(text, HasSubstr("cannot open " + server_.url("file") + "?...: "));
    EXPECT_THAT(text, HasSubstr(lasting.why));
    EXPECT_THAT(text, Not(HasSubstr("\n")));
  }
}

TEST_F(RemoteFile, WithTroubleThatComesLaterSaysSo) {
  for (const Lasting& lasting : kLasting) {
    SCOPED_TRACE(lasting.name);
    server_.rules(std::string("[") + lasting.rules + ", \"skip\": 2}]");
    const reader::Remote remote = open();
    std::string why = lasting.why;
    if (why.find("does not serve ranges") != std::string::npos) why = "no longer serves ranges";
    if (why.find("it is empty") != std::string::npos) why = "shorter than it was";
    if (why.find("does not say") != std::string::npos || why.find("makes no sense") != std::string::npos)
      why = "makes no sense";
    EXPECT_THAT(trouble_of_reading(remote), HasSubstr(why));
  }
}

TEST_F(RemoteFile, ThatSendsMoreThanItWasAskedForIsRefused) {
  server_.rules(R"([{"do": "longer"}])");
  EXPECT_THAT(error(), HasSubstr("the server sends more than it was asked for"));
}

struct Change {
  const char *name, *rule, *why;
};
constexpr Change kChanges[] = {
    Change{"IfMatch", R"([{"do": "change", "skip": 1}])", "it has changed since it was opened (412"},
    Change{"Etag", R"([{"do": "change", "skip": 1, "late": true}])", "its ETag was"},
    Change{"Size", R"([{"do": "change", "skip": 1, "late": true, "size": 99999999}])", "bytes and has 99999999"},
    // A weak ETag is not asked for, but it is compared.
    Change{"WeakEtag", R"([{"do": "etag", "value": "W/\"1\"", "times": 1}, {"do": "etag", "value": "W/\"2\""}])",
           "its ETag was W/\"1\" and is W/\"2\""},
    Change{"LastModified", R"([{"do": "etag", "value": null, "times": 1}, {"do": "change", "late": true}])",
           "it was of Mon, 02 Mar 2026 10:00:00 GMT and is of Tue"}};

TEST_F(RemoteFile, ThatChangesIsAnErrorAndNotAMixture) {
  for (const Change& change : kChanges) {
    SCOPED_TRACE(change.name);
    server_.rules(change.rule);
    const reader::Remote remote = open();
    EXPECT_THAT(trouble_of_reading(remote), HasSubstr(change.why));
    read(remote, kSize / 2, 100, EIO);  // for good
  }
}

TEST_F(RemoteFile, WithoutRangesIsDownloaded) {
  server_.rules(R"([{"do": "cut", "times": 1}, {"do": "no-ranges"}])");
  uint64_t last = 0;
  reader::RemoteOptions options;
  options.download = true;
  options.progress = [&](uint64_t done, uint64_t total) {
    EXPECT_LE(done, total);
    last = done;
  };
  const reader::Remote remote = open(options);
  EXPECT_EQ(last, kSize);
  server_.rules(R"([{"do": "status", "status": 500}])");  // nobody is asked again
  expect_all(remote);
}

TEST_F(RemoteFile, ThatIsEmptyIsSaidToBe) {
  server_.folder().write("empty", "");
  EXPECT_THAT(error({}, "empty"), HasSubstr("it is empty"));
  EXPECT_THAT(error({.download = true, .progress = {}}, "empty"), HasSubstr("it is empty"));
}

TEST_F(RemoteFile, ThatIsSmallerThanABlockIsReadInOneRequest) {
  server_.folder().write("small", "0123456789");
  const auto remote = try_open({}, "small");
  ASSERT_TRUE(remote);
  EXPECT_EQ(read(*remote, 3, 100), "3456789");
  EXPECT_EQ(server_.requests(), 1u);
}

TEST(RemoteServerThatIsNotThere, IsSaidInOneLine) {
  reader::RemoteOptions options;
  options.first_pause = 1ms;
  const auto remote = reader::open_remote("http://user:topsecret@127.0.0.1:1/file?topsecret", options);
  ASSERT_FALSE(remote);
  EXPECT_THAT(remote.error().text, AllOf(HasSubstr("cannot open http://127.0.0.1:1/file?...: "), HasSubstr("connect"),
                                         Not(HasSubstr("topsecret"))));
  for (const char* nonsense : {"http://", "https:///file", "http://[/", "http://a b/", "http://host:99999/"})
    EXPECT_FALSE(reader::open_remote(nonsense, options)) << nonsense;
}

}  // namespace
}  // namespace gcore::tests
