// The member "why" of "linux": what went wrong in a Linux guest.
#include "reader/guest/linux/why.h"

#include <llvm/Support/JSON.h>

#include "tools/gcore-inspect/facts/linux_guest.h"
#include "tools/gcore-inspect/json/values.h"

namespace gcore::tools::inspect {
namespace {

namespace json = llvm::json;

using namespace reader::linux_guest;

json::Value time_or_null(const std::optional<uint64_t>& time) {
  return time ? json::Value(static_cast<int64_t>(*time)) : json::Value(nullptr);
}

json::Array texts(const std::vector<std::string>& lines) {
  json::Array array;
  for (const std::string& line : lines) array.push_back(utf8(line));
  return array;
}

json::Value finding_value(const Finding& finding) {
  json::Array tasks, evidence;
  for (const Involved& task : finding.tasks)
    tasks.push_back(json::Object{{"tid", task.pid},
                                 {"name", utf8(task.name)},
                                 {"address", task.address.value ? hex_value(task.address.value) : json::Value(nullptr)},
                                 {"role", utf8(task.role)}});
  for (const Evidence& piece : finding.evidence)
    evidence.push_back(json::Object{{"kind", to_string(piece.kind)},
                                    {"text", utf8(piece.text)},
                                    {"time_ns", time_or_null(piece.time_ns)},
                                    {"lines", texts(piece.lines)}});
  return json::Object{{"kind", to_string(finding.kind)},
                      {"text", utf8(finding.text)},
                      {"guess", finding.is_guess},
                      {"past", finding.is_past},
                      {"time_ns", time_or_null(finding.time_ns)},
                      {"tasks", std::move(tasks)},
                      {"evidence", std::move(evidence)}};
}

}  // namespace

json::Value why_value(const Job& job, const Kernel& kernel) {
  const Diagnosis diagnosis = diagnosis_of(job, kernel);
  json::Array findings;
  for (const Finding& finding : diagnosis.findings) findings.push_back(finding_value(finding));
  return json::Object{{"findings", std::move(findings)},
                      {"signature", diagnosis.signature},
                      {"all_idle", diagnosis.all_idle},
                      {"cpus", texts(diagnosis.cpus)},
                      {"problems", texts(diagnosis.problems)}};
}

}  // namespace gcore::tools::inspect
