// What users get wrong: each program says in one line what it attempted, on what, and why it failed; its exit code
// tells a failure (1) from a wrong call (2); and it leaves nothing behind.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <ostream>

#include "tests/support/dump_builder.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/regex.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

constexpr int kFailed = 1;
constexpr int kUsage = 2;

/// Arguments may name the files that BadInput makes, as in "@good" or "@folder/x.gcore".
struct Case {
  std::string name;
  const char* program;
  std::vector<std::string> arguments;
  int exit_code;
  std::string names;     ///< what the message must name: the file, the option, ...
  bool as_user = false;  ///< without root's right to pass over permissions
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.program << " " << c.name; }

QnxNote one_cpu() {
  QnxNote note;
  note.cpus.push_back({.pgtbl = 0, .number = 0, .process = {}, .registers = {{"rip", 0x1000}}});
  return note;
}

class BadInput : public testing::TestWithParam<Case> {
 protected:
  BadInput() {
    DumpBuilder good;
    good.note(one_cpu().build()).memory(0x1000, std::string(8192, 'g'));
    good.write(folder_.path("good"));
    const std::string bytes = good.build();
    folder_.write("cut-in-header", bytes.substr(0, 40));
    folder_.write("cut-in-table", bytes.substr(0, 100));
    DumpBuilder cut_in_notes = good;
    cut_in_notes.cut(64 + 2 * 56 + 20).write(folder_.path("cut-in-notes"));
    DumpBuilder short_note;
    short_note.note(std::string(8, '\0')).write(folder_.path("short-note"));  // with memory it would open
    QnxNote wrong = one_cpu();
    wrong.regset_size = 0xfffffff0;
    DumpBuilder wrong_note;
    wrong_note.note(wrong.build()).write(folder_.path("wrong-regset"));
    DumpBuilder arm;
    arm.machine = kEmAarch64;
    arm.note(elf_note("CORE", 1, prstatus(kEmAarch64, 1, {}))).memory(0, "m").write(folder_.path("arm"));
    folder_.write("text", "this is a text\n");
    folder_.write("empty", "");
    folder_.write("gzip-of-nothing", std::string("\x1f\x8b\x08\x00", 4));
    folder_.write("zstd-of-nothing", "\x28\xb5\x2f\xfd");
    folder_.write("wrong-word.conf", "cpu\nram 32M\ncolour blue\n");
    folder_.write("wrong-size.conf", "cpu\nram lots\n");
    folder_.write("missing-load.conf", "cpu\nram 32M\nload " + folder_.path("no-such-guest") + "\n");
    folder_.write("text-load.conf", "cpu\nram 32M\nload " + folder_.path("text") + "\n");
    folder_.write("missing-folder.conf", "cpu\nram 32M\ndump " + folder_.path("no-such-folder") + "/dumps\n");
    folder_.write("file-as-folder.conf", "cpu\nram 32M\ndump " + folder_.path("text") + "\n");
    folder_.write("open-quote.conf", "cpu\nram 32M\ndump \"|cat\n");
    std::filesystem::copy_file(program("gcore-inspect"), folder_.path("program"));
    std::filesystem::create_symlink("good", folder_.path("link-to-good"));
    std::filesystem::create_hard_link(folder_.path("good"), folder_.path("also-good"));
    std::filesystem::create_directory(folder_.path("folder"));
    std::filesystem::create_directory(folder_.path("locked"));
    std::filesystem::permissions(folder_.path("locked"), std::filesystem::perms(0555));
    folder_.write("secret", bytes);
    std::filesystem::permissions(folder_.path("secret"), std::filesystem::perms(0));
  }

  void occupy_port() {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    ASSERT_EQ(bind(listener_, generic, length), 0);
    ASSERT_EQ(listen(listener_, 1), 0);
    ASSERT_EQ(getsockname(listener_, generic, &length), 0);
    port_ = std::to_string(ntohs(address.sin_port));
  }

  std::string expand(std::string argument) const {
    if (argument == "127.0.0.1:@port") return "127.0.0.1:" + port_;
    if (argument.starts_with("@")) return folder_.path(argument.substr(1));
    return argument;
  }

