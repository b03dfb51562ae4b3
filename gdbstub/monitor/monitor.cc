#include "gdbstub/monitor/monitor.h"

#include <fmt/format.h>

#include <algorithm>

#include "gdbstub/protocol/packet.h"
#include "gdbstub/protocol/registers.h"
#include "writer/base/text.h"

namespace gcore::gdbstub {
namespace {

constexpr size_t kMaxHits = 100;
constexpr size_t kMaxEchoed = 60;  // of a word that was not understood
constexpr char kCached[] = "gdb may have cached memory: `maint flush dcache` drops that\n";

/// Words are separated by blanks; quotation marks keep one together.
std::vector<std::string> split_words(std::string_view text) {
  std::vector<std::string> words;
  for (size_t at = 0; at < text.size();) {
    if (text[at] == ' ' || text[at] == '\t' || text[at] == '\n') {
      ++at;
      continue;
    }
    std::string word;
    for (bool quoted = false; at < text.size() && (quoted || (text[at] != ' ' && text[at] != '\t' && text[at] != '\n'));
         ++at) {
      if (text[at] == '"') {
        quoted = !quoted;
      } else {
        word += text[at];
      }
    }
    words.push_back(std::move(word));
  }
  return words;
}

MonitorResult change_root(Client& client, std::span<const std::string> words) {
  if (words.empty()) return space_text(client);
  std::optional<Root> root;
  std::string note;
  if (words[0] != "off") {
    const size_t equals = words[0].find('=');
    if (words.size() != 1 || equals == std::string::npos)
      return std::unexpected("say as cr3=ADDRESS, as ttbr0=ADDRESS, as ttbr1=ADDRESS or as off");
    const auto value = monitor_number(client, std::string_view(words[0]).substr(equals + 1));
    if (!value) return std::unexpected(value.error());
    root = Root{words[0].substr(0, equals), *value};
    const auto table = client.target.table_of(client.monitor_cpu(), *root);
    if (!table) return std::unexpected(table.error());
    if (*table != *value)
      note = fmt::format("{:#x} names the table at {:#x}: its other bits are no part of the address\n", *value, *table);
  }
  client.root = root;
  client.physical = false;
  return space_text(client) + note + kCached;
}

MonitorResult change_physical(Client& client, std::span<const std::string> words) {
  if (words.empty()) return fmt::format("phys is {}: {}", client.physical ? "on" : "off", space_text(client));
  if (words.size() != 1 || (words[0] != "on" && words[0] != "off")) return std::unexpected("say phys on or phys off");
  client.physical = words[0] == "on";
  return space_text(client) + kCached;
}

/// QEMU's: the vCPU that monitor commands are about.
MonitorResult choose_cpu(Client& client, std::span<const std::string> words) {
  if (words.size() > 1) return std::unexpected("say cpu N, cpu off, or cpu");
  if (!words.empty() && words[0] == "off") {
    client.monitor_choice.reset();
  } else if (!words.empty()) {
    const auto number = monitor_number(client, words[0]);
    if (!number) return std::unexpected(number.error());
    if (*number >= client.target.cpu_count())
      return std::unexpected(fmt::format("there is no vCPU {}: the last one is {}; info cpus lists them", *number,
                                         client.target.cpu_count() - 1));
    client.monitor_choice = *number;
  }
  const std::string name = client.target.cpu_name(client.monitor_cpu());
  return client.monitor_choice
             ? fmt::format("monitor commands are about {}, until cpu off\n", name)
             : fmt::format("monitor commands are about {}, which the debugger asked about last\n", name);
}

MonitorResult kernel_messages(Client& client, std::span<const std::string>) { return monitor_messages(client); }

constexpr char kFlush[] =
    "now `maint flush register-cache` and `maint flush dcache`, or `continue`, make gdb look again\n";

/// Each process on a line.
MonitorResult list_processes(const Client& client) {
  const auto all = client.target.processes(client.monitor_cpu());
  if (!all) return std::unexpected(all.error());
  std::string text;
  for (const GuestProcess& process : *all) text += fmt::format("{:>10} {}\n", process.number, process.name);
  return text.empty() ? "there are no processes\n" : text;
}

MonitorResult change_process(Client& client, std::span<const std::string> words) {
  if (words.empty()) return list_processes(client);
  if (words.size() != 1) return std::unexpected("say pid PID, pid PID-TID or pid 0");
  const size_t dash = words[0].find('-');
  const auto pid = monitor_number(client, std::string_view(words[0]).substr(0, dash));
  const auto tid = dash == std::string::npos ? std::expected<uint64_t, std::string>(1)
                                             : monitor_number(client, std::string_view(words[0]).substr(dash + 1));
  if (!pid || !tid) return std::unexpected(pid ? tid.error() : pid.error());
  if (*pid == 0 && dash == std::string::npos) {
    client.process.reset();
    return fmt::format("the vCPUs' own registers and address spaces are shown\n{}", kFlush);
  }
  const size_t cpu = client.monitor_cpu();
  const auto found = client.target.process_thread(cpu, *pid, *tid);
  if (!found) return std::unexpected(found.error());
  client.process = {.cpu = cpu, .thread = *found};
  return fmt::format("thread {} of process {} ({}), root table {:#x}, stands for vCPU {}\n{}", *tid, *pid,
                     found->process, found->root.value, cpu, kFlush);
}

MonitorResult threads_text(const Client& client) {
  if (!client.tasks) return "threads are vCPUs only; `monitor threads tasks` shows the guest's threads too\n";
  const auto all = client.target.threads();
  if (!all) return std::unexpected(all.error());
  return fmt::format("threads are the vCPUs, and the {} threads of the guest that run on none\n", all->size());
}

/// Waits until the guest's threads are found.
class ThreadsTask : public Task {
 public:
  explicit ThreadsTask(const Client& client) : client_(client) {}
  std::optional<Reply> step() override {
    if (waiting()) return std::nullopt;
    const auto text = threads_text(client_);
    return Reply{.packet = "OK", .console = text ? text->text : "threads: " + text.error() + "\n"};
  }
  Reply cancelled() override { return {.packet = "OK", .console = "they are still being looked for\n"}; }
  bool waiting() const override { return !client_.target.knows_threads(); }

