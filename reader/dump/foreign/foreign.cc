#include "reader/dump/foreign/foreign.h"

#include <utility>

namespace gcore::reader {

bool is_foreign(std::span<const std::byte> start) { return is_saved_guest(start) || is_lime(start); }

Expected<ForeignDump> open_foreign(std::unique_ptr<Source> source, std::span<const std::byte> start,
                                   const std::optional<MemoryMap>& map) {
  return is_lime(start) ? open_lime(std::move(source)) : open_saved_guest(std::move(source), start, map);
}

}  // namespace gcore::reader