  std::vector<std::string> everything() const {
    std::vector<std::string> paths;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path())) {
      paths.push_back(entry.path().string() + (entry.is_regular_file() ? std::to_string(entry.file_size()) : ""));
    }
    std::sort(paths.begin(), paths.end());
    return paths;
  }

  ~BadInput() override {
    if (listener_ >= 0) close(listener_);
  }

  TempDir folder_;
  int listener_ = -1;
  std::string port_;
};

TEST_P(BadInput, IsAnsweredInOneLine) {
  const Case& c = GetParam();
  occupy_port();
  std::vector<std::string> argv;
  if (c.as_user && geteuid() == 0) {
    const std::string rights = "-dac_override,-dac_read_search";
    argv = {"setpriv", "--inh-caps=" + rights, "--bounding-set=" + rights};
  }
  argv.push_back(program(c.program));
  for (const std::string& argument : c.arguments) argv.push_back(expand(argument));
  const auto before = everything();
  const Completed done = run(argv, 20s);
  ASSERT_FALSE(done.timed_out);
  EXPECT_EQ(done.status, (ExitStatus{c.exit_code, 0})) << done.err;
  EXPECT_EQ(done.out, "");
  EXPECT_EQ(std::count(done.err.begin(), done.err.end(), '\n'), 1) << done.err;
  const char* form = c.exit_code == kUsage ? ": [^\n]+--help\n" : ": [^\n]+: [^\n]+\n";
  EXPECT_THAT(done.err, MatchesRegex(std::string(c.program) + form));
  EXPECT_THAT(done.err, HasSubstr(c.names)) << done.err;
  EXPECT_EQ(everything(), before);
}

/// What goes wrong with any option: its argument is forgotten or empty, it is given twice, a flag gets an argument.
/// `base`: what makes the rest of the command line right.
std::vector<Case> option_cases(const char* program, const std::vector<std::string>& base,
                               const std::vector<std::string>& with_argument, const std::vector<std::string>& flags) {
  std::vector<Case> cases;
  const auto add = [&](const std::string& option, const char* what, std::vector<std::string> words, const char* says) {
    std::string name = "option_" + option + what;
    std::ranges::replace(name, '-', '_');
    words.insert(words.begin(), base.begin(), base.end());
    cases.push_back({name, program, words, kUsage, "--" + option + says});
  };
  for (const std::string& option : with_argument) {
    add(option, "_without_argument", {"--" + option}, " needs an argument");
    add(option, "_empty", {"--" + option, ""}, " needs an argument");
    add(option, "_twice", {"--" + option, "1", "--" + option, "1"}, " is given twice");
  }
  for (const std::string& option : flags) {
    add(option, "_with_argument", {"--" + option + "=1"}, " takes no argument");
    add(option, "_twice", {"--" + option, "--" + option}, " is given twice");
  }
  return cases;
}

void append(std::vector<Case>& cases, std::vector<Case> more) { std::ranges::move(more, std::back_inserter(cases)); }

/// The wrong dumps that every program that reads one must refuse.
std::vector<Case> dump_cases(const char* program, const std::vector<std::string>& more) {
  std::vector<Case> cases{
      {"missing", program, {"@no-such-file"}, kFailed, "no-such-file"},
      {"folder", program, {"@folder"}, kFailed, "folder"},
      {"text", program, {"@text"}, kFailed, "text"},
      {"empty", program, {"@empty"}, kFailed, "empty"},
      {"unreadable", program, {"@secret"}, kFailed, "secret: Permission denied", true},
      {"executable", program, {"@program"}, kFailed, "program"},
      {"cut_in_header", program, {"@cut-in-header"}, kFailed, "cut-in-header"},
      {"cut_in_table", program, {"@cut-in-table"}, kFailed, "cut-in-table"},
      {"cut_in_notes", program, {"@cut-in-notes"}, kFailed, "cut-in-notes"},
      {"short_note", program, {"@short-note"}, kFailed, "short-note"},
      {"wrong_regset", program, {"@wrong-regset"}, kFailed, "wrong-regset"},
      {"endless_device", program, {"/dev/zero"}, kFailed, "/dev/zero"},
      {"gzip_of_nothing", program, {"@gzip-of-nothing"}, kFailed, "gzip-of-nothing"},
      {"zstd_of_nothing", program, {"@zstd-of-nothing"}, kFailed, "zstd-of-nothing"},
  };
  for (Case& c : cases) c.arguments.insert(c.arguments.end(), more.begin(), more.end());
  cases.push_back({"no_argument", program, {}, kUsage, "--help"});
  std::vector<std::string> misspelt{"@good", "--regsters"};
  misspelt.insert(misspelt.end(), more.begin(), more.end());
  cases.push_back({"misspelt_option", program, misspelt, kUsage, "--regsters"});
  cases.push_back({"unset_variable", program, {""}, kUsage, "--help"});
  if (more.empty() || more[0].starts_with("--")) {
    cases.back().arguments.insert(cases.back().arguments.end(), more.begin(), more.end());
    cases.back().names = "an argument is empty";
  }
  return cases;
}

