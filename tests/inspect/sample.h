// The small dump that the tests of gcore-inspect look at, and how they run the program.
#pragma once

#include <string>
#include <vector>

#include "tests/support/dump_builder.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {

// Two vCPUs with one address space (four levels, root 0x1000):
//
//   0x400000            4K, r-xu -> 0x8000, which starts with kText
//   0x401000            4K, rw-u -> 0xa000, full of 0xab
//   0x402000            4K, rw-u -> 0xfee00000, which is not in the dump
//   0x600000            2M, rw-u -> 0x200000, zeros
//   0xffff800000000000  1G, rwx- -> 0
//
// Guest-physical memory: 64 KiB at 0, and 4 MiB at 2 MiB that are a hole in the file.
inline constexpr char kText[] = "the quick brown fox\x01\xff";

/// A dump of the qnx dialect: signal 6 on vCPU 1, which ran the process "shell" in user mode. The CPUs lack some
/// registers.
DumpBuilder sample_dump();
QnxNote sample_note();
std::string sample_memory();
std::string sample_info();  // a section .gcore.info as the writer makes it

/// Runs gcore-inspect in a folder that has the sample as "sample.gcore", whatever the caller's terminal and time zone.
class Inspect {
 public:
  Inspect();
  Completed operator()(std::vector<std::string> arguments, std::string_view input = {}) const;
  /// The same for a dump of one's own.
  Completed with(const DumpBuilder& dump, std::vector<std::string> arguments) const;
  const TempDir& folder() const { return folder_; }

 private:
  TempDir folder_;
};

/// The golden file NAME of tests/inspect/golden. With GCORE_UPDATE_GOLDEN set in the environment it first becomes
/// `actual`, which is how it is made; the change is then seen in the version control.
std::string golden(const std::string& name, const std::string& actual);

}  // namespace gcore::tests