 private:
  const Client& client_;
};

/// What a thread is to the debugger, which looks at the list again when it is asked for it.
MonitorResult choose_threads(Client& client, std::span<const std::string> words) {
  if (words.size() > 1 || (!words.empty() && words[0] != "tasks" && words[0] != "cpus"))
    return std::unexpected("say threads tasks, threads cpus or threads");
  if (!words.empty()) show_tasks(client, words[0] == "tasks");
  if (!client.tasks || client.target.knows_threads()) return threads_text(client);
  return MonitorAnswer(std::make_unique<ThreadsTask>(client));
}

MonitorResult help(Client& client, std::span<const std::string> words);
MonitorResult start_find(Client& client, std::span<const std::string> words);
std::string no_such_command(std::string_view word);

constexpr MonitorCommand kCommands[] = {
    {"help", "[COMMAND]", "this list", help, Asks::nothing},
    {"as", "[cr3=ADDR|ttbr0=ADDR|ttbr1=ADDR|off]", "read memory through another root page table", change_root},
    {"phys", "[on|off]", "read guest-physical memory", change_physical},
    {"cpu", "[N|off]", "the vCPU that monitor commands are about; off: the debugger's", choose_cpu, Asks::nothing},
    {"info", "[registers [-a]|mem|tlb|mtree -f|version|cpus|status]",
     "what the dump says about itself and its guest; with a word, as QEMU", monitor_info},
    {"kprintf", "", "the kernel's message ring", kernel_messages},
    {"pid", "[PID[-TID]]", "look at a QNX process in place of the vCPU; 0 goes back", change_process},
    {"threads", "[tasks|cpus]", "show the guest's threads after the vCPUs, or vCPUs only", choose_threads,
     Asks::nothing},
    {"find", "TEXT|0xHEX [START [LENGTH]]", "addresses of a text or of bytes", start_find},
};
const MonitorCommand* find_command(std::string_view name) {
  for (const auto list :
       {std::span<const MonitorCommand>(kCommands), monitor_guest_commands(), monitor_memory_commands()}) {
    const auto found = std::ranges::find(list, name, &MonitorCommand::name);
    if (found != list.end()) return &*found;
  }
  return nullptr;
}

std::string help_line(const MonitorCommand& command) {
  return fmt::format("{:<48} {}\n", fmt::format("{} {}", command.name, command.arguments), command.help);
}

std::string no_such_command(std::string_view word) {
  constexpr size_t kTypos = 2;
  std::string_view best = kCommands[0].name;
  const std::string_view start = word.substr(0, 16);
  word = word.substr(0, kMaxEchoed);
  for (const auto list :
       {std::span<const MonitorCommand>(kCommands), monitor_guest_commands(), monitor_memory_commands()})
    for (const MonitorCommand& command : list)
      if (base::edit_distance(start, command.name) < base::edit_distance(start, best)) best = command.name;
  const size_t typos = base::edit_distance(start, best);
  if (typos <= kTypos && typos < best.size())
    return fmt::format("there is no command \"{}\": did you mean monitor {}?", word, best);
  return fmt::format("there is no command \"{}\": monitor help lists what there is", word);
}

MonitorResult help(Client&, std::span<const std::string> words) {
  if (!words.empty()) {
    const MonitorCommand* command = find_command(words[0]);
    if (command == nullptr) return std::unexpected(no_such_command(words[0]));
    return help_line(*command);
  }
  std::string text;
  for (const auto list :
       {std::span<const MonitorCommand>(kCommands), monitor_guest_commands(), monitor_memory_commands()})
    for (const MonitorCommand& command : list) text += help_line(command);
  return text +
         "Numbers are decimal or 0x, also with K, M, G or T after them, or $REGISTER of the vCPU.\n"
         "The vCPU is the one that the debugger asked about last, which after `info threads` need not be that of the\n"
         "selected thread: answers begin with its number, and `monitor cpu N` chooses one.\n";
}

class FindTask : public Task {
 public:
  explicit FindTask(std::unique_ptr<Search> search) : search_(std::move(search)) {}
  std::optional<Reply> step() override {
    const bool more = search_->step(hits_, kMaxHits - hits_.size());
    if (more && hits_.size() < kMaxHits) return std::nullopt;
    return finish(search_->problem());
  }
  Reply cancelled() override { return finish("interrupted"); }

