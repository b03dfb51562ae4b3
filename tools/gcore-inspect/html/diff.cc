// --diff with --html.
#include <fmt/format.h>
#include <llvm/Support/JSON.h>
#include <llvm/Support/raw_ostream.h>

#include <algorithm>
#include <array>

#include "tools/gcore-inspect/facts/cells.h"
#include "tools/gcore-inspect/facts/diff_report.h"
#include "tools/gcore-inspect/html/memory.h"
#include "tools/gcore-inspect/html/page.h"

namespace gcore::tools::inspect {
namespace {

constexpr size_t kMaxRows = 5000, kMaxSamples = 10000, kSampleBytes = 16;

enum Kind : uint8_t { kAbsent, kEqual, kMissing, kOnlyA, kOnlyB, kDiffers, kKinds };

constexpr std::array<MapKind, kKinds> kDescribed = {{
    {"absent", "no memory", "neither guest has memory there"},
    {"equal", "equal", "the same bytes in both"},
    {"missing", "missing", "one of the dumps lacks it, in part or whole: nothing can be said"},
    {"only-a", "only in A", "only the guest of A has memory there"},
    {"only-b", "only in B", "only the guest of B has memory there"},
    {"differs", "differs", "at least one byte differs"},
}};

Kind kind_of(PageDiff::Kind kind) {
  switch (kind) {
    case PageDiff::Kind::equal:
      return kEqual;
    case PageDiff::Kind::differs:
      return kDiffers;
    case PageDiff::Kind::only_a:
      return kOnlyA;
    case PageDiff::Kind::only_b:
      return kOnlyB;
    default:
      return kMissing;
  }
}

std::string value_text(const RegisterDiff& diff, std::optional<uint64_t> value) {
  return value ? fmt::format("0x{:0{}x}", *value, diff.bytes * 2) : "not in the dump";
}

void add_registers(HtmlPage& page, const DumpDiff& diff) {
  page.section("registers", "Registers");
  if (diff.differing_registers() == 0) page.body += "<p>No register differs.</p>\n";
  for (const CpuDiff& cpu : diff.cpus) {
    if (!cpu.a || !cpu.b) page.body += fmt::format("<h3>vCPU {}: only in {}</h3>\n", cpu.number, cpu.a ? "A" : "B");
    if (cpu.registers.empty() && cpu.process_a == cpu.process_b) continue;
    page.body += fmt::format("<h3>vCPU {}</h3>\n<div class=\"scroll\"><table><thead>", cpu.number);
    page.row({"", "A", "B"}, "th");
    page.body += "</thead><tbody>\n";
    if (cpu.process_a != cpu.process_b) page.row({"process", cpu.process_a, cpu.process_b});
    for (const RegisterDiff& one : cpu.registers) page.row({one.name, value_text(one, one.a), value_text(one, one.b)});
    page.body += "</tbody></table></div>\n";
  }
}

void add_ranges(HtmlPage& page, const MemoryDiff& memory) {
  page.section("ranges", "Ranges that differ");
  page.body += "<div class=\"scroll\"><table><thead>";
  page.row({"first", "last", "pages", "bytes that differ", "what"}, "th");
  page.body += "</thead><tbody>\n";
  size_t rows = 0;
  for (const PageDiff& run : memory.runs) {
    if (run.kind == PageDiff::Kind::equal || ++rows > kMaxRows) continue;
    const uint64_t first = run.first * kPageSize;
    page.row({fmt::format("{:#018x}", first), fmt::format("{:#018x}", first + (run.count * kPageSize - 1)),
              std::to_string(run.count), run.kind == PageDiff::Kind::differs ? std::to_string(run.bytes) : "",
              describe(run.kind)});
  }
  page.body += "</tbody></table></div>\n";
  if (rows == 0) page.body += "<p>None.</p>\n";
  if (rows > kMaxRows)
    page.body += fmt::format("<p class=\"warn\">{} in all; the text and --json list them.</p>\n", rows);
}

std::string hex_bytes(const PageBytes& page, size_t from) {
  std::string text;
  for (size_t i = from; i < std::min<size_t>(from + kSampleBytes, kPageSize); ++i)
    text += fmt::format("{}{}", i == from ? "" : " ", page.present[i] ? fmt::format("{:02x}", page.bytes[i]) : "??");
  return text;
}

/// Of pages that differ: [page, bytes that do, the first one's offset, A's and B's bytes from there on].
void write_samples(llvm::json::OStream& data, const DiffReport& report) {
  size_t left = kMaxSamples;
  PageBytes a, b;
  data.attributeArray("differing", [&] {
    for (const PageDiff& run : report.diff.memory.runs) {
      for (uint64_t n = 0; run.kind == PageDiff::Kind::differs && n < run.count && left > 0; ++n, --left) {
        read_page(report.a, run.first + n, a);
        read_page(report.b, run.first + n, b);
        size_t count = 0, first = 0;
        for (size_t i = 0; i < kPageSize; ++i)
          if (a.present[i] && b.present[i] && a.bytes[i] != b.bytes[i] && count++ == 0) first = i;
        data.value(llvm::json::Array{run.first + n, count, first, hex_bytes(a, first), hex_bytes(b, first)});
      }
    }
  });
}

}  // namespace

int write_diff_html(const Job& job, const DiffReport& report, const std::string& path) {
  const DumpDiff& diff = report.diff;
  HtmlPage page;
  page.title = fmt::format("{} \u2192 {}", report.a.path(), report.b.path());
  page.lead = diff.identical()
                  ? "No difference."
                  : fmt::format("{}, {} of {} compared",
                                counted(diff.differing_registers(), "register differs", "registers differ"),
                                counted(diff.memory.of(PageDiff::Kind::differs), "page", "pages"),
                                diff.memory.of(PageDiff::Kind::differs) + diff.memory.of(PageDiff::Kind::equal));
  page.path = report.a.path();
  page.other = report.b.path();
  page.body += "<div class=\"cols\">\n";
  for (const auto& [name, guest] : {std::pair{"A", &report.guest_a}, {"B", &report.guest_b}}) {
    page.body += fmt::format("<div><h3>{}: {}</h3><dl class=\"facts\">\n", name, escape(guest->dump().path()));
    for (const auto& [what, value] : headline(*guest))
      page.body += fmt::format("<dt>{}</dt><dd>{}</dd>\n", escape(what), escape(value));
    page.body += "</dl></div>\n";
  }
  page.body += "</div>\n";
  if (!report.remarks.empty()) page.body += "<ul class=\"warnings\">\n";
  for (const std::string& remark : report.remarks) page.body += "<li>" + escape(remark) + "</li>\n";
  if (!report.remarks.empty()) page.body += "</ul>\n";

  std::vector<MapKind> kinds(kDescribed.begin(), kDescribed.end());
  std::vector<PageRun> memory;
  for (const PageDiff& run : diff.memory.runs) memory.push_back({run.first, run.count, PageRun::State::data});
  Cells cells(memory);
  for (const PageDiff& run : diff.memory.runs) {
    cells.set(run.first, run.count, kind_of(run.kind));
    kinds[kind_of(run.kind)].pages += run.count;
  }
  llvm::raw_string_ostream text(page.data);
  {
    llvm::json::OStream data(text);
    data.object([&] {
      if (memory.empty()) return;
      kinds[kAbsent].pages = cells.count(kAbsent);
      add_map(page, kinds);
      write_map(data, kinds, cells, false);
      write_samples(data, report);
    });
  }
  add_registers(page, diff);
  add_ranges(page, diff.memory);
  return write_page(job, page, path, {report.a.path(), report.b.path()});
}

}  // namespace gcore::tools::inspect
