#include "tests/support/vcpu_states.h"

#include <sstream>
#include <stdexcept>

#include "tests/support/paths.h"
#include "tests/support/regex.h"

namespace gcore::tests {

std::vector<std::string> vcpu_states_by_qemu(QemuGuest& guest, size_t cpus) {
  std::vector<std::string> states;
  for (size_t cpu = 0; cpu < cpus; ++cpu) {
    const std::string text = guest.qmp().human("info registers", static_cast<int>(cpu));
    RegexMatch found;
    if (regex_search(text, found, Regex("\\bCPL=([0-3])"))) {
      states.push_back((found[1] == "3" ? "user, CPL " : "kernel, CPL ") + found[1]);
      if (text.find("HLT=1") != std::string::npos) states.back() += ", halted";
    } else if (regex_search(text, found, Regex("PSTATE=.* EL([0-3])"))) {
      const char* who[] = {"user", "kernel", "hypervisor", "secure monitor"};
      states.push_back(std::string(who[found[1][0] - '0']) + ", EL" + found[1]);
    } else {
      throw std::runtime_error("\"info registers\" gave " + text);
    }
  }
  return states;
}

InspectedVcpus vcpu_states_by_inspect(const std::string& dump) {
  const Completed summary = run({program("gcore-inspect"), dump}),
                  registers = run({program("gcore-inspect"), dump, "--registers"});
  if (summary.status != ExitStatus{0, 0}) throw std::runtime_error(summary.err);
  if (registers.status != ExitStatus{0, 0}) throw std::runtime_error(registers.err);
  InspectedVcpus result;
  RegexMatch found;
  // "     0  PC  SP  user, CPL 3            native_safe_halt+0xb/0x10, swapper/0 (idle)"
  const Regex vcpu("^ +[0-9]+  0x[0-9a-f]{16}  0x[0-9a-f]{16}  ([^ ]+(?: [^ ]+)*)(?:  +(.*))?$");
  std::istringstream lines(summary.out);
  for (std::string line; std::getline(lines, line);)
    if (regex_match(line, found, vcpu)) result.states.push_back(found[1]);
  // "vCPU 0: kernel, CPL 0, halted; x86_64, 5-level, root 0x1000 from cr3"
  const Regex heading("^vCPU [0-9]+: [^;]+; (.*)$");
  std::istringstream headings(registers.out);
  for (std::string line; std::getline(headings, line);)
    if (regex_match(line, found, heading)) result.paging.push_back(found[1]);
  return result;
}

}  // namespace gcore::tests
