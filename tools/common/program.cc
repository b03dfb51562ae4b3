#include "tools/common/program.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <boost/version.hpp>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>

#include "tools/common/built_with.h"

namespace gcore::tools {
namespace po = boost::program_options;

namespace {

constexpr size_t kHelpColumn = 30;  // where the explanations of --help start

bool optional_argument(const Option& option) { return option.argument.starts_with('['); }

/// As the user types it.
std::string dashed(const std::string& name) { return (name.size() == 1 ? "-" : "--") + name; }

const Option* find(const ProgramInfo& info, std::string_view name) {
  for (const Option& option : info.options)
    if (option.name == name) return &option;
  return nullptr;
}

void print_option(const std::string& name, const std::string& argument, const std::string& help) {
  std::string left = "  " + dashed(name) + (argument.empty() ? "" : " " + argument);
  size_t start = 0;
  while (start <= help.size()) {
    const size_t end = std::min(help.find('\n', start), help.size());
    if (left.size() + 2 > kHelpColumn) {
      std::printf("%s\n", left.c_str());
      left.clear();
    }
    std::printf("%-*s%s\n", static_cast<int>(kHelpColumn), left.c_str(), help.substr(start, end - start).c_str());
    left.clear();
    start = end + 1;
  }
}

void print_help(const ProgramInfo& info) {
  std::printf("Usage: %s %s\n\n%s\n\nOptions:\n", info.name.c_str(), info.usage.c_str(), info.description.c_str());
  for (const Option& option : info.options) print_option(option.name, option.argument, option.help);
  print_option("help", "", "this text");
  print_option("version", "", "the version, and what it was built with");
  if (!info.epilogue.empty()) std::printf("\n%s\n", info.epilogue.c_str());
}

void print_version(const ProgramInfo& info) {
#if defined(__clang__)
  const char* compiler = "Clang " __clang_version__;
#else
  const char* compiler = "GCC " __VERSION__;
#endif
  std::printf("%s %s\nbuilt with %s, Boost %d.%d.%d%s%s\n", info.name.c_str(), GCORE_VERSION, compiler,
              BOOST_VERSION / 100000, BOOST_VERSION / 100 % 1000, BOOST_VERSION % 100,
              info.built_with.empty() ? "" : ", ", info.built_with.c_str());
  if (!revision().empty()) std::printf("revision %s\n", revision().c_str());
}

/// An open() must never get the number of a standard stream that the caller closed: results would end up in that file.
void occupy_standard_descriptors() {
  for (const int fd : {0, 1, 2})
    if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) (void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

/// What is wrong with standard output, or "".
std::string flush_output() {
  errno = 0;
  const bool failed_before = std::ferror(stdout) != 0;
  if (std::fflush(stdout) == 0 && !failed_before) return "";
  // Of an earlier failure the cause is forgotten by now. What is there is not whole anyhow: one more byte tells it.
  if (failed_before && errno == 0) (void)!write(STDOUT_FILENO, "\n", 1);
  return errno != 0 ? std::strerror(errno) : "an earlier write failed";
}

}  // namespace

/// Boost's parse of argv, put into a Program. Boost has no idea of an argument that may be left out but is taken from
/// the next word if it fits: such an option reaches it as "--registers=1", or as "--registers=[N]" where it was left
/// out.
struct CommandLine {
  Program& program;
  std::string error;  // why the command line is wrong

  std::vector<std::string> joined(int argc, char** argv) const;
  bool parse(int argc, char** argv);