std::vector<Case> inspect_cases() {
  const char* p = "gcore-inspect";
  auto cases = dump_cases(p, {});
  cases.insert(
      cases.end(),
      {{"two_dumps", p, {"@good", "@good"}, kUsage, ""},
       {"no_such_vcpu", p, {"@good", "--registers", "7"}, kFailed, "7"},
       {"not_a_number", p, {"@good", "--translate", "12xyz"}, kUsage, "12xyz"},
       {"find_without_text", p, {"@good", "--find", ""}, kUsage, "--find needs an argument"},
       {"read_without_length", p, {"@good", "--read", "0x1000"}, kUsage, "0x1000"},
       {"read_of_nothing", p, {"@good", "--read", "0x9999000:16", "--phys"}, kFailed, "0x9999000"},
       {"registers_of_a_name", p, {"@good", "--registers=first"}, kUsage, "--registers: 'first'"},
       {"registers_of_a_second_word", p, {"@good", "--registers", "first"}, kUsage, "'first'"},
       {"registers_of_less_than_none", p, {"@good", "--registers", "-1"}, kUsage, "-1"},
       {"registers_of_all_and_one", p, {"@good", "--registers", "all", "--vcpu", "0"}, kUsage, "--vcpu and"},
       {"registers_past_64_bits", p, {"@good", "--registers=0x10000000000000000"}, kUsage, "64 bits"},
       {"register_misspelt", p, {"@good", "--register", "0"}, kUsage, "did you mean --registers?"},
       {"backtrace_of_no_vcpu", p, {"@good", "--backtrace", "--vcpu", "1"}, kFailed, "has 1 vCPU"},
       {"backtrace_of_a_second_word", p, {"@good", "--backtrace", "0"}, kUsage, "'0'"},
       {"missing_symbols", p, {"@good", "--symbols", "@no-such-elf"}, kFailed, "no-such-elf"},
       {"empty_symbols", p, {"@good", "--symbols", "@empty"}, kFailed, "empty: it is empty"},
       {"dump_as_symbols", p, {"@good", "--symbols", "@good"}, kFailed, "good: it is a memory dump"},
       {"symbols_of_another_machine", p, {"@arm", "--symbols", "@program"}, kFailed, "it is for another machine"},
       {"unreadable_symbols", p, {"@good", "--symbols", "@secret"}, kFailed, "secret: Permission denied", true},
       {"json_of_another_form", p, {"@good", "--json=1"}, kUsage, "--json takes nothing or =lines, not '1'"},
       {"json_twice", p, {"@good", "--json", "--json"}, kUsage, "--json is given twice"},
       {"json_with_stats_and_why", p, {"@good", "--json", "--stats", "--why"}, kUsage, "--stats and --why"},
       {"download_of_a_file", p, {"@good", "--download"}, kUsage, "is no address of a server"},
       {"symbols_forgotten", p, {"@good", "--symbols"}, kUsage, "--symbols needs an argument: FILE|DIR"},
       {"symbols_unset", p, {"@good", "--symbols", ""}, kUsage, "--symbols needs an argument: FILE|DIR"},
       {"second_symbols_missing",
        p,
        {"@good", "--symbols", "@program", "--symbols", "@no-such-elf"},
        kFailed,
        "no-such-elf"},
       {"kaslr_offset_by_name", p, {"@good", "--symbols", "@program", "--kaslr-offset", "some"}, kUsage, "'some'"},
       {"kaslr_offset_below_0", p, {"@good", "--symbols", "@program", "--kaslr-offset", "-4096"}, kUsage, "'-4096'"},
       {"kaslr_offset_too_big",
        p,
        {"@good", "--symbols", "@program", "--kaslr-offset", "99999999999999999999"},
        kUsage,
        "99999999999999999999"},
       {"kaslr_offset_misspelt", p, {"@good", "--kaslroffset", "0"}, kUsage, "did you mean --kaslr-offset?"},
       {"html_in_locked_folder", p, {"@good", "--html", "@locked/x.html"}, kFailed, "Permission denied", true},
       {"html_in_missing_folder", p, {"@good", "--html", "@missing/x.html"}, kFailed, "missing/x.html"},
       {"html_is_a_folder", p, {"@good", "--html", "@folder"}, kFailed, "it is a folder"},
       {"html_is_the_dump", p, {"@good", "--html", "@good"}, kFailed, "that is the dump itself"},
       {"html_is_another_file", p, {"@good", "--html", "@text"}, kFailed, "text: it exists and is no page"},
       {"html_on_a_full_disk", p, {"@good", "--html", "/dev/full"}, kFailed, "No space left on device"},
       {"text_as_symbols", p, {"@good", "--symbols", "@text"}, kFailed, "text"},
       {"folder_as_symbols", p, {"@good", "--symbols", "@folder"}, kFailed, "folder"},
       {"kaslr_offset_without_symbols", p, {"@good", "--kaslr-offset", "0"}, kUsage, "--symbols"},
       {"two_modes", p, {"@good", "--map", "--stats"}, kUsage, "--map and --stats"},
       {"json_and_html", p, {"@good", "--diff", "@good", "--json", "--html", "@x"}, kUsage, "--json and --html"},
       {"translate_unmapped", p, {"@good", "--translate", "0x1000"}, kFailed, "translate 0x1000"},
       {"translate_a_name", p, {"@good", "--translate", "main"}, kUsage, "main"},
       {"map_of_no_vcpu", p, {"@good", "--map", "--vcpu", "9"}, kFailed, "9"},
       {"vcpu_by_name", p, {"@good", "--map", "--vcpu", "first"}, kUsage, "first"},
       {"raw_without_read", p, {"@good", "--raw"}, kUsage, "--raw needs --read"},
       {"find_odd_digits", p, {"@good", "--find", "0xabc"}, kUsage, "0xabc"},
       {"find_nothing", p, {"@good", "--find", "nowhere"}, kFailed, "not found"},
       {"read_past_the_end", p, {"@good", "--read", "0xffffffffffffffff:2"}, kUsage, "end of the address space"},
       {"read_bad_size", p, {"@good", "--read", "0x1000:many"}, kUsage, "many"},
       {"diff_missing", p, {"@good", "--diff", "@no-such-file"}, kFailed, "no-such-file"},
       {"diff_unreadable", p, {"@good", "--diff", "@secret"}, kFailed, "secret: Permission denied", true},
       {"diff_of_three", p, {"@good", "--diff", "@good", "@good"}, kUsage, "one argument too many"},
       {"diff_and_registers", p, {"@good", "--diff", "@good", "--registers"}, kUsage, "--diff and --registers"},
       {"diff_html_is_another_file", p, {"@good", "--diff", "@good", "--html", "@text"}, kFailed, "text: it exists"},
       {"diff_html_on_a_full_disk", p, {"@good", "--diff", "@good", "--html", "/dev/full"}, kFailed, "No space left"},
       {"exit_code_misspelt", p, {"@good", "--diff", "@good", "--exitcode"}, kUsage, "did you mean --exit-code?"},
       {"exit_code_of_a_number", p, {"@good", "--diff", "@good", "--exit-code", "3"}, kUsage, "'3'"},
       {"diff_text", p, {"@good", "--diff", "@text"}, kFailed, "text"},
       {"diff_folder", p, {"@good", "--diff", "@folder"}, kFailed, "folder"},
       {"diff_empty", p, {"@good", "--diff", "@empty"}, kFailed, "empty"},
       {"diff_cut", p, {"@good", "--diff", "@cut-in-table"}, kFailed, "cut-in-table"},
       {"diff_other_machine", p, {"@good", "--diff", "@arm"}, kFailed, "aarch64"},
       {"diff_html_is_the_other_dump", p, {"@good", "--diff", "@arm", "--html", "@arm"}, kFailed, "aarch64"},
       {"diff_html_is_the_dump", p, {"@good", "--diff", "@good", "--html", "@good"}, kFailed, "the dump itself"},
       {"diff_both_from_stdin", p, {"-", "--diff", "-"}, kUsage, "standard input"},
       {"diff_and_stats", p, {"@good", "--diff", "@good", "--stats"}, kUsage, "--diff and --stats"},
       {"exit_code_without_diff", p, {"@good", "--exit-code"}, kUsage, "--exit-code needs --diff"}});
  append(cases, option_cases(p, {"@good"}, {"html", "translate", "read", "find", "vcpu", "diff"},
                             {"download", "no-sign-request", "segments", "map", "stats", "verify", "backtrace", "phys",
                              "raw", "exit-code", "progress"}));
  append(cases, option_cases(p, {"@good", "--symbols", "@program"}, {"kaslr-offset"}, {}));
  return cases;
}

