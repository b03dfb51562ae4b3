// Replays the corpora of the reader's fuzz targets.
#include <gtest/gtest.h>

#include "tests/fuzz/replay.h"

extern "C" {
int fuzz_open(const uint8_t* data, size_t size);
int fuzz_notes(const uint8_t* data, size_t size);
int fuzz_guest(const uint8_t* data, size_t size);
int fuzz_gzip(const uint8_t* data, size_t size);
int fuzz_zstd(const uint8_t* data, size_t size);
int fuzz_kdump(const uint8_t* data, size_t size);
int fuzz_qnx(const uint8_t* data, size_t size);
}

namespace gcore::tests {
namespace {

struct Target {
  const char* name;
  FuzzTarget run;
};

class Corpus : public testing::TestWithParam<Target> {};

TEST_P(Corpus, EveryInputIsSurvived) { replay_corpus(GetParam().name, GetParam().run); }

INSTANTIATE_TEST_SUITE_P(Fuzz, Corpus,
                         testing::Values(Target{"open", fuzz_open}, Target{"notes", fuzz_notes},
                                         Target{"guest", fuzz_guest}, Target{"gzip", fuzz_gzip},
                                         Target{"zstd", fuzz_zstd}, Target{"kdump", fuzz_kdump},
                                         Target{"qnx", fuzz_qnx}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace gcore::tests
