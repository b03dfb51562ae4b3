#include "tools/gcore-inspect/html/memory.h"

#include <fmt/format.h>
#include <llvm/Support/JSON.h>

#include <algorithm>
#include <array>

#include "tools/common/progress.h"
#include "tools/gcore-inspect/facts/cells.h"

namespace gcore::tools::inspect {
namespace {

// Leaves room for the rest below 5 MiB.
constexpr size_t kMapLimit = 2 << 20;

/// Where pages share a cell, the kind that stands further down is shown.
enum Kind : uint8_t {
  kAbsent,
  kZero,
  kDuplicate,
  kData,
  kText,
  kRandom,
  kCode,
  kPageTable,
  kPartial,
  kMissing,
  kKinds
};

constexpr std::array<MapKind, kKinds> kDescribed = {{
    {"absent", "no memory", "the guest has no memory there"},
    {"zero", "zero", "nothing but zeros"},
    {"duplicate", "duplicate", "equal to a page at a lower address"},
    {"data", "data", "none of the others"},
    {"text", "text", "printable characters for the most part"},
    {"random", "high entropy", "at least 7.5 bits a byte: compressed, encrypted or random"},
    {"code", "code", "executable and not writable for a vCPU"},
    {"page-table", "page table", "a table that a vCPU's address translation uses"},
    {"partial", "partial", "only a part of the page is memory, or in the dump"},
    {"missing", "missing", "the guest has memory there, which the dump lacks"},
}};

bool holds(const std::vector<Marks::Span>& spans, uint64_t page) {
  const auto next = std::ranges::upper_bound(spans, page, {}, &Marks::Span::first);
  return next != spans.begin() && page - std::prev(next)->first < std::prev(next)->count;
}

Kind kind_of(Content content, bool duplicate, const Marks& marks, uint64_t page) {
  if (content == Content::missing) return kMissing;
  if (content == Content::partial) return kPartial;
  if (holds(marks.tables, page)) return kPageTable;
  if (content == Content::zero) return kZero;
  if (holds(marks.code, page)) return kCode;
  if (duplicate) return kDuplicate;
  return content == Content::text ? kText : content == Content::random ? kRandom : kData;
}

void paint(const Scan& scan, const Marks& marks, Cells& cells, MemoryLook& look) {
  const auto duplicates = find_duplicates(scan);
  for (size_t i = 0; i < scan.runs.size(); ++i) {
    const PageRun& run = scan.runs[i];
    const LookedAt& looks = scan.looks[i];
    if (run.state != PageRun::State::data) {
      const Kind kind = run.state == PageRun::State::zero ? kZero : kMissing;
      cells.set(run.first, run.count, kind);
      look.kinds[kind].pages += run.count;
      continue;
    }
    for (size_t n = 0; n < looks.contents.size(); ++n) {
      const Kind kind = kind_of(looks.contents[n], duplicates[i][n], marks, run.first + n);
      const unsigned entropy = looks.entropies[n];
      cells.set(run.first + n, 1, static_cast<uint8_t>(kind | std::min(entropy / 8, 15U) << 4));
      ++look.kinds[kind].pages;
      if (looks.contents[n] == Content::zero || kind == kMissing || kind == kPartial) continue;
      ++look.entropies[std::min(entropy / 8, 15U)];
      ++look.looked_at;
    }
  }
}

void add_entropy_chart(HtmlPage& page, const MemoryLook& look) {
  if (look.looked_at == 0) return;
  constexpr int kWidth = 34, kHeight = 120, kLeft = 8;
  const uint64_t most = *std::ranges::max_element(look.entropies);
  page.body +=
      "<div><h3>Entropy of the pages that are not zero</h3>\n<svg viewBox=\"0 0 560 168\" width=\"100%\" "
      "style=\"max-width:560px\" role=\"img\" aria-label=\"Histogram of entropy in bits a byte\">\n";
  for (size_t i = 0; i < look.entropies.size(); ++i) {
    const double height = static_cast<double>(look.entropies[i]) / static_cast<double>(most) * kHeight;
    const int x = kLeft + static_cast<int>(i) * kWidth;
    const double share = 100.0 * static_cast<double>(look.entropies[i]) / static_cast<double>(look.looked_at);
    page.body += fmt::format(
        "<rect x=\"{}\" y=\"{:.1f}\" width=\"{}\" height=\"{:.1f}\" rx=\"2\" fill=\"var(--k-{})\"><title>{:.1f} to "
        "{:.1f} "
        "bits a byte: {}, {:.1f} %</title></rect>",
        x, 10 + kHeight - height, kWidth - 3, std::max(height, look.entropies[i] != 0 ? 1.0 : 0.0),
        i == 15 ? "random" : "data", static_cast<double>(i) / 2, static_cast<double>(i + 1) / 2,
        counted(look.entropies[i], "page", "pages"), share);
    if (i % 2 == 0) page.body += fmt::format("<text x=\"{}\" y=\"146\">{}</text>", x, i / 2);
  }
  page.body += fmt::format(
      "<text x=\"{}\" y=\"146\">8</text><text x=\"{}\" y=\"164\">bits a byte; the highest bar is "
      "{}</text></svg></div>\n",
      kLeft + 16 * kWidth - 8, kLeft, counted(most, "page", "pages"));
}

}  // namespace

void Marks::complete() {
  for (std::vector<Span>* spans : {&code, &tables}) {
    std::ranges::sort(*spans, {}, &Span::first);
    std::vector<Span> merged;
    for (const Span& span : *spans) {
      if (!merged.empty() && span.first <= merged.back().first + merged.back().count)
        merged.back().count = std::max(merged.back().count, span.first + span.count - merged.back().first);
      else
        merged.push_back(span);
    }
    *spans = std::move(merged);
  }
}

void write_map(llvm::json::OStream& data, std::span<const MapKind> kinds, Cells& cells, bool entropy) {
  const std::string runs = cells.encode(kMapLimit);
  data.attributeObject("map", [&] {
    data.attributeArray("kinds", [&] {
      for (const MapKind& kind : kinds)
        data.value(llvm::json::Object{{"id", kind.id}, {"name", kind.name}, {"about", kind.about}});
    });
    data.attribute("shift", cells.shift());
    data.attribute("cells", cells.size());
    data.attribute("entropy", entropy);
    data.attributeArray("stretches", [&] {
      for (const Cells::Stretch& stretch : cells.stretches())
        data.value(llvm::json::Object{
            {"page", stretch.page}, {"pages", stretch.pages}, {"cell", stretch.cell}, {"gap", stretch.gap}});
    });
    data.attribute("runs", runs);
  });
}

void add_memory_look(HtmlPage& page, const Job& job, const Marks& marks, llvm::json::OStream& data) {
  Scan scan;
  {
    Progress progress(job.program, "read memory", data_bytes(page_runs(job.dump, kPageSize)),
                      progress_wanted(job.program));
    scan = scan_pages(job.dump, true, progress);
  }
  if (scan.runs.empty()) return;
  MemoryLook look{{kDescribed.begin(), kDescribed.end()}, std::vector<uint64_t>(16), 0};
  Cells cells(scan.runs);
  paint(scan, marks, cells, look);
  look.kinds[kAbsent].pages = cells.count(kAbsent);
  add_map(page, look.kinds);
  add_entropy_chart(page, look);
  write_map(data, look.kinds, cells, true);
}

}  // namespace gcore::tools::inspect