std::vector<Case> serve_cases() {
  const char* p = "gcore-serve";
  auto cases = dump_cases(p, {"--listen", "127.0.0.1:0"});
  cases.insert(
      cases.end(),
      {{"port_in_use", p, {"@good", "--listen", "127.0.0.1:@port"}, kFailed, "127.0.0.1"},
       {"no_port", p, {"@good", "--listen", "127.0.0.1"}, kUsage, "127.0.0.1"},
       {"port_too_big", p, {"@good", "--listen", "127.0.0.1:65536"}, kUsage, "65536"},
       {"foreign_address", p, {"@good", "--listen", "192.0.2.1:0"}, kFailed, "192.0.2.1"},
       {"socket_in_missing_folder", p, {"@good", "--unix", "@missing/socket"}, kFailed, "missing/socket"},
       {"socket_without_name", p, {"@good", "--unix", ""}, kUsage, "--unix needs an argument: PATH"},
       {"socket_is_a_file", p, {"@good", "--unix", "@text"}, kFailed, "text"},
       {"log_in_missing_folder",
        p,
        {"@good", "--listen", "127.0.0.1:0", "--log", "@missing/log"},
        kFailed,
        "missing/log"},
       {"missing_symbols", p, {"@good", "--listen", "127.0.0.1:0", "--symbols", "@no-elf"}, kFailed, "no-elf"},
       {"text_as_symbols", p, {"@good", "--stdio", "--symbols", "@text"}, kFailed, "text: it is not an ELF file"},
       {"folder_as_symbols", p, {"@good", "--stdio", "--symbols", "@folder"}, kFailed, "folder: it is an empty folder"},
       {"symbols_forgotten", p, {"@good", "--stdio", "--symbols"}, kUsage, "--symbols needs an argument"},
       {"symbols_unset", p, {"@good", "--stdio", "--symbols", ""}, kUsage, "--symbols needs an argument"},
       {"empty_symbols", p, {"@good", "--stdio", "--symbols", "@empty"}, kFailed, "empty"},
       {"dump_as_symbols", p, {"@good", "--stdio", "--symbols", "@good"}, kFailed, "it is a memory dump"},
       {"symbols_of_another_machine", p, {"@arm", "--stdio", "--symbols", "@program"}, kFailed, "machine"},
       {"unreadable_symbols",
        p,
        {"@good", "--stdio", "--symbols", "@secret"},
        kFailed,
        "secret: Permission denied",
        true},
       {"log_in_locked_folder", p, {"@good", "--stdio", "--log", "@locked/log"}, kFailed, "locked/log", true},
       {"socket_in_locked_folder", p, {"@good", "--unix", "@locked/s"}, kFailed, "locked/s", true},
       {"socket_is_a_folder", p, {"@good", "--unix", "@folder"}, kFailed, "folder"},
       {"stdio_and_port", p, {"@good", "--stdio", "--listen", "127.0.0.1:0"}, kUsage, "exclude each other"},
       {"stdio_and_socket", p, {"@good", "--stdio", "--unix", "@x"}, kUsage, "exclude each other"},
       {"dump_and_client_on_stdin", p, {"-", "--stdio"}, kUsage, "standard input"},
       {"port_below_0", p, {"@good", "--listen", "127.0.0.1:-1"}, kUsage, "127.0.0.1:-1"},
       {"port_alone", p, {"@good", "--listen", "1234"}, kUsage, "HOST:PORT"},
       {"listen_misspelt", p, {"@good", "--listn", "127.0.0.1:0"}, kUsage, "did you mean --listen?"},
       {"two_dumps", p, {"@good", "@good"}, kUsage, "one argument too many"},
       {"port_by_name", p, {"@good", "--listen", "127.0.0.1:gdb"}, kUsage, "gdb"},
       {"log_is_the_dump", p, {"@good", "--stdio", "--log", "@good"}, kFailed, "good: that is the dump itself"},
       {"log_leads_to_the_dump", p, {"@good", "--stdio", "--log", "@link-to-good"}, kFailed, "that is the dump itself"},
       {"log_is_the_dump_by_another_name",
        p,
        {"@link-to-good", "--stdio", "--log", "@also-good"},
        kFailed,
        "that is the dump itself"},
       {"log_is_the_symbols",
        p,
        {"@good", "--stdio", "--symbols", "@program", "--log", "@program"},
        kFailed,
        "that is the file of symbols itself"},
       {"log_is_a_folder", p, {"@good", "--listen", "127.0.0.1:0", "--log", "@folder"}, kFailed, "folder"}});
  append(cases, option_cases(p, {"@good"}, {"listen", "unix", "log"}, {"stdio", "once"}));
  return cases;
}

