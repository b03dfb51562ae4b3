// gcore-serve DUMP: serves a dump of a virtual machine to debuggers.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>

#include "gdbstub/dump_target.h"
#include "gdbstub/exec_file.h"
#include "gdbstub/server.h"
#include "tools/common/built_with.h"
#include "tools/common/open_dump.h"
#include "tools/common/program.h"
#include "tools/gcore-serve/serving.h"

namespace gcore::tools {
namespace {

constexpr char kDefaultAddress[] = "127.0.0.1:1234";
constexpr size_t kMaxLogged = 2048;

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
              {"symbols", "ELF", "offer the guest's ELF file to the debugger"},
              {"log", "FILE", "write every packet to FILE"},
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

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

void log_packet(std::FILE* log, char direction, std::string_view payload) {
  const std::string text = printable(payload.substr(0, kMaxLogged));
  const std::string more = payload.size() > kMaxLogged ? fmt::format(" ... ({} bytes)", payload.size()) : "";
  std::fprintf(log, "%c %s%s\n", direction, text.c_str(), more.c_str());
  std::fflush(log);
}

/// The line that a user can paste: the debugger that knows the machine, the symbols, the address.
std::string gdb_line(const gdbstub::Target& target, const gdbstub::ExecFile* symbols, const std::string& address) {
  const bool native = target.arch() != gdbstub::Arch::aarch64;
  return fmt::format("{}{} -ex 'target remote {}'", native ? "gdb" : "gdb-multiarch",
                     symbols == nullptr ? "" : " " + symbols->path(), address);
}

int start(Program& program, gdbstub::Server& server, const gdbstub::TcpAddress& tcp, const reader::Dump& dump,
          const gdbstub::Target& target, const gdbstub::ExecFile* symbols) {
  if (program.has("stdio")) {
    say_warnings(program, dump);
    leave_standard_error();
    server.serve_descriptors(STDIN_FILENO, STDOUT_FILENO);
    return kExitDone;
  }
  const auto path = program.value("unix");
  const auto address = path ? server.listen_unix(*path) : server.listen_tcp(tcp);
  if (!address) return program.fail("cannot listen on " + (path ? *path : tcp.host + ":" + tcp.port), address.error());
  program.note("listening on " + *address);
  program.note("connect with: " + gdb_line(target, symbols, *address));
  say_warnings(program, dump);
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
  const std::string listen = program.value("listen").value_or(kDefaultAddress);
  const auto tcp = gdbstub::TcpAddress::parse(listen);
  if (!tcp) return program.usage_error("--listen " + listen + ": " + tcp.error());
  const auto dump = program.has("stdio") ? open_for_client(program, path) : open_dump(program, path);
  if (!dump) return program.fail(dump.error().text);
  std::optional<gdbstub::ExecFile> symbols;
  if (const auto file = program.value("symbols")) {
    auto opened = gdbstub::ExecFile::open(*file);
    if (!opened) return program.fail("cannot offer the symbols of " + *file, opened.error());
    if (!is_for(*opened, (*dump)->machine()))
      return program.fail("cannot offer the symbols of " + *file, "it is for another machine than the dump is of");
    symbols.emplace(std::move(*opened));
  }
  gdbstub::ServerOptions options{.once = program.has("once")};
  options.session.exec_file = symbols ? &*symbols : nullptr;
  options.session.program = "gcore-serve " GCORE_VERSION;
  File log;
  if (const auto file = program.value("log")) {
    log.reset(std::fopen(file->c_str(), "we"));
    if (!log) return program.fail("cannot write the log " + *file, std::strerror(errno));
    options.session.log = [&log](char direction, std::string_view payload) {
      log_packet(log.get(), direction, payload);
    };
  }
  const int stop = stop_signals();
  if (stop < 0) return program.fail("cannot wait for signals", std::strerror(errno));
  const auto target = gdbstub::make_dump_target(**dump);
  gdbstub::Server server(*target, std::move(options));
  if (const int status = start(program, server, *tcp, **dump, *target, symbols ? &*symbols : nullptr);
      status != kExitDone)
    return status;
  const auto result = server.run(stop);
  close(stop);
  return result ? kExitDone : program.fail("cannot go on serving " + path, result.error());
}

}  // namespace
}  // namespace gcore::tools

int main(int argc, char** argv) {
  return gcore::tools::run_program(gcore::tools::program_info(), argc, argv, gcore::tools::serve);
}
