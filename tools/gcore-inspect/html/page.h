// A page in the making. Whatever comes from a dump or from the command line goes through escape() or into the JSON.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {

/// The text with &, <, > and quotation marks as entities, and what is no printable UTF-8 as \xNN.
std::string escape(std::string_view text);
/// The same with tabs and ends of lines, of messages; for what has the class `pre`, which shows them.
std::string escape_lines(std::string_view text);

struct HtmlPage {
  std::string title, lead;       // text
  std::string navigation, body;  // HTML
  std::string data;              // JSON, for the script
  std::string path, other;       // of the dump, and of a diff's second one, for commands that the page offers

  void section(std::string_view id, std::string_view heading);
  /// A row of a table; each cell is text.
  void row(std::initializer_list<std::string> cells, std::string_view tag = "td");
};

/// The dump's guest-physical memory: a bar, a legend and the frame of the picture. The first kind is "no memory", which
/// is in the legend alone.
struct MapKind {
  const char *id, *name, *about;
  uint64_t pages = 0;
};
void add_map(HtmlPage& page, std::span<const MapKind> kinds);

/// Writes the whole page to `path`, "-" being standard output, or nothing: what was there stays until the page is
/// complete. Files other than pages are not replaced, `dumps` (paths) least of all.
int write_page(const Job& job, const HtmlPage& page, const std::string& path, std::initializer_list<std::string> dumps);

}  // namespace gcore::tools::inspect
