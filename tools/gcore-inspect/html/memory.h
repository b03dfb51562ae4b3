// The parts of the page that take a look at all of memory.
#pragma once

#include <vector>

#include "tools/gcore-inspect/facts/memory_pages.h"
#include "tools/gcore-inspect/facts/spaces.h"
#include "tools/gcore-inspect/html/page.h"

namespace llvm::json {
class OStream;
}

namespace gcore::tools::inspect {

/// What the page tables say of pages of guest-physical memory, by page number; sorted once complete.
struct Marks {
  struct Span {
    uint64_t first = 0, count = 0;
  };
  std::vector<Span> code, tables;
  void complete();
};

struct MemoryLook {
  std::vector<MapKind> kinds;       // the first is "no memory"; values of cells are indices
  std::vector<uint64_t> entropies;  // pages that are not zero, by entropy in steps of 1/2 bit, 0 to 8
  uint64_t looked_at = 0;           // those pages
};

/// Scans memory, adds the picture's frame and the chart of the entropy to the page.
void add_memory_look(HtmlPage& page, const Job& job, const Marks& marks, llvm::json::OStream& data);

/// The member "map" of the page's data.
class Cells;
void write_map(llvm::json::OStream& data, std::span<const MapKind> kinds, Cells& cells, bool entropy);

}  // namespace gcore::tools::inspect
