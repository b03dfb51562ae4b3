// Replays what the fuzz targets are seeded with and what they found, as ordinary inputs.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/paths.h"
#include "tests/support/temp_dir.h"

extern "C" {
int fuzz_open(const uint8_t* data, size_t size);
int fuzz_gzip(const uint8_t* data, size_t size);
int fuzz_zstd(const uint8_t* data, size_t size);
int fuzz_kdump(const uint8_t* data, size_t size);
}

namespace gcore::tests {
namespace {

struct Target {
  const char* name;
  int (*run)(const uint8_t*, size_t);
};

class Corpus : public testing::TestWithParam<Target> {};

TEST_P(Corpus, EveryInputIsSurvived) {
  size_t count = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(source_dir() + "/tests/fuzz/corpus/" + GetParam().name)) {
    SCOPED_TRACE(entry.path());
    const std::string input = read_file(entry.path());
    EXPECT_EQ(GetParam().run(reinterpret_cast<const uint8_t*>(input.data()), input.size()), 0);
    ++count;
  }
  EXPECT_GE(count, 5u);
}

INSTANTIATE_TEST_SUITE_P(Fuzz, Corpus,
                         testing::Values(Target{"open", fuzz_open}, Target{"gzip", fuzz_gzip},
                                         Target{"zstd", fuzz_zstd}, Target{"kdump", fuzz_kdump}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace gcore::tests
