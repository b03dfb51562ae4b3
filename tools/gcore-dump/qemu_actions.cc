#include "tools/gcore-dump/qemu_actions.h"

#include <fstream>
#include <iterator>

namespace gcore::tools::qemu {
namespace {

/// "a" of "panic=a,watchdog=b"; "" when it is not there.
std::string_view value_of(std::string_view list, std::string_view key) {
  while (!list.empty()) {
    const size_t end = std::min(list.find(','), list.size());
    const std::string_view item = list.substr(0, end);
    if (item.size() > key.size() && item.starts_with(key) && item[key.size()] == '=')
      return item.substr(key.size() + 1);
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return {};
}

}  // namespace

QmpResult<void> have_guest_wait(Qmp& qmp) {
  auto set = qmp.execute("set-action", llvm::json::Object{{"panic", "pause"}, {"watchdog", "pause"}});
  if (!set) return std::unexpected(set.error());
  return {};
}

std::string what_may_be_lost(const std::vector<std::string>& command_line) {
  std::string panic = "shutdown", shutdown = "poweroff", watchdog = "reset";
  for (size_t i = 1; i < command_line.size(); ++i) {
    std::string_view option = command_line[i];
    if (option.starts_with("--")) option.remove_prefix(1);
    const std::string_view argument = i + 1 < command_line.size() ? std::string_view(command_line[i + 1]) : "";
    if (option == "-no-shutdown") shutdown = "pause";
    if (option == "-watchdog-action") watchdog = argument;
    if (option != "-action") continue;
    for (const auto& [key, value] :
         {std::pair<const char*, std::string*>{"panic", &panic}, {"shutdown", &shutdown}, {"watchdog", &watchdog}})
      if (const std::string_view given = value_of(argument, key); !given.empty()) *value = given;
  }
  const bool exits = panic != "pause" && panic != "none" && !(panic == "shutdown" && shutdown == "pause");
  const bool resets = watchdog == "reset" || watchdog == "shutdown" || watchdog == "poweroff";
  if (!exits && !resets) return "";
  std::string text = exits ? "QEMU ends when this guest panics" : "";
  if (resets)
    text += std::string(exits ? ", and " : "QEMU ") + (watchdog == "reset" ? "resets" : "ends") +
            " it when its watchdog expires";
  return text + ", before it can be dumped" + kHaveItWait;
}

std::string what_may_be_lost(int task) {
  std::ifstream file("/proc/" + std::to_string(task) + "/cmdline", std::ios::binary);
  const std::string all{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::string> words;
  for (size_t at = 0; at < all.size();) {
    const size_t end = std::min(all.find('\0', at), all.size());
    words.push_back(all.substr(at, end - at));
    at = end + 1;
  }
  if (task > 0 && !words.empty() &&
      (words[0].find("qemu") != std::string::npos || words[0].find("kvm") != std::string::npos))
    return what_may_be_lost(words);
  return "whether QEMU ends when this guest panics, before it can be dumped, cannot be told" + std::string(kHaveItWait);
}

}  // namespace gcore::tools::qemu
