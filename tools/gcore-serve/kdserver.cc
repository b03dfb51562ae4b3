// kdserver [-v] [-P n] [FILE]: gcore-serve --stdio under the name and with the options that QNX's documentation has, so
// that `target remote | kdserver dump.gcore` works unchanged.
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <sstream>

#include "gdbstub/dump_target.h"
#include "gdbstub/server.h"
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
    std::istringstream lines(target->summary());  // warnings are among them
    for (std::string line; std::getline(lines, line);) program.note(line);
  } else {
    say_warnings(program, **dump);
  }
  leave_standard_error();
  gdbstub::ServerOptions options;
  options.session.program = "kdserver " GCORE_VERSION;
  gdbstub::Server server(*target, std::move(options));
  server.serve_descriptors(STDIN_FILENO, STDOUT_FILENO);
  const auto result = server.run(stop);
  close(stop);
  return result ? kExitDone : program.fail("cannot go on serving " + path, result.error());
}

}  // namespace
}  // namespace gcore::tools

int main(int argc, char** argv) {
  return gcore::tools::run_program(gcore::tools::program_info(), argc, argv, gcore::tools::serve);
}
