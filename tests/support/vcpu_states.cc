#include "tests/support/vcpu_states.h"

#include <regex>
#include <sstream>
#include <stdexcept>

#include "tests/support/paths.h"

namespace gcore::tests {

std::vector<std::string> vcpu_states_by_qemu(QemuGuest& guest, size_t cpus) {
  std::vector<std::string> states;
  for (size_t cpu = 0; cpu < cpus; ++cpu) {
    const std::string text = guest.qmp().human("info registers", static_cast<int>(cpu));
    std::smatch found;
    if (std::regex_search(text, found, std::regex("\\bCPL=([0-3])"))) {
      states.push_back((found[1] == "3" ? "user, CPL " : "kernel, CPL ") + found[1].str());
      if (text.find("HLT=1") != std::string::npos) states.back() += ", halted";
    } else if (std::regex_search(text, found, std::regex("PSTATE=.* EL([0-3])"))) {
      const char* who[] = {"user", "kernel", "hypervisor", "secure monitor"};
      states.push_back(std::string(who[found[1].str()[0] - '0']) + ", EL" + found[1].str());
    } else {
      throw std::runtime_error("\"info registers\" gave " + text);
    }
  }
  return states;
}

InspectedVcpus vcpu_states_by_inspect(const std::string& dump) {
  const Completed done = run({program("gcore-inspect"), dump});
  if (done.status != ExitStatus{0, 0}) throw std::runtime_error(done.err);
  InspectedVcpus result;
  std::istringstream lines(done.out);
  // "     0  PC  SP  user, CPL 3            x86_64, 5-level, ...", the latter here or, the same for all, below.
  const std::regex vcpu("^ +[0-9]+  0x[0-9a-f]{16}  0x[0-9a-f]{16}  ([^ ]+(?: [^ ]+)*)(?:  +(.*))?$"),
      all("^ +all: (.*)$");
  std::smatch found;
  for (std::string line; std::getline(lines, line);) {
    if (std::regex_match(line, found, vcpu)) {
      result.states.push_back(found[1]);
      result.paging.push_back(found[2]);
    } else if (std::regex_match(line, found, all)) {
      result.paging.assign(result.states.size(), found[1]);
    }
  }
  return result;
}

}  // namespace gcore::tests
