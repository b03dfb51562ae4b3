// Regular expressions in tests: std::regex, compiled here once. A file that uses it itself takes the compiler two
// seconds longer.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace gcore::tests {

/// An ECMAScript expression, as std::regex has them. A wrong one throws.
class Regex {
 public:
  explicit Regex(const std::string& expression);

 private:
  friend struct RegexAccess;
  struct Compiled;
  std::shared_ptr<const Compiled> compiled_;
};

/// What an expression matched.
class RegexMatch {
 public:
  /// 0: the whole; from 1 on: its groups, "" for one that took no part. Throws when there is none of that number.
  const std::string& operator[](size_t group) const { return groups_.at(group); }
  /// FORM with "$1" and so on replaced by the groups.
  std::string format(const std::string& form) const;

 private:
  friend struct RegexAccess;
  std::vector<std::string> groups_;
};

/// Whether the whole text matches. MATCH is filled only then.
bool regex_match(const std::string& text, const Regex& regex);
bool regex_match(const std::string& text, RegexMatch& match, const Regex& regex);
/// Whether a part of the text matches: the first.
bool regex_search(const std::string& text, const Regex& regex);
bool regex_search(const std::string& text, RegexMatch& match, const Regex& regex);
/// All parts that match, from front to end.
std::vector<RegexMatch> regex_search_all(const std::string& text, const Regex& regex);
/// The text with each part that matches replaced by FORM, in which "$1" is its first group.
std::string regex_replace(const std::string& text, const Regex& regex, const std::string& form);

}  // namespace gcore::tests
