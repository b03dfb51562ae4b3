// What a dump file is called: PREFIX-YYYYMMDD-hhmmss[-N].gcore (QNX Hypervisor User's Guide, the `dump` option).
#pragma once

#include <ctime>
#include <optional>
#include <string>
#include <string_view>

#include "writer/dump.h"

namespace gcore::writer {

struct FileName;

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

/// What a dump that was not finished has after its extension.
inline constexpr std::string_view kPartialExtension = ".partial";

/// The parts of a file name that was made by these rules. The views are of that name.
struct DumpName {
  std::string_view prefix;  // "vm"
  std::string_view date;    // "20170821-120619"
  int number = 0;           // of the candidate
  bool is_partial = false;
};

/// Takes a file name apart: the inverse of dump_stem(), dump_extension() and candidate(). Nothing for any other name.
std::optional<DumpName> parse_dump_name(std::string_view file_name);

}  // namespace gcore::writer
