// kdserver [-v] [-P n] [FILE]: gcore-serve --stdio under the name and with the options that QNX's documentation has, so
// that `target remote | kdserver dump.gcore` works unchanged.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "gdbstub/dump_target.h"
#include "gdbstub/protocol/server.h"
#include "tools/common/built_with.h"
#include "tools/gcore-serve/serving.h"

namespace gcore::tools {
namespace {

constexpr char kDefaultDump[] = "kdump.elf";

ProgramInfo program_info() {
  return {
      .name = "kdserver",
      .usage = "[-v] [-P n] [FILE]",
      .description =
          "Serves a kernel dump or a guest dump to GDB over standard input and output. FILE is kdump.elf when none is\n"
          "named. It is gcore-serve --stdio under the name that QNX's documentation uses.",
      .options =
          {
              {.name = "v",
               .argument = "",
               .help = "first say on standard error what is in the dump",
               .repeatable = true},
              {.name = "P",
               .argument = "n",
               .help =
                   "taken for compatibility, without effect: the dump says\nwhat there is to know about its addresses"},
          },
      .min_operands = 0,
      .max_operands = 1,
      .operands_missing = "",
      .epilogue =
          "Example:\n"
          "  gdb procnto-smp.sym -ex 'target remote | kdserver guest.gcore'\n",
      .built_with = libraries_of_reader(),
  };
}

int serve(Program& program) {
  if (const auto number = program.value("P"); number && !parse_number(*number))
    return program.usage_error("-P " + printable(*number) + ": " + parse_number(*number).error());
  const std::string path = program.operands().empty() ? kDefaultDump : program.operands()[0];
  if (path == "-") return program.usage_error("standard input cannot be the dump and the client");
  const auto dump = open_for_client(program, path);
  if (!dump) return program.fail(dump.error().text);
  const int stop = stop_signals();
  if (stop < 0) return program.fail("cannot wait for signals", std::strerror(errno));
  const auto target = gdbstub::make_dump_target(**dump);
  if (program.has("v")) {
    const KeepAlive keep_alive;                   // it says what runs in the guest, which has to be looked for
    std::istringstream lines(target->summary());  // warnings are among them
    for (std::string line; std::getline(lines, line);) program.note(line);
  } else {
    say_warnings(program, **dump);
  }
  leave_standard_error();
  gdbstub::ServerOptions options;
  options.session.program = "kdserver " GCORE_VERSION;
  std::expected<void, std::string> result;
  {
    gdbstub::Server server(*target, std::move(options));
    server.serve_descriptors(STDIN_FILENO, STDOUT_FILENO);
    result = server.run(stop);
  }
  close(stop);
  return leave(*target,
               result ? kExitDone : program.fail("cannot go on serving " + printable((*dump)->path()), result.error()));
}

/// The words, with letters that stand together as getopt takes them ("-vP4") apart: "-v", "-P4".
std::vector<std::string> one_option_each(std::span<char*> words) {
  std::vector<std::string> apart;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string_view word = words[i];
    if (word == "--") {
      apart.insert(apart.end(), words.begin() + static_cast<ptrdiff_t>(i), words.end());
      break;
    }
    const size_t letters = word.starts_with("-v") ? std::min(word.find_first_not_of('v', 1), word.size()) - 1 : 0;
    const std::string_view rest = word.substr(letters == 0 ? 0 : letters + 1);
    if (letters == 0 || (!rest.empty() && rest[0] != 'P')) {
      apart.emplace_back(word);
      continue;
    }
    apart.insert(apart.end(), letters, "-v");
    if (!rest.empty()) apart.push_back("-" + std::string(rest));
  }
  return apart;
}

}  // namespace
}  // namespace gcore::tools

int main(int argc, char** argv) {
  auto words = gcore::tools::one_option_each(std::span(argv, static_cast<size_t>(argc)));
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return gcore::tools::run_program(gcore::tools::program_info(), static_cast<int>(words.size()), pointers.data(),
                                   gcore::tools::serve);
}
