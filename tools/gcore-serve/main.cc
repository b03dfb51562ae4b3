// gcore-serve DUMP: serves a dump of a virtual machine to debuggers.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

#include "gdbstub/dump_target.h"
#include "gdbstub/protocol/exec_file.h"
#include "gdbstub/protocol/server.h"
#include "tools/common/built_with.h"
#include "tools/common/open_dump.h"
#include "tools/common/program.h"
#include "tools/gcore-serve/guest_file.h"
#include "tools/gcore-serve/packet_log.h"
#include "tools/gcore-serve/serving.h"

namespace gcore::tools {
namespace {

constexpr char kDefaultAddress[] = "127.0.0.1:1234";

ProgramInfo program_info() {
  return {
      .name = "gcore-serve",
      .usage = "DUMP [options]",
      .description =
          "Serves a memory dump of a virtual machine to GDB and LLDB: each vCPU is a thread, memory is what that\n"
          "vCPU saw. `monitor help` in GDB lists commands for physical memory, page walks and more.",
      .options =
          {
              {"listen", "HOST:PORT", fmt::format("where to listen (default: {}); port 0 picks one", kDefaultAddress)},
              {"unix", "PATH", "listen on a UNIX socket"},
              {"stdio", "", "serve standard input and output, for\n`target remote | gcore-serve --stdio DUMP`"},
              {"once", "", "end when the first client leaves"},
              {"symbols", "ELF|guest|none",
               "the file that a debugger without one is offered: an ELF\nfile; what the dump has of names, types and "
               "unwind\n"
               "tables (default); or none"},
              {"threads", "cpus|tasks",
               "what a thread is: a vCPU (default), or also each thread of\nthe guest that runs on none"},
              {"no-offsets", "", "do not tell the debugger by how much the kernel was\nmoved at boot (qOffsets)"},
              kRawMemory,
              {"log", "FILE", "write every packet to FILE, the client's number before it"},
          },
      .min_operands = 1,
      .max_operands = 1,
      .operands_missing = "which dump?",
      .epilogue =
          "Examples:\n"
          "  gcore-serve guest.gcore --symbols vmlinux\n"
          "  gdb vmlinux -ex 'target remote 127.0.0.1:1234'\n"
          "  gdb vmlinux -ex 'target remote | gcore-serve --stdio guest.gcore'\n",
      .built_with = libraries_of_reader(),
  };
}

/// The line that a user can paste: the debugger that knows the machine, the symbols, the address.
std::string gdb_line(const gdbstub::Target& target, const gdbstub::ExecFile* symbols, const std::string& address) {
  const bool native = target.arch() != gdbstub::Arch::aarch64;
  return fmt::format("{}{} -ex 'target remote {}'", native ? "gdb" : "gdb-multiarch",
                     symbols == nullptr ? "" : " " + symbols->path(), address);
}

gdbstub::DumpTargetOptions target_options(const std::optional<gdbstub::ExecFile>& symbols) {
  if (!symbols) return {};
  return {.narrow = symbols->machine() == static_cast<uint16_t>(format::Machine::x86),
          .first_segment = symbols->first_segment()};
}

int start(Program& program, gdbstub::Server& server, const gdbstub::TcpAddress& tcp, const reader::Dump& dump,
          const gdbstub::Target& target, const gdbstub::ExecFile* symbols) {
  const std::string hint = hint_at_start(target, symbols);
  const auto say_what_is_odd = [&] {
    say_warnings(program, dump);
    if (!hint.empty()) program.note(hint);
  };
  if (program.has("stdio")) {
    say_what_is_odd();
    leave_standard_error();
    server.serve_descriptors(STDIN_FILENO, STDOUT_FILENO);
    return kExitDone;
  }
  const auto path = program.value("unix");
  const auto address = path ? server.listen_unix(*path) : server.listen_tcp(tcp);
  if (!address) return program.fail("cannot listen on " + (path ? *path : tcp.host + ":" + tcp.port), address.error());
  program.note("listening on " + *address);
  program.note("connect with: " + gdb_line(target, symbols, *address));
  say_what_is_odd();
  return kExitDone;
}

/// Has the file code that this machine runs? An x86_64 kernel may be started by a program of 32 bits.
bool is_for(const gdbstub::ExecFile& file, format::Machine machine) {
  const auto of = [&](format::Machine one) { return file.machine() == static_cast<uint16_t>(one); };
  return of(machine) || (machine == format::Machine::x86_64 && of(format::Machine::x86));
}

int serve(Program& program) {
  if (program.has("stdio") + program.has("unix") + program.has("listen") > 1)
    return program.usage_error("--listen, --unix and --stdio exclude each other");
  const std::string& path = program.operands()[0];
  if (program.has("stdio") && path == "-")
    return program.usage_error("standard input cannot be the dump and the client");
  const std::string threads = program.value("threads").value_or("cpus");
  if (threads != "cpus" && threads != "tasks")
    return program.usage_error("--threads " + printable(threads) + ": say cpus or tasks");
  const std::string listen = program.value("listen").value_or(kDefaultAddress);
  const auto tcp = gdbstub::TcpAddress::parse(listen);
  if (!tcp) return program.usage_error("--listen " + listen + ": " + tcp.error());
  const auto dump = program.has("stdio") ? open_for_client(program, path) : open_dump(program, path);
  if (!dump) return fail_to_open(program, dump.error());
  std::optional<gdbstub::ExecFile> symbols;
  const std::string offered = program.value("symbols").value_or("guest");
  if (offered != "guest" && offered != "none") {
    const auto file = program.value("symbols");
    auto opened = gdbstub::ExecFile::open(*file);
    if (!opened) return program.fail("cannot offer the symbols of " + *file, opened.error());
    if (!is_for(*opened, (*dump)->machine()))
      return program.fail("cannot offer the symbols of " + *file, "it is for another machine than the dump is of");
    symbols.emplace(std::move(*opened));
  }
  gdbstub::ServerOptions options{.once = program.has("once")};
  options.session.exec_file = symbols ? &*symbols : nullptr;
  options.session.program = "gcore-serve " GCORE_VERSION;
  options.session.tell_offsets = !program.has("no-offsets");
  options.session.tasks = threads == "tasks";
  std::optional<PacketLog> log;
  if (const auto file = program.value("log")) {
    std::vector<PacketLog::ReadFile> read = {{"the dump", path}};
    if (symbols) read.push_back({"the file of symbols", symbols->path()});
    auto opened = PacketLog::open(*file, read);
    if (!opened) return program.fail("cannot write the log " + *file, opened.error());
    log.emplace(std::move(*opened));
    options.log = [&log](size_t client, char direction, std::string_view payload) {
      log->write(client, direction, payload);
    };
  }
  const int stop = stop_signals();
  if (stop < 0) return program.fail("cannot wait for signals", std::strerror(errno));
  std::optional<GuestFile> made;  // whose thread leaves the signals alone, too
  if (offered == "guest") options.session.made_file = &made.emplace(**dump);
  const auto target = gdbstub::make_dump_target(**dump, target_options(symbols));
  std::expected<void, std::string> result;
  {
    gdbstub::Server server(*target, std::move(options));
    if (const int status = start(program, server, *tcp, **dump, *target, symbols ? &*symbols : nullptr);
        status != kExitDone)
      return leave(*target, status);
    result = server.run(stop);
  }
  close(stop);
  int status = kExitDone;
  if (!result)
    status = program.fail("cannot go on serving " + path, result.error());
  else if (log && !log->failure().empty())
    status = program.fail("cannot write all of the log " + *program.value("log"), log->failure());
  return leave(*target, status);
}

}  // namespace
}  // namespace gcore::tools

int main(int argc, char** argv) {
  return gcore::tools::run_program(gcore::tools::program_info(), argc, argv, gcore::tools::serve);
}
