#include "tests/e2e/serve_process.h"

#include <stdexcept>

#include "tests/support/paths.h"

namespace gcore::tests {
namespace {

std::vector<std::string> command(const std::string& dump, const std::vector<std::string>& options) {
  std::vector<std::string> argv{program("gcore-serve"), dump, "--listen", "127.0.0.1:0"};
  argv.insert(argv.end(), options.begin(), options.end());
  return argv;
}

}  // namespace

ServeProcess::ServeProcess(const std::string& dump, const std::vector<std::string>& options)
    : process_(command(dump, options)) {
  auto line = process_.wait_for_line(Process::Stream::err, "^gcore-serve: listening on 127\\.0\\.0\\.1:[0-9]+");
  if (!line) throw std::runtime_error("gcore-serve does not listen: " + process_.err());
  port_ = static_cast<uint16_t>(std::stoul(line->substr(line->rfind(':') + 1)));
}

}  // namespace gcore::tests
