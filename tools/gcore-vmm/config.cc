#include "tools/gcore-vmm/config.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <span>

#include "tools/common/program.h"
#include "writer/format/machine.h"

namespace gcore::tools::vmm {
namespace {

using Failure = std::optional<std::string>;  // nothing: the line is fine
using Words = std::span<const std::string>;

constexpr size_t kMaxConfigBytes = 1 << 20;
constexpr uint64_t kPage = 4096;

struct OptionRule {
  std::string_view name, usage;
  size_t min_arguments, max_arguments;
  bool repeatable;
  Failure (*apply)(Words, Config&);
};

Failure set_system(Words words, Config& config) {
  const std::string& name = words[0];
  if (name.empty() || name.size() > 200 || name.find('/') != std::string::npos || name[0] == '.')
    return "'" + printable(name) + "' cannot start a file name, which 'system' is for";
  config.system = name;
  return {};
}

Failure add_cpu(Words, Config& config) {
  if (++config.cpus > kMaxCpus) return "more than " + std::to_string(kMaxCpus) + " vCPUs";
  return {};
}

Failure add_ram(Words words, Config& config) {
  RamRange range;
  std::string_view text = words[0];
  if (const size_t comma = text.find(','); comma != std::string_view::npos) {
    const auto address = parse_size(text.substr(0, comma));
    if (!address) return "the address of 'ram': " + address.error();
    if (*address % kPage != 0) return "the address of 'ram' is not a multiple of 4096";
    range.address = *address;
    text.remove_prefix(comma + 1);
  }
  const auto size = parse_size(text);
  if (!size) return "the size of 'ram': " + size.error();
  if (*size == 0 || *size % kPage != 0) return "the size of 'ram' is not a multiple of 4096, or 0";
  range.size = *size;
  if (range.size > kMaxRam || range.address.value_or(0) > (uint64_t{1} << 46)) return "'ram' is too large or too high";
  config.ram.push_back(range);
  return {};
}

Failure set_load(Words words, Config& config) {
  if (words[0].empty()) return "'load' needs the name of a file";
  config.load = words[0];
  return {};
}

Failure set_kernel(Words words, Config& config) {
  if (words[0].empty()) return "'kernel' needs the name of a file";
  config.kernel = words[0];
  return {};
}

Failure set_initrd(Words words, Config& config) {
  if (words[0].empty()) return "'initrd' needs the name of a file";
  config.initrd = words[0];
  return {};
}

Failure set_engine(Words words, Config& config) {
  if (words[0] != "unicorn" && words[0] != "kvm") return "unknown engine '" + printable(words[0]) + "': unicorn or kvm";
  config.engine = words[0] == "kvm" ? EngineKind::kvm : EngineKind::unicorn;
  return {};
}

Failure set_cmdline(Words words, Config& config) {
  if (words[0].size() > 4000) return "'cmdline' is longer than 4000 bytes";
  config.cmdline = words[0];
  return {};
}

Failure set_arch(Words words, Config& config) {
  if (words[0] == "x86_64") {
    config.arch = format::Machine::x86_64;
  } else if (words[0] == "aarch64") {
    config.arch = format::Machine::aarch64;
  } else {
    return "unknown architecture '" + printable(words[0]) + "': x86_64 or aarch64";
  }
  return {};
}

Failure set_action(const std::string& text, DeviceAction& device) {
  device.dump = device.terminate = false;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    const std::string action = text.substr(at, comma - at);
    if (action == "dump") {
      device.dump = true;
    } else if (action == "terminate") {
      device.terminate = true;
    } else {
      return "unknown action '" + printable(action) + "': dump, terminate or dump,terminate";
    }
    at = comma + 1;
  }
  return {};
}

Failure add_device(Words words, Config& config) {
  const bool is_pvpanic = words[0] == "pvpanic";
  WatchdogConfig device;
  if (words[0] == "wdt-ib700") {
    device.device = WatchdogConfig::Device::ib700;
  } else if (words[0] == "wdt-sp805") {
    device.device = WatchdogConfig::Device::sp805;
  } else if (!is_pvpanic) {
    return "unknown device '" + printable(words[0]) + "': wdt-ib700 (x86_64), wdt-sp805 (aarch64) or pvpanic";
  }
  if (is_pvpanic ? config.pvpanic.has_value() : config.watchdog.has_value())
    return is_pvpanic ? "a second pvpanic" : "a second watchdog";
  if (words.size() > 1) {
    if (words[1] != "action" || words.size() != 3) return "after the device, 'action' and one argument are expected";
    if (auto why = set_action(words[2], device)) return why;
  }
  if (is_pvpanic) {
    config.pvpanic = device;
  } else {
    config.watchdog = device;
  }
  return {};
}

Failure set_dump(Words words, Config& config) {
  const std::string& target = words[0];
  if (target.empty() || target.find_first_not_of("| \t") == std::string::npos)
    return "'dump' needs a directory or \"|COMMAND\"";
  config.dump = target;
  for (Words more = words.subspan(1); !more.empty(); more = more.subspan(more[0] == "live" ? 1 : 2)) {
    const std::string& name = more[0];
    if (name == "live") {
      config.dump_live = true;
      continue;
    }
    if (name != "aside" && name != "deadline" && name != "rate")
      return "after the target of 'dump', 'live', 'aside SIZE', 'deadline SECONDS' and 'rate SIZE' may follow, not '" +
             printable(name) + "' (a command with blanks goes in quotation marks)";
    if (more.size() == 1) return "'" + name + "' of 'dump' needs an argument";
    if (name == "deadline") {
      const auto time = parse_seconds(more[1]);
      if (!time) return "the deadline of 'dump': " + time.error();
      config.dump_deadline = *time;
    } else {
      const auto size = parse_size(more[1]);
      if (!size) return "the " + name + " of 'dump': " + size.error();
      (name == "rate" ? config.dump_rate : config.dump_aside) = *size;
    }
  }
  return {};
}

constexpr OptionRule kOptions[] = {
    {"system", "system NAME", 1, 1, false, set_system},
    {"cpu", "cpu", 0, 0, true, add_cpu},
    {"ram", "ram [ADDRESS,]SIZE", 1, 1, true, add_ram},
    {"load", "load FILE", 1, 1, false, set_load},
    {"engine", "engine unicorn|kvm", 1, 1, false, set_engine},
    {"kernel", "kernel FILE", 1, 1, false, set_kernel},
    {"initrd", "initrd FILE", 1, 1, false, set_initrd},
    {"cmdline", "cmdline \"TEXT\"", 1, 1, false, set_cmdline},
    {"arch", "arch x86_64|aarch64", 1, 1, false, set_arch},
    {"vdev", "vdev wdt-ib700|wdt-sp805|pvpanic [action dump,terminate]", 1, 3, true, add_device},
    {"dump", "dump DIRECTORY|\"|SHELL COMMAND\" [live] [aside SIZE] [deadline SECONDS] [rate SIZE]", 1, 8, false,
     set_dump},
};

Failure apply_line(Words words, Config& config, std::vector<bool>& seen) {
  const auto* rule = std::ranges::find(kOptions, words[0], &OptionRule::name);
  if (rule == std::end(kOptions)) {
    std::vector<std::string> known;
    for (const OptionRule& option : kOptions) known.emplace_back(option.name);
    std::string why = "unknown option '" + printable(words[0]) + "'";
    if (const auto meant = did_you_mean(words[0], known)) why += ", did you mean '" + *meant + "'?";
    return why;
  }
  const size_t index = static_cast<size_t>(rule - std::begin(kOptions));
  if (seen[index] && !rule->repeatable) return "'" + words[0] + "' is given twice";
  seen[index] = true;
  const size_t count = words.size() - 1;
  if (count < rule->min_arguments || count > rule->max_arguments)
    return "'" + words[0] + "' with " + std::to_string(count) + (count == 1 ? " argument" : " arguments") +
           "; expected: " + std::string(rule->usage) +
           (count > rule->max_arguments ? " (an argument with blanks goes in quotation marks)" : "");
  return rule->apply(words.subspan(1), config);
}

constexpr format::Machine kHostMachine =
#ifdef __aarch64__
    format::Machine::aarch64;
#else
    format::Machine::x86_64;
#endif

Failure check_engine(Config& config, bool engine_given, bool arch_given) {
  if (config.kernel.empty()) {
    if (!config.initrd.empty()) return "'initrd' needs a 'kernel'";
  } else {
    if (!config.load.empty()) return "'kernel' and 'load': one of them";
    if (engine_given && config.engine == EngineKind::unicorn)
      return "'kernel' needs the engine kvm: the other one delivers no interrupts";
    config.engine = EngineKind::kvm;
  }
  if (config.engine == EngineKind::kvm && !arch_given) config.arch = kHostMachine;
  if (config.engine == EngineKind::kvm && config.arch != kHostMachine)
    return "KVM runs only guests of its own machine, which is " + std::string(format::machine_name(kHostMachine));
  return {};
}

// What can be judged only when every line is known.
Failure check_whole(Config& config, bool engine_given, bool arch_given) {
  if (const auto why = check_engine(config, engine_given, arch_given)) return why;
  if (config.ram.empty()) config.ram.push_back({.address = {}, .size = uint64_t{256} << 20});
  uint64_t total = 0;
  for (const RamRange& range : config.ram) total += range.size;
  if (total > kMaxRam) return "more RAM than this program supports (1T)";
  const uint64_t base = format::machine_info(config.arch).memory_start;
  std::vector<RamRange> sorted = config.ram;
  for (RamRange& range : sorted) range.address = range.address.value_or(base);
  std::ranges::sort(sorted, {}, [](const RamRange& range) { return *range.address; });
  for (size_t i = 1; i < sorted.size(); ++i)
    if (*sorted[i - 1].address + sorted[i - 1].size > *sorted[i].address) return "two 'ram' ranges overlap";
  if (config.watchdog) {
    const bool arm_device = config.watchdog->device == WatchdogConfig::Device::sp805;
    if (arm_device != (config.arch == format::Machine::aarch64))
      return arm_device ? "wdt-sp805 is a device of aarch64; x86_64 has wdt-ib700"
                        : "wdt-ib700 is a device of x86_64; aarch64 has wdt-sp805";
  }
  return {};
}

}  // namespace

