// Replays the corpora of the fuzz targets of what is read of a Linux guest.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/fuzz/replay.h"
#include "tests/reader_linux/guests.h"

extern "C" {
int fuzz_btf(const uint8_t* data, size_t size);
int fuzz_dwarf(const uint8_t* data, size_t size);
int fuzz_linux(const uint8_t* data, size_t size);
}

namespace gcore::tests {
namespace {

TEST(LinuxCorpus, TypesSurviveEveryInput) { replay_corpus("btf", fuzz_btf); }

TEST(LinuxCorpus, DebugInformationIsSoundWhateverTheTypes) {
  replay_corpus("dwarf", fuzz_dwarf);
  replay_corpus("btf", fuzz_dwarf);
}

TEST(LinuxCorpus, DamagedGuestsAreSurvived) {
  std::string images;
  for (const Guest& guest : kGuests) images += linux_oracle(guest.recipe()).dump() + ":";
  ASSERT_EQ(::setenv("GCORE_FUZZ_IMAGES", images.c_str(), 1), 0);
  replay_corpus("linux", fuzz_linux);
}

}  // namespace
}  // namespace gcore::tests
