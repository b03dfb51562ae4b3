// Replays the corpora of the server's fuzz target.
#include <gtest/gtest.h>

#include "tests/fuzz/replay.h"

extern "C" int fuzz_session(const uint8_t* data, size_t size);

namespace gcore::tests {
namespace {

TEST(Corpus, EveryConversationIsSurvived) { replay_corpus("session", fuzz_session); }

}  // namespace
}  // namespace gcore::tests
