#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace gcore::tests {

/// A fenced block of a Markdown file.
struct Block {
  std::string language;  ///< what stands behind the opening fence; may be empty
  std::string text;      ///< its lines, each with its newline
  size_t line = 0;       ///< of the opening fence, from 1

  std::string first_line() const { return text.substr(0, text.find('\n')); }
};

std::vector<Block> blocks_of(std::string_view markdown);

/// What the section EXAMPLES of a manual (man(7) source) shows, as blocks: `console` where a line starts with "$ ",
/// else `sh`.
std::vector<Block> examples_of(std::string_view manual);

/// The headings, as anchors of a link: "The way of a byte" is "the-way-of-a-byte".
std::vector<std::string> anchors_of(std::string_view markdown);

/// Targets of [text](target), outside of blocks.
std::vector<std::string> links_of(std::string_view markdown);

/// Numbers of lines that are indented as code is, outside of blocks and lists.
std::vector<size_t> indented_code(std::string_view markdown);

/// Numbers of lines of more than `most` characters, outside of blocks and tables.
std::vector<size_t> long_lines(std::string_view markdown, size_t most);

}  // namespace gcore::tests