std::expected<std::vector<std::string>, std::string> split_words(std::string_view line) {
  std::vector<std::string> words;
  size_t at = 0;
  while (true) {
    at = line.find_first_not_of(" \t\r", at);
    if (at == std::string_view::npos || line[at] == '#') return words;
    std::string word;
    while (at < line.size() && std::strchr(" \t\r", line[at]) == nullptr) {
      const char c = line[at++];
      if (c != '"' && c != '\'') {
        word += c;
        continue;
      }
      while (at < line.size() && line[at] != c) {
        if (c == '"' && line[at] == '\\' && at + 1 < line.size()) ++at;
        word += line[at++];
      }
      if (at == line.size()) return std::unexpected(std::string("a quotation mark is not closed"));
      ++at;
    }
    words.push_back(std::move(word));
  }
}

std::expected<Config, std::string> parse_config(std::string_view text, std::string_view name) {
  Config config;
  config.cpus = 0;
  std::vector<bool> seen(std::size(kOptions));
  size_t number = 0;
  while (!text.empty()) {
    ++number;
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const auto place = [&] { return std::string(name) + ":" + std::to_string(number) + ": "; };
    if (line.find('\0') != std::string_view::npos) return std::unexpected(place() + "a NUL byte: not a text file");
    const auto words = split_words(line);
    if (!words) return std::unexpected(place() + words.error());
    if (words->empty()) continue;
    if (const auto why = apply_line(*words, config, seen)) return std::unexpected(place() + *why);
  }
  if (config.cpus == 0) config.cpus = 1;
  const auto given = [&](std::string_view option) {
    return seen[static_cast<size_t>(std::ranges::find(kOptions, option, &OptionRule::name) - std::begin(kOptions))];
  };
  if (const auto why = check_whole(config, given("engine"), given("arch")))
    return std::unexpected(std::string(name) + ": " + *why);
  return config;
}

std::expected<Config, std::string> read_config(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::unexpected(path + ": " + std::strerror(errno));
  std::string text(kMaxConfigBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return std::unexpected(path + ": cannot be read: " + std::strerror(errno));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMaxConfigBytes) return std::unexpected(path + ": longer than 1 MiB: not a configuration");
  return parse_config(text, path);
}

Config demo_config(std::string dump_directory) {
  Config config;
  config.system = "demo";
  config.cpus = 2;
  config.ram = {{.address = {}, .size = uint64_t{256} << 20}};
  config.dump = std::move(dump_directory);
  return config;
}

}  // namespace gcore::tools::vmm
