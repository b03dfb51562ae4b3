#include "tools/gcore-inspect/html/page.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <llvm/Support/Base64.h>
#include <llvm/Support/SHA256.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <span>

#include "tools/common/whole_file.h"
#include "tools/gcore-inspect/facts/memory_pages.h"
#include "writer/base/text.h"
#include "writer/base/unique_fd.h"

extern "C" const char gcore_page_css[], gcore_page_css_end[], gcore_page_js[], gcore_page_js_end[];

namespace gcore::tools::inspect {
namespace {

constexpr std::string_view kStart = "<!DOCTYPE html>";
constexpr mode_t kMode = 0600;  // as of a dump: a page has the guest's secrets

std::string_view style() { return {gcore_page_css, static_cast<size_t>(gcore_page_css_end - gcore_page_css)}; }
std::string_view script() { return {gcore_page_js, static_cast<size_t>(gcore_page_js_end - gcore_page_js)}; }

/// Names the one script that the browser may run: text of a guest that became markup in spite of all could do nothing.
std::string policy() {
  const auto hash =
      llvm::SHA256::hash(llvm::ArrayRef<uint8_t>(reinterpret_cast<const uint8_t*>(script().data()), script().size()));
  return "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-" + llvm::encodeBase64(hash) + "'";
}

/// JSON is no markup, but `</script>` in it would end the element that holds it.
std::string in_script(std::string_view json) {
  std::string out;
  out.reserve(json.size());
  for (const char c : json) {
    if (c == '<')
      out += "\\u003c";
    else
      out += c;
  }
  return out;
}

std::string whole(const HtmlPage& page) {
  std::string out;
  out.reserve(page.body.size() + page.data.size() + (64 << 10));
  out += kStart;
  out += "\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n";
  out += fmt::format("<meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n", policy());
  out += "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n";
  out += fmt::format("<title>{}</title>\n<style>\n{}</style></head><body>\n", escape(page.title), style());
  out +=
      fmt::format("<header><div><b>{}</b><nav aria-label=\"Sections\">{}</nav>", escape(page.title), page.navigation);
  out +=
      "<input id=\"search\" type=\"search\" placeholder=\"address or text  ( / )\" aria-label=\"Search in this page\" "
      "autocomplete=\"off\" spellcheck=\"false\"><button id=\"theme\" type=\"button\" title=\"light or dark (t)\">"
      "\u25D0</button><div id=\"results\" hidden></div></div></header>\n";
  out += fmt::format("<main><h1>{}</h1>\n<p class=\"lead\">{}</p>\n", escape(page.title), escape(page.lead));
  out +=
      "<p id=\"keys\" class=\"card\" hidden>Keys: <b>/</b> search, <b>m</b> memory map, <b>t</b> light or dark, "
      "<b>?</b> "
      "this line. In a picture: arrows move, <b>+</b> and <b>\u2212</b> zoom, Enter zooms in, Escape shows all; the "
      "wheel "
      "zooms once the picture has been clicked, a drag moves, a double click zooms in.</p>\n";
  out +=
      "<noscript><p class=\"warn\">The pictures, the search and the lists of mapped ranges need "
      "JavaScript.</p></noscript>\n";
  out += page.body;
  out += fmt::format(
      "<p class=\"dim\">Made by gcore-inspect {}. <span class=\"noprint\">Keys: press ?</span></p></main>\n",
      GCORE_VERSION);
  out += "<div id=\"tip\" role=\"tooltip\" hidden></div>\n";
  out += fmt::format("<script type=\"application/json\" id=\"data\" data-path=\"{}\" data-other=\"{}\">",
                     escape(page.path), escape(page.other));
  out += in_script(page.data);
  out += fmt::format("</script>\n<script>{}</script>\n</body></html>\n", script());
  return out;
}

bool same_file(const struct stat& one, const std::string& path) {
  struct stat other{};
  return stat(path.c_str(), &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

/// May the file be replaced: it is empty, or a page already.
bool replaceable(const std::string& path) {
  const base::UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return false;
  char begin[kStart.size()];
  const ssize_t got = read(file.get(), begin, sizeof begin);
  return got == 0 || (got == static_cast<ssize_t>(kStart.size()) && std::string_view(begin, kStart.size()) == kStart);
}

}  // namespace

std::string escape(std::string_view text) { return base::escape_markup(printable(text)); }

std::string escape_lines(std::string_view text) {
  std::string lines;
  for (size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
    lines += base::printable(text.substr(0, end), base::Printable::utf8_and_tabs) + '\n';
    text.remove_prefix(end + 1);
  }
  return base::escape_markup(lines + base::printable(text, base::Printable::utf8_and_tabs));
}

void HtmlPage::section(std::string_view id, std::string_view heading) {
  navigation += fmt::format("<a href=\"#{}\">{}</a>", id, escape(heading));
  body += fmt::format("<h2 id=\"{}\">{}</h2>\n", id, escape(heading));
}

void HtmlPage::row(std::initializer_list<std::string> cells, std::string_view tag) {
  body += "<tr>";
  for (const std::string& cell : cells) body += fmt::format("<{0}>{1}</{0}>", tag, escape(cell));
  body += "</tr>\n";
}

void add_map(HtmlPage& page, std::span<const MapKind> kinds) {
  uint64_t total = 0;
  for (const MapKind& kind : kinds.subspan(1)) total += kind.pages;
  page.section("memory", "Guest-physical memory");
  std::string bar, legend;
  const auto explain = [&](size_t i, const std::string& text) {
    legend += fmt::format(
        "<button type=\"button\" data-kind=\"{}\" aria-pressed=\"false\" title=\"{}\"><span class=\"swatch\" "
        "style=\"background:var(--k-{})\"></span>{} <span class=\"dim\">{}</span></button>",
        i, escape(kinds[i].about), kinds[i].id, kinds[i].name, text);
  };
  for (size_t i = 1; i < kinds.size(); ++i) {
    const MapKind& kind = kinds[i];
    if (kind.pages == 0) continue;
    const double share = 100.0 * static_cast<double>(kind.pages) / static_cast<double>(total);
    const std::string text =
        fmt::format("{}, {}, {}", counted(kind.pages, "page", "pages"), human_size(kind.pages * kPageSize),
                    share < 0.05 ? "under 0.1 %" : fmt::format("{:.1f} %", share));
    bar += fmt::format("<i style=\"width:{:.4f}%;background:var(--k-{})\" title=\"{}: {}\"></i>", share, kind.id,
                       kind.name, text);
    explain(i, text);
  }
  if (kinds[0].pages != 0) explain(0, "");
  page.body += fmt::format("<div class=\"stack\">{}</div>\n<div class=\"legend\">{}</div>\n", bar, legend);
  page.body +=
      "<div class=\"tools\"><button id=\"map-in\" type=\"button\">zoom in</button><button id=\"map-out\" "
      "type=\"button\">zoom out</button><button id=\"map-all\" type=\"button\">all</button><span class=\"where m dim\" "
      "id=\"map-where\"></span></div>\n<div class=\"map\"><canvas id=\"map\" tabindex=\"0\" role=\"img\" "
      "aria-label=\"Guest-physical memory, page by page. Arrow keys move, plus and minus zoom.\"></canvas></div>\n"
      "<div class=\"detail\" id=\"map-detail\" aria-live=\"polite\"><span class=\"dim\">Click a page, or choose the "
      "picture and use the arrow keys. A double click, the wheel, + and \u2212 zoom down to single pages. A click on a "
      "kind above shows that kind alone.</span></div>\n";
}

int write_page(const Job& job, const HtmlPage& page, const std::string& path,
               std::initializer_list<std::string> dumps) {
  if (path == "-") {
    const std::string text = whole(page);
    std::fwrite(text.data(), 1, text.size(), stdout);  // run_program looks for errors
    return kExitDone;
  }
  const std::string attempted = "write " + printable(path);
  struct stat there{};
  if (stat(path.c_str(), &there) == 0) {
    for (const std::string& dump : dumps)
      if (same_file(there, dump)) return job.program.fail(attempted, "that is the dump itself");
    if (S_ISDIR(there.st_mode)) return job.program.fail(attempted, "it is a folder; name a file in it");
    if (S_ISREG(there.st_mode) && !replaceable(path))
      return job.program.fail(attempted, "it exists and is no page, so it is not replaced; give another name");
  }
  const std::string text = whole(page);
  const std::string why = write_whole_file(path, std::as_bytes(std::span(text)), kMode);
  return why.empty() ? kExitDone : job.program.fail(attempted, why);
}

}  // namespace gcore::tools::inspect
