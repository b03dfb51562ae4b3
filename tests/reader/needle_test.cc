// The matcher, against std::string::find.
#include "reader/search/needle.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <span>
#include <string>

namespace gcore::tests {
namespace {

using reader::Needle;

constexpr size_t kDiffering = std::string::npos - 1;

/// Where it finds the pattern behind `from`, however many bytes it compares at once; npos when it does not.
size_t place_of(const std::string& text, const std::string& pattern, size_t from) {
  const auto bytes = std::as_bytes(std::span(text));
  const auto find = [&](size_t widest) {
    const Needle needle(std::as_bytes(std::span(pattern)), widest);
    const auto at = static_cast<size_t>(needle.find(bytes.data() + from, bytes.data() + bytes.size()) - bytes.data());
    return at == bytes.size() ? std::string::npos : at;
  };
  const size_t at = find(32);
  return find(16) == at ? at : kDiffering;
}

TEST(Needle, FindsWhatStringsFind) {
  std::mt19937 random(11);
  const auto below = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); };
  for (int round = 0; round < 20'000; ++round) {
    // Few kinds of byte make for near misses; the pattern is often one that is there, at every distance from the end.
    const size_t kinds = round % 3 == 0 ? 256 : 1 + below(3);
    std::string text(below(300), '\0');
    for (char& c : text) c = static_cast<char>(below(kinds));
    std::string pattern(1 + below(below(2) == 0 ? 4 : 90), '\0');
    for (char& c : pattern) c = static_cast<char>(below(kinds));
    if (below(2) == 0 && pattern.size() <= text.size())
      pattern = text.substr(below(text.size() - pattern.size() + 1), pattern.size());
    const size_t from = below(text.size() + 1);
    ASSERT_EQ(place_of(text, pattern, from), text.find(pattern, from)) << round;
  }
}

TEST(Needle, FindsBehindManyNearMisses) {
  const std::string pattern = "x" + std::string(30, 'a') + "y";
  for (const size_t misses : {1, 60, 70, 1000, 5000}) {
    std::string text;
    for (size_t i = 0; i < misses; ++i) text += "x" + std::string(29, 'a') + "by";
    EXPECT_EQ(place_of(text, pattern, 0), std::string::npos) << misses;
    EXPECT_EQ(place_of(text + pattern + text, pattern, 0), text.size()) << misses;
    std::ranges::fill(text, 'a');
    std::string end(41, 'a');
    end.back() = 'b';
    EXPECT_EQ(place_of(text, end, 0), std::string::npos) << misses;
    EXPECT_EQ(place_of(text + "b", end.substr(20), 0), text.size() - 20) << misses;
  }
}

}  // namespace
}  // namespace gcore::tests
