// The Linux guests that all of these tests look at.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <stdexcept>
#include <string>

#include "reader/dump/dump.h"
#include "tests/support/linux_oracle.h"

namespace gcore::tests {

struct Guest {
  const char* machine;
  const char* kernel;  // as LinuxRecipe::kernel
  const char* series;

  LinuxRecipe recipe() const {
    LinuxRecipe recipe;
    recipe.machine = machine;
    recipe.kernel = kernel;
    // Processes that sleep in system calls of several kinds.
    recipe.script = "sleep 10000 &\n(sleep 20000 | cat) &\n";
    return recipe;
  }
};

inline constexpr std::array kGuests{Guest{"x86_64", "", "6.1."}, Guest{"x86_64", "6.12", "6.12."},
                                    Guest{"aarch64", "", "6.1."}, Guest{"aarch64", "6.12", "6.12."}};

inline std::string guest_name(const testing::TestParamInfo<Guest>& info) {
  return std::string(info.param.machine) + (*info.param.kernel ? "_6_12" : "_6_1");
}

/// Throws when it cannot be opened.
inline std::unique_ptr<reader::Dump> open_dump(const LinuxOracle& oracle) {
  auto dump = reader::Dump::open(oracle.dump());
  if (!dump) throw std::runtime_error(dump.error().text);
  return *std::move(dump);
}

inline void PrintTo(const Guest& guest, std::ostream* out) { *out << guest.machine << " " << guest.series << "x"; }

}  // namespace gcore::tests
