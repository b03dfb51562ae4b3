// What every program here has in common: options, --help, --version, exit statuses, and how an error is told.
//
// A main describes its options and hands over a body:
//
//     int main(int argc, char** argv) {
//       const gcore::tools::ProgramInfo info{.name = "gcore-x", .usage = "DUMP [options]", ...};
//       return gcore::tools::run_program(info, argc, argv, [](Program& program) { ...; return kExitDone; });
//     }
//
// Results go to standard output. Everything else is one line on standard error, which starts with the program's name.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writer/base/text.h"

namespace gcore::tools {

inline constexpr int kExitDone = 0;    // the work is done
inline constexpr int kExitFailed = 1;  // the work failed; a line on standard error says why
inline constexpr int kExitUsage = 2;   // the command line makes no sense; so does a line on standard error

/// One long option, or, where the name is a single letter, a short one (-v). `--help` and `--version` need no mention.
struct Option {
  std::string name;      // without the dashes
  std::string argument;  // what --help calls the argument: "FILE"; "" for a flag; "[N]" where it may be left out
  std::string help;      // one sentence without a full stop; may have several lines
  /// For an argument that may be left out: does this word, which follows the option, belong to it? Without this
  /// function a number does. (`--registers DUMP` must not take DUMP.)
  std::function<bool(std::string_view)> takes = nullptr;
  bool repeatable = false;  // else giving it twice is wrong usage
};

struct ProgramInfo {
  std::string name;         // "gcore-inspect"
  std::string usage;        // what follows the name in "Usage:"
  std::string description;  // one or a few lines for --help
  std::vector<Option> options;
  size_t min_operands = 0, max_operands = 0;  // words that are not options
  std::string operands_missing;               // said when there are fewer: "which dump?"
  std::string epilogue;                       // examples and such, printed at the end of --help as they are
  std::string built_with;                     // libraries and versions for --version, besides compiler and Boost
};

/// A parsed command line, and the two ways to end with an error.
class Program {
 public:
  explicit Program(const ProgramInfo& info) : info_(info) {}

  const std::string& name() const { return info_.name; }
  bool has(std::string_view option) const;
  /// The argument (the last one of a repeatable option); nothing when the option was not given, or without argument.
  std::optional<std::string> value(std::string_view option) const;
  std::vector<std::string> values(std::string_view option) const;
  const std::vector<std::string>& operands() const { return operands_; }

  /// Prints "NAME: ATTEMPTED: WHY" on standard error and returns kExitFailed.
  int fail(std::string_view attempted, std::string_view why) const;
  /// The same for an error that already says what was attempted.
  int fail(std::string_view sentence) const;
  /// Prints "NAME: WHY; see NAME --help" on standard error and returns kExitUsage.
  int usage_error(std::string_view why) const;
  /// Prints "NAME: TEXT" on standard error.
  void note(std::string_view text) const;

 private:
  friend struct CommandLine;
  struct Given {
    std::string option;
    std::optional<std::string> value;
  };
  const ProgramInfo& info_;
  std::vector<Given> given_;
  std::vector<std::string> operands_;
};

/// Parses the command line, serves --help and --version, runs the body, and checks that everything it wrote to standard
/// output arrived: a full disk or a reader that went away turns success into kExitFailed. Where SIGPIPE has its default
/// action, a reader that went away ends the program quietly. Exceptions, out of memory among them, end as an error
/// line.
int run_program(const ProgramInfo& info, int argc, char** argv, const std::function<int(Program&)>& body);

/// "123" or "0x7b". The error says what is wrong with the text and what would be right.
std::expected<uint64_t, std::string> parse_number(std::string_view text);
/// A number, followed by K, M, G or T (powers of 1024) or by nothing.
std::expected<uint64_t, std::string> parse_size(std::string_view text);

/// The one of `known` that `word` may be a misspelling of, or nothing.
std::optional<std::string> did_you_mean(std::string_view word, const std::vector<std::string>& known);

/// May this file descriptor be written to in colour: it is a terminal, which is not dumb, and NO_COLOR is not set.
bool colour_wanted(int fd);

/// Text from a file or from the user, fit for a terminal.
using base::printable;

/// "512 B", "4.0 KiB", "1.5 GiB": for the eye.
std::string human_size(uint64_t bytes);

}  // namespace gcore::tools
