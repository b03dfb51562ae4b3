// --html: a page that can be attached to a report. It needs no other file, no script, and no network.
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>

#include "tools/gcore-inspect/diff_report.h"
#include "tools/gcore-inspect/inspect.h"
#include "tools/gcore-inspect/spaces.h"

namespace gcore::tools::inspect {
namespace {

// A page is read by a person: of an address space with more ranges than this the rest is counted only.
constexpr uint64_t kMaxRanges = 5000;

constexpr char kStyle[] =
    "body{font:15px/1.45 system-ui,sans-serif;max-width:75em;margin:2em auto;padding:0 "
    "1em;color:#1a1a1a;background:#fff}"
    "h1{font-size:1.4em;overflow-wrap:anywhere}h2{font-size:1.15em;margin-top:2em}"
    "table{border-collapse:collapse;font:13px/1.5 ui-monospace,monospace}"
    "td,th{padding:.1em 1.2em .1em 0;text-align:left;vertical-align:top}th{font-weight:600;border-bottom:1px solid "
    "#bbb}"
    "summary{cursor:pointer;margin:.3em 0}.n{text-align:right}.w{color:#a33}.d{color:#777}tr.f{background:#fff3d6}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#161616}tr.f{background:#443a1a}.w{color:#f88}}";

std::string escape(std::string_view text) {
  std::string out;
  for (const char c : printable(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string hex(uint64_t value) { return fmt::format("{:#018x}", value); }
std::string hex(std::optional<uint64_t> value) { return value ? hex(*value) : "not in the dump"; }

/// Writes to the file; an error is kept by stdio and asked for at the end.
class Page {
 public:
  explicit Page(std::FILE* file) : file_(file) {}
  void add(std::string_view html) { std::fwrite(html.data(), 1, html.size(), file_); }
  void row(std::initializer_list<std::string> cells, std::string_view tag = "td", std::string_view attributes = "") {
    add(fmt::format("<tr{}>", attributes));
    for (const std::string& cell : cells) add(fmt::format("<{0}>{1}</{0}>", tag, escape(cell)));
    add("</tr>\n");
  }

 private:
  std::FILE* file_;
};

void add_headline(Page& page, const reader::Dump& dump) {
  page.add("<table>\n");
  for (const auto& [name, value] : headline(dump)) page.row({name, value});
  page.add("</table>\n");
}

void add_defects(Page& page, const reader::Dump& dump) {
  const auto all = defects(dump);
  const auto missing = gaps(dump);
  if (!all.empty() || !missing.empty()) page.add("<h2>Warnings</h2>\n<ul class=w>\n");
  for (const std::string& defect : all) page.add("<li>" + escape(defect) + "</li>\n");
  for (const Gap& gap : missing)
    page.add(
        fmt::format("<li>{} at {} missing: {}</li>\n", human_size(gap.size), hex(gap.address.value), escape(gap.why)));
  if (!all.empty() || !missing.empty()) page.add("</ul>\n");
}

void add_cpus(Page& page, const Job& job) {
  const reader::Dump& dump = job.dump;
  page.add("<h2>vCPUs</h2>\n<table>\n");
  page.row({"vCPU", "pc", "sp", "mode", "process", "address space", job.symbols != nullptr ? "at" : ""}, "th");
  for (const reader::Cpu& cpu : dump.cpus()) {
    const auto space = reader::AddressSpace::of_cpu(dump, cpu.index);
    const bool at_fault = cpu.index == dump.faulting_cpu() && dump.signal() != 0;
    page.row({std::to_string(cpu.index), hex(program_counter(cpu)), hex(stack_pointer(cpu)), mode_name(cpu),
              cpu.process_name, space ? space->describe() : "unknown", symbol_name(job, program_counter(cpu))},
             "td", at_fault ? " class=f" : "");
  }
  page.add("</table>\n");
  for (const reader::Cpu& cpu : dump.cpus()) {
    page.add(fmt::format("<details><summary>Registers of vCPU {}</summary>\n<table>\n", cpu.index));
    std::vector<std::string> absent;
    for (const RegisterGroup& group : register_groups(cpu, true, absent)) {
      page.row({group.title, "", ""}, "th");
      for (const RegisterRow& row : group.rows) page.row({row.name, row.value, row.flags});
    }
    page.add("</table>\n");
    if (!absent.empty()) {
      page.add("<p class=d>Not in the dump:");
      for (const std::string& name : absent) page.add(" " + escape(name));
      page.add("</p>\n");
    }
    page.add("</details>\n");
  }
}

void add_memory(Page& page, const reader::Dump& dump) {
  page.add(fmt::format("<h2>Memory: {}</h2>\n<table>\n", human_size(dump.memory_bytes())));
  page.row({"first", "last", "size", "in file", "file offset"}, "th");
  for (const reader::Segment& segment : dump.segments())
    page.row({hex(segment.address.value), hex(segment.address.value + (segment.memory_size - 1)),
              human_size(segment.memory_size), human_size(segment.file_size), hex(segment.offset.value)});
  page.add("</table>\n");
}

void add_spaces(Page& page, const reader::Dump& dump) {
  page.add("<h2>Address spaces</h2>\n");
  std::map<std::string, bool> seen;  // vCPUs of one kernel often share one
  for (const reader::Cpu& cpu : dump.cpus()) {
    const auto space = reader::AddressSpace::of_cpu(dump, cpu.index);
    if (!space || !seen.emplace(space->describe(), true).second) continue;
    page.add(fmt::format("<details><summary>vCPU {}: {}</summary>\n<table>\n", cpu.index, escape(space->describe())));
    page.row({"first", "last", "size", "permissions", "page", "guest-physical", "in the dump"}, "th");
    uint64_t count = 0;
    const auto listing = list_ranges(dump, *space, [&](const Range& range) {
      if (++count > kMaxRanges) return;
      page.row({hex(range.start.value), hex(range.start.value + (range.size - 1)), human_size(range.size),
                to_string(range.permissions), range.page_size == 0 ? "-" : page_size_name(range.page_size),
                range.physical ? hex(range.physical->value) : "scattered", presence_name(range.presence)});
    });
    page.add("</table>\n");
    if (count > kMaxRanges) page.add(fmt::format("<p class=d>... {} ranges in all; --map lists them</p>\n", count));
    if (!listing.note.empty()) page.add("<p class=w>" + escape(listing.note) + "</p>\n");
    page.add("</details>\n");
  }
}

void add_all(Page& page, const Job& job) {
  const std::string name = escape(job.dump.path());
  page.add("<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8>\n");
  page.add("<meta name=viewport content=\"width=device-width\">\n");
  page.add(fmt::format("<title>{}</title>\n<style>{}</style></head><body>\n<h1>{}</h1>\n", name, kStyle, name));
  add_headline(page, job.dump);
  add_defects(page, job.dump);
  add_cpus(page, job);
  add_memory(page, job.dump);
  add_spaces(page, job.dump);
  page.add(fmt::format("<p class=d>Made by {} {}</p>\n</body></html>\n", job.program.name(), GCORE_VERSION));
}

bool same_file(const std::string& a, const std::string& b) {
  struct stat one{}, other{};
  return stat(a.c_str(), &one) == 0 && stat(b.c_str(), &other) == 0 && one.st_dev == other.st_dev &&
         one.st_ino == other.st_ino;
}

}  // namespace

int write_diff_html(const Job&, const DiffReport&, const std::string&) { return 1; }
int write_html(const Job& job, const std::string& path) {
  const std::string attempted = "write " + printable(path);
  if (same_file(path, job.dump.path())) return job.program.fail(attempted, "that is the dump itself");
  std::FILE* file = std::fopen(path.c_str(), "we");
  if (file == nullptr) return job.program.fail(attempted, std::strerror(errno));
  Page page(file);
  add_all(page, job);
  errno = 0;
  const bool failed = std::fflush(file) != 0 || std::ferror(file) != 0;
  const int error = errno;
  if (std::fclose(file) != 0 || failed)
    return job.program.fail(attempted, error != 0 ? std::strerror(error) : "an earlier write failed");
  return kExitDone;
}

}  // namespace gcore::tools::inspect
