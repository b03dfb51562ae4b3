#include "writer/naming.h"

#include <algorithm>

#include "writer/sink.h"
#include "writer/utf8.h"

namespace gcore::writer {
namespace {

bool is_date(std::string_view text) {
  constexpr std::string_view kForm = "00000000-000000";
  return std::equal(text.begin(), text.end(), kForm.begin(), kForm.end(),
                    [](char c, char form) { return form == '0' ? c >= '0' && c <= '9' : c == form; });
}

/// Removes the end from the text. False when the text does not end so.
bool remove_end(std::string_view& text, std::string_view end) {
  if (!text.ends_with(end)) return false;
  text.remove_suffix(end.size());
  return true;
}

}  // namespace

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

std::optional<DumpName> parse_dump_name(std::string_view name) {
  DumpName parts;
  parts.is_partial = remove_end(name, kPartialExtension);
  const auto has_extension = [&](Compression compression) { return remove_end(name, dump_extension(compression)); };
  if (!has_extension(Compression::none) && !has_extension(Compression::gzip) && !has_extension(Compression::zstd))
    return std::nullopt;
  if (name.size() > 2 && name[name.size() - 2] == '-' && name.back() >= '1' && name.back() <= '9') {
    parts.number = name.back() - '0';
    name.remove_suffix(2);
  }
  constexpr size_t kDate = 15;
  if (name.size() < kDate + 2 || name[name.size() - kDate - 1] != '-') return std::nullopt;
  parts.prefix = name.substr(0, name.size() - kDate - 1);
  parts.date = name.substr(name.size() - kDate);
  return is_date(parts.date) ? std::optional(parts) : std::nullopt;
}

}  // namespace gcore::writer
