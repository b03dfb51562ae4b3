// What went wrong in a Linux guest: the first thing on its page.
#include "reader/guest/linux/why.h"

#include <fmt/format.h>

#include "tools/gcore-inspect/facts/linux_guest.h"
#include "tools/gcore-inspect/html/linux.h"

namespace gcore::tools::inspect {
namespace {

using reader::linux_guest::Diagnosis;
using reader::linux_guest::Evidence;
using reader::linux_guest::Finding;
using reader::linux_guest::to_string;

constexpr size_t kMaxFindings = 50, kMaxTasks = 40;

bool has_lines(const Evidence& evidence) {
  return evidence.kind == Evidence::Kind::stack || evidence.kind == Evidence::Kind::excerpt;
}

void add_evidence(HtmlPage& page, const Finding& finding) {
  page.body += "<ul class=\"evidence\">\n";
  for (const Evidence& evidence : finding.evidence) {
    if (has_lines(evidence)) continue;
    page.body += "<li class=\"pre\">";
    if (evidence.time_ns)
      page.body += fmt::format("<span class=\"dim\">{}.{:06}</span> ", *evidence.time_ns / 1000000000,
                               *evidence.time_ns / 1000 % 1000000);
    page.body += escape_lines(evidence.text) + "</li>\n";
  }
  page.body += "</ul>\n";
  for (const Evidence& evidence : finding.evidence) {
    if (!has_lines(evidence)) continue;
    page.body += fmt::format("<details><summary>{}</summary><ol class=\"frames plain\">", escape(evidence.text));
    for (const std::string& line : evidence.lines) page.body += "<li>" + escape_lines(line) + "</li>";
    page.body += "</ol></details>\n";
  }
}

/// The tasks that have a part in it, each of which leads to its row among the tasks.
void add_involved(HtmlPage& page, const Finding& finding) {
  if (finding.tasks.empty()) return;
  page.body += "<p class=\"involved\">";
  for (size_t i = 0; i < finding.tasks.size() && i < kMaxTasks; ++i) {
    const auto& task = finding.tasks[i];
    page.body += fmt::format("<a href=\"#task-{}\">{} <span class=\"dim\">{}</span></a> ", task.pid, escape(task.name),
                             escape(task.role));
  }
  page.body += "</p>\n";
}

void add_finding(HtmlPage& page, const Finding& finding) {
  page.body += fmt::format("<div class=\"finding{}\"><h3><span class=\"kind\">{}{}</span> {}</h3>\n",
                           finding.is_past ? " past" : "", finding.is_past ? "before: " : "", to_string(finding.kind),
                           escape(finding.text));
  add_involved(page, finding);
  add_evidence(page, finding);
  page.body += "</div>\n";
}

}  // namespace

void add_why(HtmlPage& page, const Job& job) {
  const auto* kernel = job.linux_guest.kernel_or_null();
  if (kernel == nullptr) return;
  const Diagnosis diagnosis = diagnosis_of(job, *kernel);
  page.section("why", "What went wrong");
  for (size_t i = 0; i < diagnosis.findings.size() && i < kMaxFindings; ++i) add_finding(page, diagnosis.findings[i]);
  if (diagnosis.findings.size() > kMaxFindings)
    page.body += fmt::format("<p class=\"dim\">{} in all; --why tells them.</p>\n", diagnosis.findings.size());
  if (diagnosis.findings.empty())
    page.body += diagnosis.problems.empty()
                     ? "<p>Nothing found: no report of the kernel, no task that is blocked for long, no vCPU that is "
                       "stuck.</p>\n"
                     : "<p>Nothing found in what could be looked at.</p>\n";
  if (diagnosis.all_idle) page.body += "<p>All vCPUs are idle.</p>\n";
  for (const std::string& problem : diagnosis.problems)
    page.body += "<p class=\"dim\">Not looked at: " + escape(problem) + "</p>\n";
  page.body += fmt::format("<p class=\"dim\">Signature: <code>{}</code></p>\n", escape(diagnosis.signature));
}

}  // namespace gcore::tools::inspect
