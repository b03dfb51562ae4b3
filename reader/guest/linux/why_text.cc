#include <fmt/format.h>

#include "reader/guest/linux/messages.h"
#include "reader/guest/linux/why.h"

namespace gcore::reader::linux_guest {
namespace {

void add_lines(std::string& out, std::string_view text, std::string_view indentation) {
  for (size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
    append_printable(out, text.substr(0, end));
    out += '\n';
    out += indentation;
    text.remove_prefix(end + 1);
  }
  append_printable(out, text);
}

void add_evidence(std::string& out, const Evidence& evidence) {
  switch (evidence.kind) {
    case Evidence::Kind::message:
      out += fmt::format("    [{:5}.{:06}] ", evidence.time_ns.value_or(0) / 1'000'000'000,
                         evidence.time_ns.value_or(0) % 1'000'000'000 / 1000);
      add_lines(out, evidence.text, "                   ");
      break;
    case Evidence::Kind::fact:
      out += "    ";
      append_printable(out, evidence.text);
      break;
    case Evidence::Kind::stack:
    case Evidence::Kind::excerpt:
      out += "    ";
      append_printable(out, evidence.text);
      out += ":";
      for (const std::string& line : evidence.lines) {
        out += "\n        ";
        add_lines(out, line, "        ");
      }
  }
  out += '\n';
}

}  // namespace

std::string why_text(const Diagnosis& diagnosis) {
  std::string out;
  for (const Finding& finding : diagnosis.findings) {
    out += fmt::format("{}{}: ", finding.is_past ? "before: " : "", to_string(finding.kind));
    append_printable(out, finding.text);
    out += '\n';
    for (const Evidence& evidence : finding.evidence) add_evidence(out, evidence);
    out += '\n';
  }
  if (diagnosis.findings.empty())
    out += diagnosis.problems.empty()
               ? "nothing found: no report of the kernel, no task that is blocked for long, no vCPU that is stuck\n\n"
               : "nothing found in what could be looked at\n\n";
  if (diagnosis.all_idle) out += "all vCPUs are idle\n";
  for (const std::string& cpu : diagnosis.cpus) {
    append_printable(out, cpu);
    out += '\n';
  }
  for (const std::string& problem : diagnosis.problems) {
    out += "not looked at: ";
    append_printable(out, problem);
    out += '\n';
  }
  out += "signature: " + diagnosis.signature + '\n';
  return out;
}

}  // namespace gcore::reader::linux_guest
