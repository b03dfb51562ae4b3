#include "writer/naming.h"

#include "writer/utf8.h"

namespace gcore::writer {

std::string dump_prefix(std::string_view system) {
  constexpr size_t kLongest = 200;  // of 255, with room for the date, the number, the extension and ".partial"
  std::string prefix(system.substr(0, whole_characters(system, kLongest)));
  for (char& c : prefix)
    if (c == '/' || static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = '_';
  return prefix.empty() ? "qvm-guest" : prefix;
}

std::string dump_stem(std::string_view system, time_t requested) {
  struct tm local = {};
  char date[32] = "";
  localtime_r(&requested, &local);
  std::strftime(date, sizeof date, "-%Y%m%d-%H%M%S", &local);
  return dump_prefix(system) + date;
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
