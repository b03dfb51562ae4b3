// The Linux guests that all of these tests look at.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "reader/dump/dump.h"
#include "tests/support/linux_oracle.h"

namespace gcore::tests {

struct Guest {
  const char* machine;
  const char* kernel;  // as LinuxRecipe::kernel
  const char* series;
  // How it differs from the plain guest: a word for it, another processor, arguments of its kernel.
  const char* variant = "plain";
  const char* cpu = "max";
  const char* append = "";

  /// Built without most of what Debian's kernels have (tests/long/linux-64k).
  bool is_small() const { return std::string(kernel).ends_with("-64k"); }
  bool is_plain() const { return std::string(variant) == "plain"; }
  /// Modules have BTF from Linux 5.11 on.
  bool has_module_types() const { return std::string(series) != "5.10."; }

  LinuxRecipe recipe() const {
    LinuxRecipe recipe;
    recipe.machine = machine;
    recipe.kernel = kernel;
    recipe.name = variant;
    recipe.cpu = cpu;
    recipe.append = append;
    // Processes that sleep in system calls of several kinds; one whose program is deleted, one with shared memory.
    recipe.script =
        "sleep 10000 &\n(sleep 20000 | cat) &\n"
        "cp /bin/busybox '/tmp/busybox is gone'\n'/tmp/busybox is gone' sleep 30000 &\n"
        "until grep -q gone /proc/$!/maps; do usleep 10000; done\nrm '/tmp/busybox is gone'\n"
        "syslogd -n -C16 &\nuntil grep -q SYSV /proc/$!/maps; do usleep 10000; done\n";
    if (is_plain()) return recipe;
    // It prints, as its last words, the stacks of all CPUs and of all tasks. Two CPUs more, which idle; of the CPUs it
    // is asked until one but the first did.
    recipe.cpus = 4;
    recipe.append += " log_buf_len=1M";
    recipe.more = {{"sysrq",
                    "dmesg -n 1; echo 1 >/sys/module/nmi_backtrace/parameters/backtrace_idle; "
                    "for time in $(seq 20); do echo l >/proc/sysrq-trigger; dmesg | grep -q \"Comm: swapper/[1-9]\" && "
                    "break; done; echo t >/proc/sysrq-trigger"}};
    return recipe;
  }
};

/// Debian 12's kernels, and those that $GCORE_TEST_KERNELS adds, as "x86_64:5.10 aarch64:7.2-16k"
/// (tests/long/linux-kernels).
inline const std::vector<Guest> kGuests = [] {
  std::vector<Guest> guests{
      {"x86_64", "", "6.1."}, {"x86_64", "6.12", "6.12."}, {"aarch64", "", "6.1."}, {"aarch64", "6.12", "6.12."}};
  static std::vector<std::array<std::string, 3>> texts;  // never moved: all are there before views of them are taken
  const char* more = std::getenv("GCORE_TEST_KERNELS");
  std::istringstream words(more ? more : "");
  for (std::string word; words >> word;) {
    const size_t colon = word.find(':');
    const std::string kernel = word.substr(colon + 1);  // "7.2", or "7.2-16k" with pages of 16K
    texts.push_back({word.substr(0, colon), kernel, kernel.substr(0, kernel.find('-')) + "."});
  }
  for (const auto& [machine, kernel, series] : texts)
    guests.push_back({machine.c_str(), kernel.c_str(), series.c_str()});
  return guests;
}();

/// The kernel is not in its processes' page tables, and these have four levels.
inline const std::vector<Guest> kIsolating{{"x86_64", "", "6.1.", "kpti", "max,la57=off", "pti=on"},
                                           {"aarch64", "6.12", "6.12.", "kpti", "cortex-a57", "kpti=on"}};

inline std::vector<Guest> guests_and_isolating() {
  std::vector<Guest> all = kGuests;
  all.insert(all.end(), kIsolating.begin(), kIsolating.end());
  return all;
}

inline std::string guest_name(const testing::TestParamInfo<Guest>& info) {
  std::string series = info.param.series;
  series.pop_back();
  std::ranges::replace(series, '.', '_');
  std::string name = std::string(info.param.machine) + "_" + series;
  const std::string kernel = info.param.kernel;
  if (const size_t dash = kernel.find('-'); dash != std::string::npos) name += "_" + kernel.substr(dash + 1);
  return name + (info.param.is_plain() ? "" : "_" + std::string(info.param.variant));
}

/// Throws when it cannot be opened.
inline std::unique_ptr<reader::Dump> open_dump(const LinuxOracle& oracle) {
  auto dump = reader::Dump::open(oracle.dump());
  if (!dump) throw std::runtime_error(dump.error().text);
  return *std::move(dump);
}

inline void PrintTo(const Guest& guest, std::ostream* out) { *out << guest.machine << " " << guest.series << "x"; }

}  // namespace gcore::tests
