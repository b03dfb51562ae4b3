// A page-table case: registers, table entries and expected answers, as text.
//
//   # comment
//   machine x86_64            or x86, aarch64. Then registers, one a line: cr0 cr3 cr4 efer code_segment_long
//   page_table cr3 0x1000                encryption_mask; sctlr tcr ttbr0 ttbr1 mmfr0 entries 32                entries
//   are 4 bytes (default 8); "entries big": big-endian 0x1008: 0x2007 0x3007     entries from an address on. The 4 KiB
//   pages that hold entries exist, zero elsewhere; no others 0x80 -> 0x3080 4K rwxu    an address, what it translates
//   to, the page's size (0: paging is off), permissions 0x90 -> fault: KIND       ... or the kind of fault, and "at
//   LEVEL" where the text has to name it error                     making the mode from these registers is an error
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "reader/translate/paging.h"
#include "tests/translate/fake_memory.h"

namespace gcore::tests {

struct CaseFile {
  struct Expectation {
    int line = 0;
    uint64_t address = 0;
    std::string fault, level;  // empty: no fault; no level given
    uint64_t physical = 0, page_size = 0;
    std::string permissions;
  };

  std::string machine;
  std::map<std::string, uint64_t> registers;
  FakeMemory memory;
  std::vector<Expectation> expectations;
  bool expect_error = false;

  /// Throws std::runtime_error "FILE:LINE: why" when the file cannot be read or has a line that is none of the above.
  static CaseFile load(const std::string& path);

  reader::Expected<translate::Paging> paging() const;
};

}  // namespace gcore::tests