 private:
  bool accept(const po::option& parsed);
  std::string unknown(std::string name) const;
};

std::vector<std::string> CommandLine::joined(int argc, char** argv) const {
  std::vector<std::string> words;
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    if (word == "--") {
      words.insert(words.end(), argv + i, argv + argc);
      break;
    }
    const Option* option = word.starts_with("--") ? find(program.info_, std::string_view(word).substr(2)) : nullptr;
    if (option != nullptr && optional_argument(*option)) {
      const std::string_view next = i + 1 < argc ? argv[i + 1] : "";
      const bool taken = option->takes ? option->takes(next) : parse_number(next).has_value();
      word += "=" + (taken ? std::string(argv[++i]) : option->argument);
    }
    words.push_back(std::move(word));
  }
  return words;
}

std::string CommandLine::unknown(std::string name) const {
  std::vector<std::string> known{"help", "version"};
  for (const Option& option : program.info_.options) known.push_back(option.name);
  std::string text = "there is no option " + printable(name);
  name.erase(0, name.find_first_not_of('-'));
  if (const auto guess = did_you_mean(name, known)) text += "; did you mean " + dashed(*guess) + "?";
  return text;
}

bool CommandLine::accept(const po::option& parsed) {
  if (parsed.position_key >= 0 || parsed.string_key.empty()) {
    program.operands_.insert(program.operands_.end(), parsed.value.begin(), parsed.value.end());
    return true;
  }
  // Boost calls an option that has only a letter "-v".
  const std::string name = parsed.string_key.substr(parsed.string_key.find_first_not_of('-'));
  const Option* option = find(program.info_, name);
  if (option != nullptr && !option->repeatable && program.has(name)) {
    error = dashed(name) + " is given twice";
    return false;
  }
  std::optional<std::string> value;
  const bool left_out = option != nullptr && optional_argument(*option) && !parsed.value.empty() &&
                        parsed.value.front() == option->argument;
  if (!parsed.value.empty() && !left_out) value = parsed.value.front();
  // A script's unset variable: taken as "not given", it would listen, write or search elsewhere than was meant.
  if (option != nullptr && value && value->empty()) {
    error = dashed(name) + " needs an argument: " + option->argument;
    return false;
  }
  program.given_.push_back({name, std::move(value)});
  return true;
}

bool CommandLine::parse(int argc, char** argv) {
  po::options_description options;
  options.add_options()("help,h", "")("version,V", "");
  for (const Option& option : program.info_.options) {
    const std::string name = (option.name.size() == 1 ? "," : "") + option.name;
    if (option.argument.empty())
      options.add_options()(name.c_str(), "");
    else
      options.add_options()(name.c_str(), po::value<std::string>(), "");
  }
  // No guessing: a script that says --reg today would break when a second option starts with it.
  constexpr int kStyle = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing &
                         ~po::command_line_style::allow_sticky;
  try {
    const auto parsed = po::command_line_parser(joined(argc, argv)).options(options).style(kStyle).run();
    for (const po::option& one : parsed.options)
      if (!accept(one)) return false;
  } catch (const po::unknown_option& e) {
    error = unknown(e.get_option_name());
  } catch (const po::invalid_command_line_syntax& e) {
    const std::string name = e.get_option_name();
    const Option* option = find(program.info_, name.substr(std::min(name.find_first_not_of('-'), name.size())));
    if (option != nullptr && !option->argument.empty())
      error = dashed(option->name) + " needs an argument: " + option->argument;
    else if (option != nullptr)
      error = dashed(option->name) + " takes no argument";
    else
      error = e.what();
  } catch (const po::error& e) {
    error = e.what();
  }
  return error.empty();
}

bool Program::has(std::string_view option) const {
  return std::ranges::any_of(given_, [&](const Given& given) { return given.option == option; });
}

std::optional<std::string> Program::value(std::string_view option) const {
  std::optional<std::string> found;
  for (const Given& given : given_)
    if (given.option == option && given.value && !given.value->empty()) found = given.value;
  return found;
}

std::vector<std::string> Program::values(std::string_view option) const {
  std::vector<std::string> all;
  for (const Given& given : given_)
    if (given.option == option && given.value) all.push_back(*given.value);
  return all;
}

int Program::fail(std::string_view attempted, std::string_view why) const {
  return fail(std::string(attempted) + ": " + std::string(why));
}

int Program::fail(std::string_view sentence) const {
  note(sentence);
  return kExitFailed;
}

int Program::usage_error(std::string_view why) const {
  note(std::string(why) + (why.ends_with('?') ? " See " : "; see ") + info_.name + " --help");
  return kExitUsage;
}

void Program::note(std::string_view text) const {
  std::fflush(stdout);  // so that the two streams stand in order where they meet
  std::string line = info_.name + ": " + std::string(text);
  std::ranges::replace(line, '\n', ' ');
  std::fprintf(stderr, "%s\n", line.c_str());
}

namespace {

int run_parsed(const ProgramInfo& info, Program& program, const std::function<int(Program&)>& body) {
  if (program.has("help")) {
    print_help(info);
    return kExitDone;
  }
  if (program.has("version")) {
    print_version(info);
    return kExitDone;
  }
  const auto& operands = program.operands();
  if (operands.size() < info.min_operands)
    return program.usage_error(info.operands_missing.empty() ? "an operand is missing" : info.operands_missing);
  if (std::ranges::any_of(operands, &std::string::empty))
    return program.usage_error("an argument is empty, perhaps a variable that is not set");
  if (operands.size() > info.max_operands)
    return program.usage_error(
        // An address may have a password in it.
        (operands[info.max_operands].find("://") != std::string::npos
             ? "an address"
             : "'" + printable(operands[info.max_operands]) + "'") +
        " is one argument too many");
  return body(program);
}

}  // namespace

int run_program(const ProgramInfo& info, int argc, char** argv, const std::function<int(Program&)>& body) {
  occupy_standard_descriptors();
  Program program(info);
  int status = kExitFailed;
  try {
    CommandLine line{program, {}};
    status = line.parse(argc, argv) ? run_parsed(info, program, body) : program.usage_error(line.error);
  } catch (const std::bad_alloc&) {
    status = program.fail("allocate memory", "there is not enough of it");
  } catch (const std::exception& e) {
    status = program.fail("internal error", e.what());
  }
  const std::string why = flush_output();
  if (!why.empty() && status != kExitFailed) status = program.fail("write to standard output", why);
  return status;
}

}  // namespace gcore::tools
