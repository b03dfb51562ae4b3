#include "tests/support/gdb_session.h"

namespace gcore::tests {
namespace {

std::string marker(size_t index) { return "@@gcore-test-" + std::to_string(index) + "@@\n"; }

}  // namespace

GdbResult run_gdb(const std::vector<std::string>& commands, const std::vector<std::string>& arguments,
                  std::chrono::milliseconds timeout, const std::string& program) {
  std::vector<std::string> argv{program, "-nx", "-q", "-batch"};
  for (const char* setting : {"set confirm off", "set pagination off", "set width 0", "set height 0",
                              "set style enabled off", "set debuginfod enabled off", "set tcp connect-timeout 10"}) {
    argv.insert(argv.end(), {"-iex", setting});
  }
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  for (size_t i = 0; i < commands.size(); i++) {
    // echo takes \n as the escape for the end of the line.
    std::string line = marker(i);
    line.replace(line.size() - 1, 1, "\\n");
    argv.insert(argv.end(), {"-ex", "echo \\n" + line, "-ex", commands[i]});
  }
  Process::Options options;
  options.merge_stderr = true;
  options.environment = {"LC_ALL=C", "TERM=dumb", "HOME=/nonexistent"};
  Completed done = run(std::move(argv), timeout, {}, options);
  GdbResult result{done.out, {}, done.status, done.timed_out};
  for (size_t i = 0; i < commands.size(); i++) {
    size_t start = result.output.find(marker(i));
    if (start == std::string::npos) break;
    start += marker(i).size();
    size_t end = result.output.find("\n" + marker(i + 1), start);
    result.of.push_back(result.output.substr(start, end == std::string::npos ? end : end - start));
  }
  return result;
}

}  // namespace gcore::tests