 private:
  Reply finish(std::string_view problem) const {
    std::string text;
    for (const uint64_t hit : hits_) text += fmt::format("{:#x}\n", hit);
    if (!problem.empty()) text += fmt::format("find: {}\n", problem);
    if (hits_.size() == kMaxHits)
      text += fmt::format("these are the first {}; go on with a START after the last\n", kMaxHits);
    if (hits_.empty() && problem.empty()) text += "not found\n";
    return {.packet = "OK", .console = text};
  }

  std::unique_ptr<Search> search_;
  std::vector<uint64_t> hits_;
};

MonitorResult start_find(Client& client, std::span<const std::string> words) {
  if (words.empty() || words.size() > 3 || words[0].empty())
    return std::unexpected("say find TEXT|0xHEX [START [LENGTH]]");
  std::string pattern = words[0];
  if (pattern.starts_with("0x")) {
    const auto bytes = from_hex(std::string_view(pattern).substr(2));
    if (!bytes || bytes->empty()) return std::unexpected("bytes are pairs of hex digits, in the order of memory");
    pattern = *bytes;
  }
  uint64_t bounds[2] = {0, UINT64_MAX};
  for (size_t i = 1; i < words.size(); ++i) {
    const auto number = monitor_number(client, words[i]);
    if (!number) return std::unexpected(number.error());
    bounds[i - 1] = *number;
  }
  if (bounds[1] == 0) return std::unexpected("the length is 0: leave it out to search up to the end");
  const uint64_t last = bounds[0] + std::min(bounds[1] - 1, UINT64_MAX - bounds[0]);
  auto search = client.target.search(client.monitor_space(), bounds[0], last, pattern);
  if (!search) return std::unexpected(search.error());
  return MonitorAnswer(std::make_unique<FindTask>(std::move(*search)));
}

class ListTask : public Task {
 public:
  ListTask(std::unique_ptr<MappingList> list, std::unique_ptr<MappingText> text)
      : list_(std::move(list)), text_(std::move(text)) {}
  std::optional<Reply> step() override {
    if (list_->step([this](const Mapping& mapping) { return text_->add(mapping); })) return std::nullopt;
    return Reply{.packet = "OK", .console = text_->finish(list_->note())};
  }
  Reply cancelled() override { return {.packet = "OK", .console = text_->finish("interrupted")}; }

