// --dmesg and --modules: what a Linux guest's kernel has written and loaded.
#include <fmt/format.h>

#include <cstdio>

#include "tools/gcore-inspect/facts/linux_guest.h"
#include "tools/gcore-inspect/facts/qnx_guest.h"
#include "tools/gcore-inspect/inspect.h"
#include "tools/gcore-inspect/text/qnx.h"

namespace gcore::tools::inspect {

using reader::linux_guest::Module;

int print_messages(const Job& job) {
  if (job.qnx_guest.is_there()) return print_qnx_messages(job);
  int status = kExitDone;
  const auto* kernel = kernel_for(job, "show the messages", status);
  if (kernel == nullptr) return status;
  const auto& messages = kernel->messages();
  if (!messages) return job.program.fail("show the messages", printable(messages.error().text));
  const std::string text = dmesg_text(*messages);  // printable as it is
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (messages->lost != 0) job.program.note(counted(messages->lost, "message", "messages") + " could not be read");
  return kExitDone;
}

int print_modules(const Job& job) {
  int status = kExitDone;
  const auto* kernel = kernel_for(job, "show the modules", status);
  if (kernel == nullptr) return status;
  const auto& modules = kernel->modules();
  if (!modules) return job.program.fail("show the modules", printable(modules.error().text));
  if (modules->empty()) {
    std::puts("no module is loaded");
    return kExitDone;
  }
  std::puts(bold(job, fmt::format("{:<24} {:>10}  {:<10} {:>5} {:<24} {:<18}  {}", "module", "size", "state", "uses",
                                  "used by", "code at", "taints"))
                .c_str());
  for (const Module& module : *modules) {
    std::string used_by, line;
    for (const std::string& user : module.used_by) used_by += (used_by.empty() ? "" : ",") + printable(user);
    uint64_t code = 0;
    for (const Module::Region& region : module.regions)
      if (region.kind == "text" || region.kind == "core") code = region.address.value;
    line = fmt::format("{:<24} {:>10}  {:<10} {:>5} {:<24} {:#018x}  {}", printable(module.name), module.size,
                       module.state, module.references < 0 ? "-" : std::to_string(module.references),
                       used_by.empty() ? "-" : used_by, code, printable(module.taints));
    line.erase(line.find_last_not_of(' ') + 1);
    std::puts(line.c_str());
  }
  return kExitDone;
}

}  // namespace gcore::tools::inspect
