// Replays what the fuzzer is seeded with and what it found, as ordinary inputs.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/paths.h"
#include "tests/support/temp_dir.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace gcore::tests {
namespace {

TEST(Corpus, EveryInputIsSurvived) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(source_dir() + "/tests/fuzz/corpus/session")) {
    SCOPED_TRACE(entry.path());
    const std::string input = read_file(entry.path());
    EXPECT_EQ(LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size()), 0);
    ++count;
  }
  EXPECT_GE(count, 11u);
}

}  // namespace
}  // namespace gcore::tests
