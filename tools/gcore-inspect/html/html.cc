// --html: a page that can be attached to a report. It needs no other file and no network.
#include <fmt/format.h>
#include <llvm/Support/JSON.h>
#include <llvm/Support/raw_ostream.h>

#include <algorithm>
#include <map>

#include "reader/guest/guest_system.h"
#include "tools/gcore-inspect/facts/backtrace.h"
#include "tools/gcore-inspect/facts/guest.h"
#include "tools/gcore-inspect/facts/linux_guest.h"
#include "tools/gcore-inspect/facts/spaces.h"
#include "tools/gcore-inspect/html/linux.h"
#include "tools/gcore-inspect/html/memory.h"
#include "tools/gcore-inspect/html/page.h"
#include "tools/gcore-inspect/html/qnx.h"
#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {
namespace {

namespace json = llvm::json;

// A page is read by a person, and has to stay small: what is beyond is counted, and the text modes have it.
constexpr size_t kMaxRanges = 20000, kMaxParts = 50000, kMaxNotable = 24, kMaxColumns = 32, kMaxTraces = 64,
                 kMaxSegments = 1000, kMaxLines = 100, kMaxGlance = 16;

std::string hex(uint64_t value) { return fmt::format("{:#018x}", value); }

void add_facts(HtmlPage& page, const Job& job) {
  page.body += "<dl class=\"facts\">\n";
  for (const auto& [name, value] : headline(job.guest))
    page.body += fmt::format("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(value));
  for (const auto& [name, value] : linux_facts(job))
    page.body += fmt::format("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(value));
  page.body += "</dl>\n";
}

void add_warnings(HtmlPage& page, const reader::Dump& dump) {
  std::vector<std::string> all = defects(dump);
  for (const Gap& gap : gaps(dump))
    all.push_back(fmt::format("{} at {} missing: {}", human_size(gap.size), hex(gap.address.value), gap.why));
  if (all.empty()) return;
  page.section("warnings", "Warnings");
  page.body += "<ul class=\"warnings\">\n";
  for (size_t i = 0; i < all.size() && i < kMaxLines; ++i) page.body += "<li>" + escape(all[i]) + "</li>\n";
  if (all.size() > kMaxLines)
    page.body += fmt::format("<li>{} more, which --verify and --json have</li>\n", all.size() - kMaxLines);
  page.body += "</ul>\n";
}

/// The vCPUs that get a column: the first ones, and the one at fault.
std::vector<const reader::Cpu*> chosen(const reader::Dump& dump, size_t most) {
  std::vector<const reader::Cpu*> cpus;
  for (const reader::Cpu& cpu : dump.cpus())
    if (cpu.index < most || cpu.index == dump.faulting_cpu()) cpus.push_back(&cpu);
  return cpus;
}

std::string hex_or_unknown(std::optional<uint64_t> value) { return value ? hex(*value) : "not in the dump"; }

/// Where each vCPU was, in a line each: what one looks for first.
void add_glance(HtmlPage& page, const Job& job) {
  const reader::Dump& dump = job.dump;
  if (dump.cpus().empty()) return;
  const bool process = std::ranges::any_of(dump.cpus(), [](const auto& cpu) { return !cpu.process_name.empty(); });
  const auto shown = chosen(dump, kMaxGlance);
  const bool any_place = job.symbols != nullptr || std::ranges::any_of(shown, [&](const auto* cpu) {
                           return !where_and_what(job, *cpu).empty();
                         });
  page.body += "<div class=\"scroll\"><table class=\"glance\"><thead><tr><th>vCPU</th><th>mode</th><th>pc</th>";
  page.body += fmt::format("{}<th>{}</th></tr></thead><tbody>\n", process ? "<th>process</th>" : "",
                           any_place ? "at" : "address space");
  for (const reader::Cpu* cpu : shown) {
    const bool faulted = at_fault(dump, *cpu);
    const auto space = quick_space(job.guest, cpu->index);
    const std::string at = any_place ? where_and_what(job, *cpu) : space ? space->describe() : "unknown";
    page.body += fmt::format("<tr{}><td>{}{}</td><td>{}</td><td>{}</td>", faulted ? " class=\"fault\"" : "", cpu->index,
                             faulted ? ", at fault" : "", escape(state_name(job.guest, *cpu)),
                             hex_or_unknown(program_counter(*cpu)));
    if (process) page.body += "<td>" + escape(cpu->process_name) + "</td>";
    page.body += "<td>" + escape(at) + "</td></tr>\n";
  }
  page.body += "</tbody></table></div>\n";
  if (shown.size() < dump.cpus().size())
    page.body +=
        fmt::format("<p class=\"dim\">{} more; --registers shows them all.</p>\n", dump.cpus().size() - shown.size());
}

/// Registers of all columns, in the order in which they are shown.
struct Row {
  std::string name;
  std::vector<RegisterRow> cells;  // a column each; empty value: the dump does not have it
};
struct Block {
  std::string title;
  bool more = false;
  std::vector<Row> rows;
};

template <class T, class Name>
T& found_or_added(std::vector<T>& all, const std::string& name, Name T::* member) {
  const auto there = std::ranges::find(all, name, member);
  if (there != all.end()) return *there;
  all.emplace_back();
  all.back().*member = name;
  return all.back();
}

std::vector<Block> blocks_of(const std::vector<const reader::Cpu*>& cpus) {
  std::vector<Block> blocks;
  for (size_t column = 0; column < cpus.size(); ++column) {
    std::vector<std::string> absent;
    for (const RegisterGroup& group : register_groups(*cpus[column], true, absent)) {
      Block& block = found_or_added(blocks, group.title, &Block::title);
      block.more = group.more;
      for (const RegisterRow& cell : group.rows) {
        Row& row = found_or_added(block.rows, cell.name, &Row::name);
        row.cells.resize(cpus.size());
        row.cells[column] = cell;
      }
    }
  }
  return blocks;
}

/// The value that most columns have; nothing when no two agree.
std::optional<std::string> usual(const Row& row) {
  std::map<std::string, size_t> votes;
  for (const RegisterRow& cell : row.cells) ++votes[cell.value];
  const auto most = std::ranges::max_element(votes, {}, [](const auto& vote) { return vote.second; });
  return most->second > 1 ? std::optional(most->first) : std::nullopt;
}

void add_register_row(HtmlPage& page, const Row& row) {
  const bool differs =
      std::ranges::any_of(row.cells, [&](const RegisterRow& cell) { return cell.value != row.cells[0].value; });
  const auto most = usual(row);
  page.body += fmt::format("<tr class=\"{}\"><td>{}</td>", differs ? "differs" : "same", escape(row.name));
  for (const RegisterRow& cell : row.cells) {
    page.body += fmt::format("<td{}>{}", differs && most && cell.value != *most ? " class=\"odd\"" : "",
                             cell.value.empty() ? "<span class=\"dim\">not in the dump</span>" : escape(cell.value));
    if (!cell.flags.empty()) page.body += fmt::format("<span class=\"flags\">{}</span>", escape(cell.flags));
    page.body += "</td>";
  }
  page.body += "</tr>\n";
}

void add_cpus(HtmlPage& page, const Job& job) {
  const reader::Dump& dump = job.dump;
  if (dump.cpus().empty()) return;
  const auto cpus = chosen(dump, kMaxColumns);
  page.section("vcpus", "vCPUs");
  page.body += "<div class=\"tools\">";
  if (cpus.size() > 1)
    page.body +=
        "<button id=\"toggle-differing\" type=\"button\" aria-pressed=\"false\">only registers that differ</button>";
  page.body +=
      "<button id=\"toggle-fpu\" type=\"button\" aria-pressed=\"false\">descriptors, floating point and vectors "
      "too</button>";
  if (cpus.size() > 1)
    page.body += "<span class=\"dim\">\u25C6 the vCPUs differ; <b style=\"color:var(--accent)\">unlike most</b></span>";
  page.body += "</div>\n<div class=\"scroll\"><table class=\"regs\"><thead><tr><th></th>";
  for (const reader::Cpu* cpu : cpus) {
    const bool faulted = at_fault(dump, *cpu);
    page.body += fmt::format("<th{}>vCPU {}{}<br>{}", faulted ? " class=\"fault\"" : "", cpu->index,
                             faulted ? ", at fault" : "", escape(state_name(job.guest, *cpu)));
    if (!cpu->process_name.empty()) page.body += "<br>" + escape(cpu->process_name);
    if (const std::string at = where_and_what(job, *cpu); !at.empty()) page.body += "<br>" + escape(at);
    page.body += "</th>";
  }
  page.body += "</tr></thead>\n";
  for (const Block& block : blocks_of(cpus)) {
    page.body += fmt::format("<tbody{}><tr><th colspan=\"{}\">{}</th></tr>\n",
                             block.more ? " class=\"fpu\" hidden" : "", cpus.size() + 1, escape(block.title));
    for (const Row& row : block.rows) add_register_row(page, row);
    page.body += "</tbody>\n";
  }
  page.body += "</table></div>\n";
  if (cpus.size() < dump.cpus().size())
    page.body += fmt::format("<p class=\"dim\">{} in all; --registers shows them.</p>\n",
                             counted(dump.cpus().size(), "vCPU", "vCPUs"));
}

void add_backtraces(HtmlPage& page, const Job& job) {
  if (job.dump.cpus().empty()) return;
  page.section("backtraces", "Backtraces");
  page.body += "<div class=\"cols\">\n";
  for (const reader::Cpu* cpu : chosen(job.dump, kMaxTraces)) {
    const Backtrace trace = backtrace(job, *cpu);
    page.body += fmt::format("<div class=\"card\"><h3>vCPU {}</h3><ol class=\"frames\" start=\"0\">\n", cpu->index);
    for (const Frame& frame : trace.frames) {
      if (frame.functions.empty())
        page.body += fmt::format("<li>{} {}<b>{}</b></li>\n", hex(frame.pc), frame.is_guess ? "? " : "",
                                 frame.place.empty() ? "?" : escape(frame.place));
      for (const SourceFrame& function : frame.functions)
        page.body += fmt::format("<li>{} <b>{}</b>{}<span class=\"dim\">{}</span></li>\n", hex(frame.pc),
                                 escape(function.function), function.inlined ? " (inlined)" : "",
                                 function.line == 0 ? "" : fmt::format("{}:{}", escape(function.file), function.line));
    }
    page.body += "</ol>";
    if (trace.user_pc) page.body += fmt::format("<p class=\"dim\">from user mode, {}</p>", hex(*trace.user_pc));
    if (!trace.why.empty()) page.body += fmt::format("<p class=\"dim\">no further: {}</p>", escape(trace.why));
    page.body += "</div>\n";
  }
  page.body += "</div>\n";
  if (job.symbols == nullptr)
    page.body += job.linux_guest.kernel_or_null() != nullptr
                     ? "<p class=\"dim\">With --symbols, functions have source lines.</p>\n"
                     : "<p class=\"dim\">With --symbols, functions have names and source lines.</p>\n";
}

void add_segments(HtmlPage& page, const reader::Dump& dump, json::OStream& data) {
  const auto segments = dump.segments();
  page.section("segments", "Segments of the file");
  page.body += "<div class=\"scroll\"><table><thead>";
  page.row({"first", "last", "size", "in file", "file offset"}, "th");
  page.body += "</thead><tbody>\n";
  for (const reader::Segment& segment : segments.first(std::min(segments.size(), kMaxSegments)))
    page.row({hex(segment.address.value), hex(segment.address.value + (segment.memory_size - 1)),
              human_size(segment.memory_size), human_size(dump.bytes_in_file(segment)),
              dump.has_file_offsets() ? hex(segment.offset.value) : "-"});
  page.body += "</tbody></table></div>\n";
  if (segments.size() > kMaxSegments)
    page.body += fmt::format("<p class=\"dim\">{} in all; --segments lists them.</p>\n", segments.size());
  data.attributeArray("segments", [&] {
    if (!dump.has_file_offsets()) return;
    for (const reader::Segment& segment : segments.first(std::min(segments.size(), kMaxSegments)))
      data.value(json::Array{hex(segment.address.value), hex(dump.bytes_in_file(segment)), hex(segment.offset.value)});
  });
}

/// Goes along ascending ranges and tells those of the kernel's image: from where it starts on, over gaps that boot-time
/// code left when it was freed.
class ImageRanges {
 public:
  explicit ImageRanges(const reader::Guest& guest) : start_(guest.system().image_address) {}
  bool holds(const Range& range) {
    constexpr uint64_t kGap = 16 << 20, kMost = 512 << 20;
    if (!start_ || range.last() < *start_ || range.last().value - start_->value > kMost) return false;
    if (end_ ? range.start.value - *end_ > kGap : range.start > *start_) return false;
    end_ = range.last().value;
    return true;
  }

 private:
  std::optional<reader::VirtAddr> start_;
  std::optional<uint64_t> end_;
};

/// What an address space's listing gives besides the list itself.
struct SpaceLook {
  uint64_t ranges = 0, listed = 0;
  std::map<uint64_t, uint64_t> bytes_by_page_size;
  std::vector<std::pair<Range, std::string>> notable;  // those with findings, and the kernel's image; not all of them
  uint64_t more_notable = 0;
  std::vector<Finding> findings;
  reader::Listing listing;

  void add_notable(const Range& range, const std::string& why) {
    if (notable.size() < kMaxNotable)
      notable.emplace_back(range, why);
    else
      ++more_notable;
  }
};

std::string page_text(const Range& range) { return range.page_size == 0 ? "-" : page_size_name(range.page_size); }

void add_page_sizes(HtmlPage& page, const SpaceLook& look) {
  uint64_t most = 1;
  for (const auto& [size, bytes] : look.bytes_by_page_size) most = std::max(most, bytes);
  page.body += "<div class=\"bars\">";
  for (const auto& [size, bytes] : look.bytes_by_page_size)
    page.body += fmt::format("<span>{} pages</span><i style=\"width:{:.3f}%\"></i><span>{}</span>",
                             size == 0 ? "no" : page_size_name(size),
                             100.0 * static_cast<double>(bytes) / static_cast<double>(most), human_size(bytes));
  page.body += "</div>\n";
}

void add_notable(HtmlPage& page, const SpaceLook& look) {
  if (look.notable.empty()) return;
  page.body += "<div class=\"scroll\"><table class=\"notable\"><thead>";
  page.row({"first", "last", "size", "permissions", "page", "guest-physical", "what"}, "th");
  page.body += "</thead><tbody>\n";
  for (const auto& [range, why] : look.notable)
    page.row({hex(range.start.value), hex(range.last().value), size_text(range), to_string(range.permissions),
              page_text(range), range.physical ? hex(range.physical->value) : "scattered", why});
  page.body += "</tbody></table></div>\n";
  if (look.more_notable != 0)
    page.body += fmt::format("<p class=\"dim\">{} more such ranges; --map marks them.</p>\n", look.more_notable);
}

void add_space(HtmlPage& page, size_t number, const Spaces::Entry& entry, const SpaceLook& look) {
  std::string who;
  for (const size_t cpu : entry.cpus) who += fmt::format("{}{}", who.empty() ? "" : ", ", cpu);
  page.body += fmt::format("<div id=\"space-{}\"><h3>{} (vCPU {})</h3>\n", number, escape(entry.space.describe()), who);
  if (!look.findings.empty()) page.body += "<ul class=\"warnings\">";
  for (const Finding& finding : look.findings) page.body += "<li>" + escape(describe(finding)) + "</li>";
  if (!look.findings.empty()) page.body += "</ul>\n";
  const char* hidden = look.ranges == 0 ? " hidden" : "";
  if (look.ranges == 0)
    page.body += fmt::format("<p class=\"warn\">No range of it can be shown{}.</p>\n",
                             look.listing.note.empty() ? ": its tables map nothing" : ": " + escape(look.listing.note));
  else if (!look.listing.note.empty())
    page.body += "<p class=\"dim\">" + escape(look.listing.note) + "</p>\n";
  page.body += fmt::format(
      "<div{0}><div class=\"map\"><canvas tabindex=\"0\" role=\"img\" aria-label=\"Address space {1}: ranges from low "
      "to "
      "high addresses\"></canvas></div>\n<div class=\"detail\" aria-live=\"polite\"><span class=\"dim\">Click a "
      "range.</span></div></div>\n",
      hidden, number);
  add_page_sizes(page, look);
  add_notable(page, look);
  uint64_t total = 0;
  for (const auto& [size, bytes] : look.bytes_by_page_size) total += bytes;
  page.body += fmt::format("<details{}><summary>{}, {} mapped</summary><div class=\"scroll list\"><table><thead>",
                           hidden, counted(look.ranges, "range", "ranges"), human_size(total));
  page.row({"first", "last", "size", "permissions", "page", "guest-physical", "in the dump"}, "th");
  page.body += "</thead><tbody></tbody></table></div><button type=\"button\" class=\"more noprint\" hidden></button>\n";
  if (look.ranges > look.listed)
    page.body +=
        fmt::format("<p class=\"warn\">The first {} of them are in this page; --map lists all.</p>", look.listed);
  page.body += "</details></div>\n";
}

/// Where a range's memory is, for the page's script: an address; of a scattered range the pages of its parts, each with
/// how many follow, while there is room for them; else null.
json::Value place_value(const Range& range, size_t& room) {
  if (range.physical) return fmt::format("{:#x}", range.physical->value);
  if (range.parts.size() > room) return nullptr;
  room -= range.parts.size();
  json::Array parts;
  for (const reader::Mapping& part : range.parts) {
    parts.push_back(part.physical.value / kPageSize);
    parts.push_back(part.size / kPageSize);
  }
  return parts;
}

json::Value range_value(const Range& range, size_t& room) {
  json::Array value{fmt::format("{:#x}", range.start.value),
                    fmt::format("{:#x}", range.size),
                    to_string(range.permissions),
                    range.page_size == 0 ? json::Value(nullptr) : json::Value(page_size_name(range.page_size)),
                    place_value(range, room),
                    presence_name(range.presence)};
  if (range.count > 1) {
    value.push_back(range.count);
    value.push_back(fmt::format("{:#x}", range.stride));
  }
  return value;
}

/// Lists the ranges of one address space into the page's data, at most `most` of them.
SpaceLook look_at_space(const reader::Guest& guest, const reader::AddressSpace& space, size_t most, size_t& room,
                        ListingBudget& budget, Marks& marks, json::OStream& data) {
  SpaceLook look;
  const reader::Dump& dump = guest.dump();
  Findings findings(dump.machine(), space.paging());
  ImageRanges image(guest);
  const auto on_range = [&](const Range& range) {
    std::string why = findings.add(range);
    if (image.holds(range)) why = why.empty() ? "kernel image" : "kernel image, " + why;
    if (!why.empty()) look.add_notable(range, why);
    look.bytes_by_page_size[range.page_size] += range.bytes();
    if (space.paging() && range.permissions.execute && !range.permissions.write)
      for (const reader::Mapping& part : range.parts)
        marks.code.push_back({part.physical.value / kPageSize, part.size / kPageSize});
    look.ranges += range.count;
    if (look.listed == most) return;
    ++look.listed;
    data.value(range_value(range, room));
  };
  data.attributeArray("ranges", [&] {
    look.listing = list_ranges(dump, space, budget, on_range, [&](reader::PhysAddr table, uint64_t size) {
      marks.tables.push_back({table.value / kPageSize, (table.value % kPageSize + size - 1) / kPageSize + 1});
    });
  });
  look.findings = findings.all();
  return look;
}

void add_spaces(HtmlPage& page, const reader::Guest& guest, const Spaces& spaces, Marks& marks, json::OStream& data) {
  if (spaces.all.empty()) return;
  page.section("spaces", "Address spaces");
  page.body +=
      "<div class=\"legend\"><span><span class=\"swatch\" style=\"background:var(--p-r)\"></span> "
      "read</span><span><span "
      "class=\"swatch\" style=\"background:var(--p-rw)\"></span> read, write</span><span><span class=\"swatch\" "
      "style=\"background:var(--p-rx)\"></span> read, execute</span><span><span class=\"swatch\" "
      "style=\"background:var(--p-rwx)\"></span> write and execute</span><span class=\"dim\">upper: user mode may use "
      "it; "
      "wider ranges are larger (logarithmic)</span></div>\n";
  size_t left = kMaxRanges, room = kMaxParts;
  ListingBudget budget;
  data.attributeArray("spaces", [&] {
    for (size_t number = 0; number < spaces.all.size(); ++number) {
      const Spaces::Entry& entry = spaces.all[number];
      SpaceLook look;
      data.object([&] {
        look = look_at_space(guest, entry.space, left / (spaces.all.size() - number), room, budget, marks, data);
      });
      left -= look.listed;
      add_space(page, number, entry, look);
    }
  });
  marks.complete();
}

std::string lead_of(const reader::Guest& guest) {
  std::string lead;
  for (const auto& [name, value] : headline(guest))
    if (name == "machine" || name == "taken" || name == "signal") lead += (lead.empty() ? "" : " \u00B7 ") + value;
  return lead;
}

}  // namespace

int write_html(const Job& job, const std::string& path) {
  const reader::Dump& dump = job.dump;
  const Spaces found(job.guest);  // first: what a search of all of memory finds for them is told of the guest as well
  HtmlPage page, spaces;
  page.title = dump.info().vm.empty() ? dump.path() : dump.info().vm;
  page.lead = lead_of(job.guest);
  page.path = dump.path();
  llvm::raw_string_ostream text(page.data);
  {
    json::OStream data(text);
    data.object([&] {
      Marks marks;
      add_why(page, job);
      add_facts(page, job);
      add_glance(page, job);
      add_warnings(page, dump);
      add_linux(page, job, data);
      add_qnx(page, job, data);
      // The page tables say what is code, so they are read first; on the page memory comes first.
      add_spaces(spaces, job.guest, found, marks, data);
      add_memory_look(page, job, marks, data);
      page.body += spaces.body;
      page.navigation += spaces.navigation;
      add_cpus(page, job);
      add_backtraces(page, job);
      add_segments(page, dump, data);
    });
  }
  return write_page(job, page, path, {dump.path()});
}

}  // namespace gcore::tools::inspect
