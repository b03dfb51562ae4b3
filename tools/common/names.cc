#include "tools/common/names.h"

#include <optional>
#include <utility>

namespace gcore::tools {
namespace {

/// "xmm12" as "xmm" and 12; names without a number after, or with one that is no index, as they are.
std::pair<std::string, std::optional<unsigned>> split_number(const std::string& name) {
  const size_t digits = name.find_last_not_of("0123456789") + 1;
  if (digits == 0 || digits == name.size() || name.size() - digits > 3 ||
      (name[digits] == '0' && digits + 1 < name.size()))
    return {name, std::nullopt};
  return {name.substr(0, digits), static_cast<unsigned>(std::stoul(name.substr(digits)))};
}

std::vector<std::string> in_runs(const std::set<std::string>& names) {
  std::set<std::pair<std::string, std::optional<unsigned>>> parts;
  for (const std::string& name : names) parts.insert(split_number(name));
  std::vector<std::string> runs;
  for (auto at = parts.begin(); at != parts.end();) {
    const auto& [base, first] = *at;
    std::optional<unsigned> last = first;
    while (++at != parts.end() && last && at->first == base && at->second == *last + 1) last = at->second;
    runs.push_back(first ? base + std::to_string(*first) : base);
    if (last != first) runs.back() += ".." + base + std::to_string(*last);
  }
  return runs;
}

}  // namespace

std::string list_names(const std::vector<std::string>& names, size_t count, const char* one, const char* many) {
  constexpr size_t kMaxNamed = 200;
  std::string list;
  for (size_t i = 0; i < names.size() && i < kMaxNamed; ++i) list += ' ' + names[i];
  if (names.size() > kMaxNamed) list += " and more";
  return std::string(count == 1 ? one : many) + list;
}

std::string register_names(const std::set<std::string>& names) {
  std::set<std::string> whole;
  for (std::string name : names) {
    for (const char* half : {".lo", ".hi"})
      if (name.ends_with(half)) name.resize(name.size() - 3);
    whole.insert(std::move(name));
  }
  return list_names(in_runs(whole), whole.size(), "register", "registers");
}

std::string not_carried_over(std::string_view dialect, std::string_view what) {
  return "not carried over, since the " + std::string(dialect) + " dialect has no place for it: " + std::string(what);
}

}  // namespace gcore::tools
