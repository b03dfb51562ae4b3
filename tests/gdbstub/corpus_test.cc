// Replays the corpus of the fuzz target for sessions.
#include <gtest/gtest.h>

#include "tests/fuzz/replay.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace gcore::tests {
namespace {

TEST(Corpus, EveryInputIsSurvived) { replay_corpus("session", LLVMFuzzerTestOneInput); }

}  // namespace
}  // namespace gcore::tests
