#include "writer/naming.h"

namespace gcore::writer {

std::string dump_stem(std::string_view system, time_t requested) {
  constexpr size_t kLongestPrefix = 200;  // of 255, with room for the date, the number, the extension and ".partial"
  std::string stem(system.substr(0, kLongestPrefix));
  for (char& c : stem)
    if (c == '/' || static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = '_';
  if (stem.empty()) stem = "qvm-guest";

  struct tm local = {};
  char date[32] = "";
  localtime_r(&requested, &local);
  std::strftime(date, sizeof date, "-%Y%m%d-%H%M%S", &local);
  return stem + date;
}

const char* dump_extension(Compression compression) {
  switch (compression) {
    case Compression::none:
      return ".gcore";
    case Compression::gzip:
      return ".gcore.gz";
    case Compression::zstd:
      return ".gcore.zst";
  }
  return ".gcore";
}

std::string candidate(const FileName& name, int number) {
  return name.stem + (number == 0 ? "" : "-" + std::to_string(number)) + name.extension;
}

}  // namespace gcore::writer
