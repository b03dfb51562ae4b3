#include "tests/reader_linux/known_tasks.h"

#include <algorithm>
#include <sstream>

#include "tests/support/regex.h"

namespace gcore::tests {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::map<int, KnownTask> known_tasks(const LinuxOracle& oracle) {
  std::map<int, KnownTask> tasks;
  const Regex status("/proc/([0-9]+)/task/([0-9]+)/status");
  for (const std::string& name : oracle.names()) {
    RegexMatch match;
    if (!regex_match(name, match, status)) continue;
    KnownTask task{.pid = std::stoi(match[2]), .tgid = std::stoi(match[1]), .name = {}};
    for (const std::string& line : lines_of(oracle.said(name))) {
      const size_t colon = line.find(":\t");
      if (colon == std::string::npos) continue;
      const std::string key = line.substr(0, colon), value = line.substr(colon + 2);
      if (key == "Name") task.name = value;
      if (key == "State") task.state = value[0];
      if (key == "PPid") task.parent = std::stoi(value);
      if (key == "VmSize") task.has_memory = true;
      if (key.ends_with("_ctxt_switches")) task.switches += std::stoull(value);
    }
    if (task.state == '?') continue;  // it was gone before its status was read
    const std::string base = name.substr(0, name.rfind('/'));
    for (const std::string& line : lines_of(oracle.said(base + "/stack")))
      if (line.starts_with("[<0>] ")) task.stack.push_back(line.substr(6));
    task.syscall = oracle.said(base + "/syscall");
    tasks[task.pid] = std::move(task);
  }
  // Subshells have its command line as well.
  const auto runs_script = [&](int pid) {
    const std::string name = "/proc/" + std::to_string(pid) + "/cmdline";
    return std::ranges::count(oracle.names(), name) != 0 && oracle.said(name).find("/say-all") != std::string::npos;
  };
  for (auto& [pid, task] : tasks) task.asked = runs_script(pid) && !runs_script(task.parent);
  for (auto& [pid, task] : tasks) task.parent_asked = tasks.contains(task.parent) && tasks.at(task.parent).asked;
  return tasks;
}

}  // namespace gcore::tests