std::vector<Case> convert_cases() {
  const char* p = "gcore-convert";
  auto cases = dump_cases(p, {"@folder/out"});
  cases.insert(
      cases.end(),
      {{"out_exists", p, {"@good", "@text"}, kFailed, "text"},
       {"out_is_in", p, {"@good", "@good"}, kFailed, "good"},
       {"out_in_missing_folder", p, {"@good", "@missing/out"}, kFailed, "missing/out"},
       {"no_out", p, {"@good"}, kUsage, ""},
       {"unknown_dialect", p, {"@good", "@folder/out", "--dialect", "klingon"}, kUsage, "klingon"},
       {"unknown_compression", p, {"@good", "@folder/out", "--compress", "rar"}, kUsage, "rar"},
       {"three_files", p, {"@good", "@folder/out", "@text"}, kUsage, "one argument too many"},
       {"out_is_a_folder", p, {"@good", "@folder"}, kFailed, "folder"},
       {"out_is_standard_output", p, {"@good", "-"}, kUsage, "one of that name is ./-"},
       {"out_is_a_command", p, {"@good", "|cat"}, kUsage, "not standard output or a command"},
       {"range_without_size", p, {"@good", "@folder/out", "--range", "0x1000"}, kUsage, "no colon"},
       {"range_without_memory", p, {"@good", "@folder/out", "--range", "0x9999000:4K"}, kFailed, "no memory in"},
       {"empty_out", p, {"@good", ""}, kUsage, "an argument is empty"}});
  append(cases, option_cases(p, {"@good", "@folder/out"}, {"dialect", "compress"}, {"force"}));
  return cases;
}

