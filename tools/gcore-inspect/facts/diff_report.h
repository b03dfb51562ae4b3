// --diff: what its three forms (text, JSON, HTML) print.
#pragma once

#include <string>
#include <vector>

#include "tools/gcore-inspect/facts/diff.h"
#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {

struct DiffReport {
  const reader::Dump &a, &b;
  const reader::Guest &guest_a, &guest_b;
  DumpDiff diff;
  std::vector<std::string> remarks;  // how the two guests are not alike, a sentence each
};

/// "equal", "differs", "only A has memory", ...
const char* describe(PageDiff::Kind kind);

void print_diff_json(const DiffReport& report);                                          // json/diff.cc
int write_diff_html(const Job& job, const DiffReport& report, const std::string& path);  // html/diff.cc

}  // namespace gcore::tools::inspect
