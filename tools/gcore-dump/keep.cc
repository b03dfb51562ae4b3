#include "tools/gcore-dump/keep.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "writer/naming.h"

namespace gcore::tools::qemu {
std::vector<std::string> remove_old_dumps(const std::string& newest, uint64_t keep) {
  namespace fs = std::filesystem;
  std::vector<std::string> problems;
  const fs::path written(newest);
  const fs::path directory = written.has_parent_path() ? written.parent_path() : fs::path(".");
  const std::string written_name = written.filename().string();
  const auto ours = writer::parse_dump_name(written_name);
  if (!ours) return problems;
  std::vector<std::pair<std::string, fs::path>> dumps;  // age, path
  std::error_code problem;
  for (fs::directory_iterator entry(directory, problem), end; !problem && entry != end; entry.increment(problem)) {
    const std::string name = entry->path().filename().string();
    const auto parts = writer::parse_dump_name(name);
    if (parts && parts->prefix == ours->prefix && parts->is_partial == ours->is_partial && name != written_name)
      dumps.emplace_back(std::string(parts->date) + std::to_string(parts->number), entry->path());
  }
  if (problem) problems.push_back("cannot look for old dumps in " + directory.string() + ": " + problem.message());
  std::sort(dumps.begin(), dumps.end());
  for (size_t old = 0; old + keep - 1 < dumps.size(); ++old)
    if (!fs::remove(dumps[old].second, problem) && problem)
      problems.push_back("cannot remove the old dump " + dumps[old].second.string() + ": " + problem.message());
  return problems;
}

}  // namespace gcore::tools::qemu