std::vector<Case> dump_program_cases() {
  const char* p = "gcore-dump";
  std::vector<Case> cases{
      {"no_argument", p, {}, kUsage, "--help"},
      {"no_qmp", p, {"@folder"}, kUsage, "--qmp"},
      {"misspelt_option", p, {"@folder", "--qpm", "x"}, kUsage, "--qpm"},
      {"no_such_socket", p, {"--qmp", "@no-socket", "@folder"}, kFailed, "no-socket"},
      {"socket_is_a_file", p, {"--qmp", "@text", "@folder"}, kFailed, "text"},
      {"unknown_dialect", p, {"--qmp", "@no-socket", "--dialect", "klingon", "@folder"}, kUsage, "klingon"},
      {"unknown_compression", p, {"--qmp", "@no-socket", "--compress", "rar", "@folder"}, kUsage, "rar"},
      {"empty_directory", p, {"--qmp", "@no-socket", ""}, kUsage, "an argument is empty"},
      {"reconnect_without_watch", p, {"--qmp", "@no-socket", "--reconnect", "@folder"}, kUsage, "needs --watch"},
      {"keep_none", p, {"--qmp", "@no-socket", "--keep", "0", "@folder"}, kUsage, "would remove the dump"},
      {"keep_by_name", p, {"--qmp", "@no-socket", "--keep", "some", "@folder"}, kUsage, "some"},
      {"keep_of_a_command", p, {"--qmp", "@no-socket", "--keep", "2", "|cat"}, kUsage, "--keep is about a directory"},
      {"partial_of_a_command", p, {"--qmp", "@no-socket", "--keep-partial", "|cat"}, kUsage, "--keep-partial is about"},
      {"deadline_by_name", p, {"--qmp", "@no-socket", "--deadline", "soon", "@folder"}, kUsage, "soon"},
      {"rate_by_name", p, {"--qmp", "@no-socket", "--rate", "fast", "@folder"}, kUsage, "fast"},
      {"no_command", p, {"--qmp", "@no-socket", "| "}, kUsage, "no command after the pipe sign"},
      {"socket_with_its_options", p, {"--qmp", "unix:x,server=on", "@folder"}, kFailed, "takes the path alone"},
      {"socket_by_port", p, {"--qmp", "localhost:4444", "@folder"}, kFailed, "takes the path of a UNIX socket"},
      {"two_directories", p, {"--qmp", "@no-socket", "@folder", "@folder"}, kUsage, "one argument too many"}};
  append(cases, option_cases(p, {"@folder"}, {"qmp", "system", "dialect", "compress", "pid-file"}, {"watch"}));
  return cases;
}

