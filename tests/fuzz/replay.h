// A fuzz target's corpus as inputs of an ordinary test: what it is seeded with and what it found.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

#include "tests/support/paths.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {

using FuzzTarget = int (*)(const uint8_t* data, size_t size);

/// Expects that each input of tests/fuzz/corpus/`name`, of which there are some, is survived; a target aborts when
/// what it checks does not hold.
inline void replay_corpus(const std::string& name, FuzzTarget target) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(source_dir() + "/tests/fuzz/corpus/" + name)) {
    SCOPED_TRACE(entry.path());
    const std::string input = read_file(entry.path());
    EXPECT_EQ(target(reinterpret_cast<const uint8_t*>(input.data()), input.size()), 0);
    ++count;
  }
  EXPECT_GE(count, 4u);
}

}  // namespace gcore::tests