 private:
  std::unique_ptr<MappingList> list_;
  std::unique_ptr<MappingText> text_;
};

}  // namespace

MonitorAnswer list_mappings(const Client& client, std::unique_ptr<MappingText> text) {
  return MonitorAnswer(std::make_unique<ListTask>(client.target.list(client.monitor_space()), std::move(text)));
}

std::string space_owner(const Client& client) {
  const size_t which = client.monitor_cpu();
  if (client.physical) return "";
  return client.is_cpu(which) ? fmt::format("vCPU {}: ", which) : client.target.cpu_name(which) + ": ";
}

std::string space_text(const Client& client) {
  return space_owner(client) + client.target.describe(client.monitor_space()) + "\n";
}

std::string note_line(std::string_view note) { return note.empty() ? "" : fmt::format("note: {}\n", note); }

std::expected<uint64_t, std::string> monitor_number(const Client& client, std::string_view word) {
  const auto bad = [word = word.substr(0, kMaxEchoed)] {
    return std::unexpected(fmt::format("\"{}\" is no number: say 4096, 0x1000, 4K or a register such as $pc", word));
  };
  if (word.starts_with('$')) {
    const RegisterSet& set = register_set(client.target.arch());
    const Register* reg = word == "$pc"   ? &set.all[set.program_counter]
                          : word == "$sp" ? &set.all[set.stack_pointer]
                                          : find_register(client.target.arch(), word.substr(1));
    const auto value = reg == nullptr ? std::nullopt : client.register_value(client.monitor_cpu(), reg->low);
    if (!value) return std::unexpected(fmt::format("the dump has no register {} for this vCPU", word));
    return *value;
  }
  std::string_view digits = word;
  const size_t unit = word.empty() ? std::string_view::npos : std::string_view("KMGT").find(word.back());
  if (unit != std::string_view::npos) digits.remove_suffix(1);
  std::optional<uint64_t> value;
  if (digits.starts_with("0x")) {
    value = parse_hex(digits.substr(2));
  } else if (!digits.empty()) {
    value = 0;
    for (const char c : digits) {
      if (c < '0' || c > '9') return bad();
      if (__builtin_mul_overflow(*value, uint64_t{10}, &*value) ||
          __builtin_add_overflow(*value, static_cast<uint64_t>(c - '0'), &*value))
        return bad();
    }
  }
  const uint64_t factor = unit == std::string_view::npos ? 1 : uint64_t{1} << (10 * (unit + 1));
  if (!value || __builtin_mul_overflow(*value, factor, &*value)) return bad();
  return *value;
}

Reply run_monitor(Client& client, std::string_view command) {
  auto words = split_words(command);
  // QEMU takes "xp/4xg ADDRESS" for "xp /4xg ADDRESS".
  if (const size_t slash = words.empty() ? 0 : words[0].find('/'); slash != 0 && slash != std::string::npos) {
    words.insert(words.begin() + 1, words[0].substr(slash));
    words[0].resize(slash);
  }
  if (words.empty()) words.emplace_back("help");
  const std::span<const std::string> arguments = std::span(words).subspan(1);
  const MonitorCommand* found = find_command(words[0]);
  if (found == nullptr) return {.packet = "OK", .console = no_such_command(words[0]) + "\n"};
  return when_known(client, found->run == monitor_info ? info_asks(arguments) : found->asks,
                    [&client, found, words = std::move(words)]() -> Reply {
                      auto result = found->run(client, std::span(words).subspan(1));
                      if (!result)
                        return {.packet = "OK", .console = fmt::format("{}: {}\n", words[0], result.error())};
                      return {.packet = "OK", .console = std::move(result->text), .task = std::move(result->task)};
                    });
}

}  // namespace gcore::gdbstub