std::vector<Case> vmm_cases() {
  const char* p = "gcore-vmm";
  std::vector<Case> cases{{"no_argument", p, {}, kUsage, "--help"},
                          {"misspelt_option", p, {"--dmeo"}, kUsage, "--dmeo"},
                          {"missing_config", p, {"@no-such-config"}, kFailed, "no-such-config"},
                          {"folder_as_config", p, {"@folder"}, kFailed, "folder"},
                          {"wrong_word", p, {"@wrong-word.conf"}, kFailed, "colour"},
                          {"wrong_size", p, {"@wrong-size.conf"}, kFailed, "lots"},
                          {"open_quotation_mark", p, {"@open-quote.conf"}, kFailed, "open-quote.conf"},
                          {"missing_guest", p, {"@missing-load.conf"}, kFailed, "no-such-guest"},
                          {"missing_dump_folder", p, {"@missing-folder.conf"}, kFailed, "no-such-folder"},
                          {"dump_folder_is_a_file", p, {"@file-as-folder.conf"}, kFailed, "text"},
                          {"guest_is_a_text", p, {"@text-load.conf"}, kFailed, "text"},
                          {"empty_config", p, {""}, kUsage, "an argument is empty"},
                          {"two_configs", p, {"@wrong-word.conf", "@wrong-word.conf"}, kUsage, "one argument too many"},
                          {"unknown_dialect", p, {"--demo", "--dialect", "klingon"}, kUsage, "klingon"},
                          {"unknown_compression", p, {"--demo", "--compress", "rar"}, kUsage, "rar"},
                          {"deadline_by_name", p, {"--demo", "--deadline", "soon"}, kUsage, "soon"},
                          {"rate_by_name", p, {"--demo", "--rate", "fast"}, kUsage, "fast"},
                          {"dump_as_config", p, {"@good"}, kFailed, "good"}};
  append(cases, option_cases(p, {"@wrong-word.conf"}, {"dump-directory", "dialect", "compress", "pid-file"}, {"demo"}));
  return cases;
}

