#include "tests/support/regex.h"

#include <regex>

namespace gcore::tests {

struct Regex::Compiled {
  std::regex regex;
};

struct RegexAccess {
  static const std::regex& of(const Regex& regex) { return regex.compiled_->regex; }
  static RegexMatch match(const std::smatch& found) {
    RegexMatch match;
    for (const auto& group : found) match.groups_.push_back(group.str());
    return match;
  }
};

Regex::Regex(const std::string& expression)
    : compiled_(std::make_shared<const Compiled>(Compiled{std::regex(expression)})) {}

std::string RegexMatch::format(const std::string& form) const {
  std::string text;
  for (size_t at = 0; at < form.size(); ++at) {
    if (form[at] == '$' && at + 1 < form.size() && form[at + 1] >= '0' && form[at + 1] <= '9')
      text += (*this)[static_cast<size_t>(form[++at] - '0')];
    else
      text += form[at];
  }
  return text;
}

bool regex_match(const std::string& text, const Regex& regex) { return std::regex_match(text, RegexAccess::of(regex)); }

bool regex_match(const std::string& text, RegexMatch& match, const Regex& regex) {
  std::smatch found;
  if (!std::regex_match(text, found, RegexAccess::of(regex))) return false;
  match = RegexAccess::match(found);
  return true;
}

bool regex_search(const std::string& text, const Regex& regex) {
  return std::regex_search(text, RegexAccess::of(regex));
}

bool regex_search(const std::string& text, RegexMatch& match, const Regex& regex) {
  std::smatch found;
  if (!std::regex_search(text, found, RegexAccess::of(regex))) return false;
  match = RegexAccess::match(found);
  return true;
}

std::vector<RegexMatch> regex_search_all(const std::string& text, const Regex& regex) {
  std::vector<RegexMatch> all;
  for (std::sregex_iterator at(text.begin(), text.end(), RegexAccess::of(regex)), end; at != end; ++at)
    all.push_back(RegexAccess::match(*at));
  return all;
}

std::string regex_replace(const std::string& text, const Regex& regex, const std::string& form) {
  return std::regex_replace(text, RegexAccess::of(regex), form);
}

}  // namespace gcore::tests
