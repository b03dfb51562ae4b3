#include "tools/gcore-dump/keep.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

namespace gcore::tools::qemu {
namespace {

bool digits(std::string_view text, size_t count) {
  return text.size() == count && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// PREFIX-YYYYMMDD-hhmmss[-N], split.
struct Name {
  std::string_view prefix, stamp;  // "vm", "20170821-120619"
  char number = '0';
  bool is_partial = false;
};

Name split(std::string_view name) {
  constexpr std::string_view kPartial = ".partial";
  const bool is_partial = name.ends_with(kPartial);
  if (is_partial) name.remove_suffix(kPartial.size());
  for (const std::string_view extension : {".gcore", ".gcore.gz", ".gcore.zst"})
    if (name.ends_with(extension)) {
      name.remove_suffix(extension.size());
      Name parts{.prefix = {}, .stamp = {}, .is_partial = is_partial};
      if (name.size() > 2 && name[name.size() - 2] == '-' && name.back() >= '1' && name.back() <= '9') {
        parts.number = name.back();
        name.remove_suffix(2);
      }
      constexpr size_t kStamp = 15;
      if (name.size() < kStamp + 2 || name[name.size() - kStamp - 1] != '-') return {};
      parts.stamp = name.substr(name.size() - kStamp);
      parts.prefix = name.substr(0, name.size() - kStamp - 1);
      if (!digits(parts.stamp.substr(0, 8), 8) || parts.stamp[8] != '-' || !digits(parts.stamp.substr(9), 6)) return {};
      return parts;
    }
  return {};
}

}  // namespace

std::string dump_prefix(std::string_view file_name) { return std::string(split(file_name).prefix); }

std::vector<std::string> remove_old_dumps(const std::string& newest, uint64_t keep) {
  namespace fs = std::filesystem;
  std::vector<std::string> problems;
  const fs::path written(newest);
  const fs::path directory = written.has_parent_path() ? written.parent_path() : fs::path(".");
  const std::string written_name = written.filename().string();
  const Name ours = split(written_name);
  if (ours.prefix.empty()) return problems;
  std::vector<std::pair<std::string, fs::path>> dumps;  // age, path
  std::error_code problem;
  for (fs::directory_iterator entry(directory, problem), end; !problem && entry != end; entry.increment(problem)) {
    const std::string name = entry->path().filename().string();
    const Name parts = split(name);
    if (parts.prefix == ours.prefix && parts.is_partial == ours.is_partial && name != written_name)
      dumps.emplace_back(std::string(parts.stamp) + parts.number, entry->path());
  }
  if (problem) problems.push_back("cannot look for old dumps in " + directory.string() + ": " + problem.message());
  std::sort(dumps.begin(), dumps.end());
  for (size_t old = 0; old + keep - 1 < dumps.size(); ++old)
    if (!fs::remove(dumps[old].second, problem) && problem)
      problems.push_back("cannot remove the old dump " + dumps[old].second.string() + ": " + problem.message());
  return problems;
}

}  // namespace gcore::tools::qemu