std::vector<Case> kdserver_cases() {
  const char* p = "kdserver";
  return {{"missing", p, {"@no-such-file"}, kFailed, "no-such-file"},
          {"folder", p, {"@folder"}, kFailed, "folder"},
          {"text", p, {"@text"}, kFailed, "text"},
          {"empty", p, {"@empty"}, kFailed, "empty"},
          {"executable", p, {"@program"}, kFailed, "program"},
          {"cut_in_header", p, {"@cut-in-header"}, kFailed, "cut-in-header"},
          {"cut_in_table", p, {"@cut-in-table"}, kFailed, "cut-in-table"},
          {"cut_in_notes", p, {"@cut-in-notes"}, kFailed, "cut-in-notes"},
          {"gzip_of_nothing", p, {"@gzip-of-nothing"}, kFailed, "gzip-of-nothing"},
          {"two_files", p, {"@good", "@good"}, kUsage, "one argument too many"},
          {"standard_input", p, {"-"}, kUsage, "standard input"},
          {"processor_by_name", p, {"-P", "first", "@good"}, kUsage, "first"},
          {"unreadable", p, {"@secret"}, kFailed, "secret: Permission denied", true},
          {"short_note", p, {"@short-note"}, kFailed, "short-note"},
          {"unset_variable", p, {""}, kUsage, "an argument is empty"},
          {"no_file_here", p, {}, kFailed, "kdump.elf: No such file"},
          {"processor_below_0", p, {"-P", "-1", "@good"}, kUsage, "'-1'"},
          {"processor_twice", p, {"-P", "0", "-P", "1", "@good"}, kUsage, "-P is given twice"},
          {"option_of_gcore_serve", p, {"--listen", "127.0.0.1:0", "@good"}, kUsage, "--listen"},
          {"processor_forgotten", p, {"-P"}, kUsage, "P needs an argument"},
          {"unknown_option", p, {"-x", "@good"}, kUsage, "-x"}};
}

std::string case_name(const testing::TestParamInfo<Case>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Inspect, BadInput, testing::ValuesIn(inspect_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Serve, BadInput, testing::ValuesIn(serve_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Convert, BadInput, testing::ValuesIn(convert_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Dump, BadInput, testing::ValuesIn(dump_program_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Kdserver, BadInput, testing::ValuesIn(kdserver_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Vmm, BadInput, testing::ValuesIn(vmm_cases()), case_name);

// A disk that fills up while results are printed.
TEST(FullDisk, IsNamedAsTheCause) {
  TempDir folder;
  DumpBuilder dump;
  dump.note(one_cpu().build()).memory(0x1000, std::string(1 << 20, 'g')).write(folder.path("good"));
  for (const char* mode : {"--read 0x1000:1M --phys --raw", "--read 0x1000:1M --phys", "--json", "--stats", "",
                           "--diff good", "--diff good --json"}) {
    const Completed done =
        run({"sh", "-c", "cd \"$1\" && \"$0\" good $2 >/dev/full", program("gcore-inspect"), folder.path(), mode});
    EXPECT_EQ(done.status, (ExitStatus{kFailed, 0})) << mode;
    EXPECT_EQ(done.err, "gcore-inspect: write to standard output: No space left on device\n") << mode;
  }
}

// --help and --version are results: on stdout, with success.
class Programs : public testing::TestWithParam<const char*> {};

TEST_P(Programs, ExplainThemselves) {
  const Completed help = run({program(GetParam()), "--help"}, 20s);
  EXPECT_EQ(help.status, (ExitStatus{0, 0}));
  EXPECT_EQ(help.err, "");
  EXPECT_THAT(help.out, HasSubstr(GetParam()));
  EXPECT_THAT(help.out, HasSubstr("--version"));
  const Completed version = run({program(GetParam()), "--version"}, 20s);
  EXPECT_EQ(version.status, (ExitStatus{0, 0}));
  EXPECT_THAT(version.out, testing::ContainsRegex("^" + std::string(GetParam()) + " [0-9]+\\.[0-9]+"));
}

TEST_P(Programs, ReportAFullDevice) {
  // Results that cannot be written are a failure, not a success.
  const Completed done = run({"sh", "-c", program(GetParam()) + " --help >/dev/full"}, 20s);
  EXPECT_EQ(done.status, (ExitStatus{kFailed, 0}));
  EXPECT_THAT(done.err, MatchesRegex(std::string(GetParam()) + ": [^\n]+\n"));
}

INSTANTIATE_TEST_SUITE_P(Each, Programs,
                         testing::Values("gcore-vmm", "gcore-dump", "gcore-inspect", "gcore-serve", "gcore-convert",
                                         "kdserver"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace gcore::tests
