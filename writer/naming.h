// What a dump file is called: PREFIX-YYYYMMDD-hhmmss[-N].gcore (QNX Hypervisor User's Guide, the `dump` option).
#pragma once

#include <ctime>
#include <string>
#include <string_view>

#include "writer/dump.h"
#include "writer/sink.h"

namespace gcore::writer {

/// The VM's name as file names have it: '/' and control characters become '_'; what would not fit into a file name is
/// cut off, between two characters of UTF-8; an empty one is "qvm-guest".
std::string dump_prefix(std::string_view system);

/// The name without number and extension: the prefix, and the date in local time.
std::string dump_stem(std::string_view system, time_t requested);

/// ".gcore", ".gcore.gz" or ".gcore.zst".
const char* dump_extension(Compression compression);

/// The number-th candidate: "stem.gcore", then "stem-1.gcore" and so on.
std::string candidate(const FileName& name, int number);
inline constexpr int kCandidates = 10;

}  // namespace gcore::writer
