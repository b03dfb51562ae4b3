#include "tests/docs/markdown.h"

#include <algorithm>
#include <cctype>
#include <functional>
#include <sstream>

#include "tests/support/regex.h"

namespace gcore::tests {
namespace {

/// Calls TEXT for each line outside of fenced blocks, BLOCK for each whole block.
void walk(std::string_view markdown, const std::function<void(const std::string&, size_t)>& text,
          const std::function<void(const Block&)>& block) {
  std::istringstream lines{std::string(markdown)};
  Block current;
  bool inside = false;
  size_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    number++;
    if (line.starts_with("```")) {
      if (inside) {
        if (block) block(current);
      } else {
        current = {.language = line.substr(3), .text = "", .line = number};
      }
      inside = !inside;
    } else if (inside) {
      current.text += line + "\n";
    } else if (text) {
      text(line, number);
    }
  }
}

}  // namespace

std::vector<Block> blocks_of(std::string_view markdown) {
  std::vector<Block> blocks;
  walk(markdown, nullptr, [&](const Block& block) { blocks.push_back(block); });
  return blocks;
}

std::vector<Block> examples_of(std::string_view manual) {
  std::vector<Block> blocks;
  std::istringstream lines{std::string(manual)};
  bool examples = false, inside = false;
  size_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    number++;
    if (line.starts_with(".SH")) {
      examples = line.starts_with(".SH EXAMPLE");
    } else if (line == ".EX" || line == ".nf") {
      inside = examples;
      if (inside) blocks.push_back({.language = "sh", .text = "", .line = number});
    } else if (line == ".EE" || line == ".fi") {
      inside = false;
    } else if (inside) {
      line = regex_replace(line, Regex("\\\\-"), "-");
      line = regex_replace(line, Regex("\\\\\\(dq"), "\"");
      if (line.starts_with("$ ")) blocks.back().language = "console";
      blocks.back().text += line + "\n";
    }
  }
  return blocks;
}

std::vector<std::string> anchors_of(std::string_view markdown) {
  std::vector<std::string> anchors;
  static const Regex heading("^#+ +(.*)$");
  const auto note = [&](const std::string& line, size_t) {
    RegexMatch match;
    if (!regex_match(line, match, heading)) return;
    std::string anchor;
    for (const char c : match[1]) {
      if (std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_') {
        anchor += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      } else if (c == ' ') {
        anchor += '-';
      }
    }
    anchors.push_back(anchor);
  };
  walk(markdown, note, nullptr);
  return anchors;
}

std::vector<std::string> links_of(std::string_view markdown) {
  std::vector<std::string> links;
  static const Regex form("\\]\\(([^)\\s]+)\\)");
  const auto note = [&](const std::string& line, size_t) {
    for (const RegexMatch& link : regex_search_all(line, form)) links.push_back(link[1]);
  };
  walk(markdown, note, nullptr);
  return links;
}

std::vector<size_t> indented_code(std::string_view markdown) {
  std::vector<size_t> numbers;
  bool list = false;
  static const Regex item("^ *([-*]|[0-9]+\\.) .*");
  const auto look = [&](const std::string& line, size_t number) {
    if (regex_match(line, item)) {
      list = true;
    } else if (!line.empty() && line[0] != ' ') {
      list = false;
    } else if (!list && line.starts_with("    ")) {
      numbers.push_back(number);
    }
  };
  walk(markdown, look, nullptr);
  return numbers;
}

std::vector<size_t> long_lines(std::string_view markdown, size_t most) {
  std::vector<size_t> numbers;
  walk(
      markdown,
      [&](const std::string& line, size_t number) {
        const auto characters = std::ranges::count_if(line, [](char c) { return (c & 0xc0) != 0x80; });
        if (!line.starts_with('|') && static_cast<size_t>(characters) > most) numbers.push_back(number);
      },
      nullptr);
  return numbers;
}

}  // namespace gcore::tests
