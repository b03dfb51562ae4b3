#include "tests/support/linux_oracle.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <sstream>
#include <stdexcept>

#include "tests/support/file_lock.h"
#include "tests/support/paths.h"
#include "tests/support/qemu_guest.h"

namespace gcore::tests {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMark = "@@@@ ";

/// What the guest runs. Its answers go to a virtio port: a serial line would take minutes.
std::string guest_script(const LinuxRecipe& recipe) {
  std::string script = R"sh(#!/bin/busybox sh
PATH=/tmp/bin
/bin/busybox mkdir -p /tmp/bin
/bin/busybox --install -s /tmp/bin
for module in virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_console virtio_balloon qemu_fw_cfg \
    watchdog i6300esb; do
  [ -e /modules/$module.ko ] && insmod /modules/$module.ko
done
until port=$(ls /dev/vport*p1); do usleep 100000; done
say() { echo "@@@@ $1"; shift; "$@" 2>/dev/null; echo; }
show() { for path in "$@"; do say "$path" cat "$path"; done; }
sections() {
  for path in /sys/module/*/sections/* /sys/module/*/sections/.[a-zA-Z_]*; do
    [ -f "$path" ] || continue
    module=${path#/sys/module/}
    echo "${module%%/*} ${path##*/} $(cat "$path")"
  done
}
tasks() {
  for task in /proc/[0-9]*/task/[0-9]*; do
    show $task/stat $task/status $task/comm $task/stack $task/wchan $task/syscall
  done
  for process in /proc/[0-9]*; do show $process/maps $process/cmdline; done
}
)sh";
  script += recipe.script + "\n{\n";
  script +=
      "show /proc/version /proc/kallsyms /proc/modules /proc/vmallocinfo /proc/meminfo\nsay sections sections\ntasks\n";
  script += "say ps ps -o pid,ppid,stat,comm,args\nshow /proc/loadavg /proc/uptime\n";
  for (const auto& [name, shell] : recipe.more) script += "say " + name + " sh -c '" + shell + "'\n";
  return script + "say dmesg dmesg\necho '@@@@ end'\n} >$port\necho gcore-guest-has-said-all\n";
}

std::string text_of(const LinuxRecipe& recipe) {
  std::string text = "2\n" + guest_script(recipe) + recipe.cpu + ' ' + std::to_string(recipe.cpus) + ' ' +
                     std::to_string(recipe.memory_mib) + ' ' + recipe.append;
  for (const std::string& argument : recipe.arguments) text += ' ' + argument;
  for (const auto& [there, here] : recipe.files) text += '\n' + there + ' ' + read_file(here);
  return text;
}

std::string key_of(const LinuxRecipe& recipe) {
  std::string text = text_of(recipe);
  for (const char* name : {"/tests/guests/linux", "/tests/guests/pins"}) text += '\n' + read_file(source_dir() + name);
  return std::to_string(std::hash<std::string>()(text));
}

void cook(const LinuxRecipe& recipe, const std::string& folder) {
  TempDir work;
  const std::string said = folder + "/said";
  QemuGuest::Options options;
  options.machine = recipe.machine;
  options.kernel = recipe.kernel;
  options.cpu = recipe.cpu;
  options.cpus = recipe.cpus;
  options.memory_mib = recipe.memory_mib;
  options.append = recipe.append;
  options.files = recipe.files;
  options.files.emplace_back("say-all", work.write("say-all", guest_script(recipe)));
  options.arguments = recipe.arguments;
  options.arguments.insert(options.arguments.end(),
                           {"-device", "virtio-serial-pci", "-chardev", "file,id=said,path=" + said, "-device",
                            "virtserialport,chardev=said,name=said"});
  QemuGuest guest(options);
  guest.wait_until_booted(300s);
  guest.command("/bin/busybox sh /say-all");
  const auto done = guest.process().wait_for_line(Process::Stream::out, "gcore-guest-has-said-all", 300s);
  if (!done) throw std::runtime_error("the guest has not said all:\n" + guest.console());
  guest.stop();
  guest.dump_guest_memory(folder + "/dump");
  std::ofstream(folder + "/console") << guest.console();
  // Most of it is zeros.
  run({"fallocate", "--dig-holes", folder + "/dump"}, 60s);
}

std::string cooked(const LinuxRecipe& recipe) {
  const std::string guest = recipe.machine + (recipe.kernel.empty() ? "" : "-" + recipe.kernel);
  // Two recipes never have one folder, whatever their names: one would be cooked where a test reads the other.
  const size_t number = std::hash<std::string>()(text_of(recipe)) & 0xffffffff;
  const std::string folder = build_dir() + "/oracle/linux-" + guest + "-" + recipe.name + "-" + std::to_string(number);
  fs::create_directories(folder);
  const FileLock lock(folder + "/lock");
  const std::string key_file = folder + "/key";
  if (fs::exists(key_file) && read_file(key_file) == key_of(recipe)) return folder;
  fs::remove(key_file);
  fs::remove(folder + "/said");
  cook(recipe, folder);
  std::ofstream(key_file) << key_of(recipe);  // last: it says that the others are whole
  return folder;
}

}  // namespace

std::string LinuxOracle::release() const {
  std::istringstream words(said("/proc/version"));  // "Linux version 6.1.0-50-amd64 (...) ..."
  std::string word;
  for (int i = 0; i < 3; i++) words >> word;
  return word;
}

void LinuxOracle::read_answers() const {
  std::istringstream lines(read_file(folder_ + "/said"));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(kMark)) {
      if (!answers_.empty()) answers_.back().second.pop_back();  // the newline that ends each answer
      answers_.emplace_back(line.substr(kMark.size()), "");
    } else if (!answers_.empty()) {
      answers_.back().second += line + '\n';
    }
  }
  if (answers_.empty() || answers_.back().first != "end") throw std::runtime_error(folder_ + "/said has no end");
  answers_.pop_back();
}

const std::string& LinuxOracle::said(std::string_view name) const {
  if (answers_.empty()) read_answers();
  const auto found = std::ranges::find(answers_, name, &std::pair<std::string, std::string>::first);
  if (found == answers_.end()) throw std::runtime_error("the guest was not asked for " + std::string(name));
  return found->second;
}

std::vector<std::string> LinuxOracle::names() const {
  if (answers_.empty()) read_answers();
  std::vector<std::string> names;
  for (const auto& [name, text] : answers_) names.push_back(name);
  return names;
}

std::string LinuxOracle::console() const { return read_file(folder_ + "/console"); }

const LinuxOracle& linux_oracle(const LinuxRecipe& recipe) {
  static std::mutex lock;
  static std::map<std::string, LinuxOracle> known;
  const std::scoped_lock locked(lock);
  const std::string name = recipe.machine + '-' + recipe.kernel + '-' + recipe.name;
  auto found = known.find(name);
  if (found == known.end()) found = known.emplace(name, LinuxOracle(cooked(recipe))).first;
  return found->second;
}

}  // namespace gcore::tests
