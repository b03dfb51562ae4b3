// A guest that gcore-vmm runs, for tests that need the dump of something alive.
#pragma once

#include <csignal>
#include <filesystem>
#include <stdexcept>
#include <string>

#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/regex.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {

/// Three vCPUs and 32 MiB. Runs until destruction.
class GuestVm {
 public:
  /// `elf`: the guest's program; "" for the built-in one.
  explicit GuestVm(const std::string& elf = "") : process_({program("gcore-vmm"), config(elf)}) {
    for (int cpu = 0; cpu < 3; ++cpu)
      if (!process_.wait_for_line(Process::Stream::out, "^cpu 0*" + std::to_string(cpu) + ": heartbeat"))
        throw std::runtime_error("no heartbeat: " + process_.out() + process_.err());
  }

  /// Takes a dump and moves it to NAME in folder().
  std::string dump(const std::string& name) {
    process_.signal(SIGUSR2);
    const auto line = process_.wait_for_line(Process::Stream::err, "^gcore-vmm: dump (written|failed): ");
    RegexMatch match;
    if (!line || !regex_search(*line, match, Regex(R"(dump written: (.*\.gcore) \()")))
      throw std::runtime_error("no dump: " + line.value_or("no answer"));
    std::filesystem::rename(match[1], folder_.path(name));
    return folder_.path(name);
  }

  const TempDir& folder() const { return folder_; }

 private:
  std::string config(const std::string& elf) const {
    std::filesystem::create_directory(folder_.path("dumps"));
    return folder_.write("guest.conf", "system test\ncpu\ncpu\ncpu\nram 32M\ndump " + folder_.path("dumps") + "\n" +
                                           (elf.empty() ? "" : "load " + elf + "\n"));
  }

  TempDir folder_;
  Process process_;
};

}  // namespace gcore::tests
