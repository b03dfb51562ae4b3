// gcore-serve DUMP: serves a dump of a virtual machine to debuggers.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <expected>
#include <filesystem>
#include <functional>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "gdbstub/dump_target.h"
#include "gdbstub/protocol/exec_file.h"
#include "gdbstub/protocol/server.h"
#include "reader/guest/linux/symbols/debug_file.h"
#include "tools/common/built_with.h"
#include "tools/common/open_dump.h"
#include "tools/common/program.h"
#include "tools/gcore-serve/guest_file.h"
#include "tools/gcore-serve/packet_log.h"
#include "tools/gcore-serve/serving.h"
#include "writer/format/machine.h"

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
              {"symbols", "FILE|DIR|guest|none",
               "what a debugger without a file is offered: an ELF file;\nwhat the dump has of names, types and "
               "unwind tables\n"
               "(default); none; and modules (.ko), or a folder with\nfiles of the kernel and its modules; may be "
               "repeated",
               nullptr, true},
              {"threads", "cpus|tasks",
               "what a thread is: a vCPU (default), or also each thread of\nthe guest that runs on none"},
              {"no-offsets", "", "do not tell the debugger by how much the kernel was\nmoved at boot (qOffsets)"},
              kRawMemory,
              kMemoryMap,
              kDownload,
              kNoSignRequest,
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

gdbstub::DumpTargetOptions target_options(const std::optional<gdbstub::ExecFile>& symbols,
                                          std::function<void()> on_trouble) {
  gdbstub::DumpTargetOptions options{.on_trouble = std::move(on_trouble)};
  if (!symbols) return options;
  options.narrow = symbols->machine() == static_cast<uint16_t>(format::Machine::x86);
  options.first_segment = symbols->first_segment();
  return options;
}

int start(Program& program, gdbstub::Server& server, const gdbstub::TcpAddress& tcp, const reader::Dump& dump,
          const gdbstub::Target& target, const gdbstub::ExecFile* symbols) {
  // Of a dump on a server it would not be known in time, and a client waits already.
  const bool may_wait = !program.has("stdio") || !reader::is_url(program.operands()[0]);
  const std::string hint = hint_at_start(target, symbols, may_wait);
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

/// What --symbols offers.
struct Offered {
  std::optional<gdbstub::ExecFile> file;
  GuestFileOptions made;
};

/// Which of the words of --symbols means what. The error: which of them is none, and why.
std::expected<void, std::pair<std::string, std::string>> sort_symbols(const Program& program, const reader::Dump& dump,
                                                                      Offered& offered) {
  namespace linux_guest = reader::linux_guest;
  const auto fail = [](std::string word, std::string why) {
    return std::unexpected(std::pair(std::move(word), std::move(why)));
  };
  std::error_code error;
  std::vector<std::string> roots;
  for (const std::string& word : program.values("symbols"))
    if (std::filesystem::is_directory(word, error)) roots.push_back(word);
  offered.made.folders = roots;
  for (std::string& root : linux_guest::default_debug_roots()) roots.push_back(std::move(root));
  for (const std::string& word : program.values("symbols")) {
    if (word == "none" || word == "guest") {
      offered.made.kernel = word == "guest";
      continue;
    }
    if (std::filesystem::is_directory(word, error)) {
      if (std::filesystem::is_empty(word, error)) return fail(word, "it is an empty folder");
      continue;
    }
    const auto facts = linux_guest::symbol_file_facts(word);
    if (facts && facts->is_relocatable) {
      offered.made.modules.push_back(word);
      continue;
    }
    const auto debug =
        facts && !facts->has_symbols ? linux_guest::find_debug_file(word, *facts, roots) : linux_guest::DebugFile{};
    if (!debug.why.empty()) program.note(printable(debug.why));
    auto opened = gdbstub::ExecFile::open(debug.path.empty() ? word : debug.path);
    if (!opened) return fail(word, opened.error());
    if (!format::runs_code_of(dump.machine(), opened->machine()))
      return fail(word, "it is for another machine than the dump is of");
    if (offered.file) return fail(word, "there is one already, " + offered.file->path());
    offered.file.emplace(std::move(*opened));
    offered.made.kernel = false;
  }
  return {};
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
  const auto dump =
      program.has("stdio") ? open_for_client(program, path) : open_dump(program, path, -1, how_for_client());
  if (!dump) return fail_to_open(program, dump.error());
  Offered offered;
  if (const auto sorted = sort_symbols(program, **dump, offered); !sorted)
    return program.fail("cannot offer the symbols of " + sorted.error().first, sorted.error().second);
  const std::optional<gdbstub::ExecFile>& symbols = offered.file;
  gdbstub::ServerOptions options{.once = program.has("once")};
  options.session.exec_file = symbols ? &*symbols : nullptr;
  options.session.program = "gcore-serve " GCORE_VERSION;
  options.session.tell_offsets = !program.has("no-offsets");
  options.session.tasks = threads == "tasks";
  std::optional<PacketLog> log;
  if (const auto file = program.value("log")) {
    std::vector<PacketLog::ReadFile> read;
    if (!reader::is_url(path)) read.push_back({"the dump", path});
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
  const GuestFileOptions& wanted = offered.made;
  if (wanted.kernel || !wanted.modules.empty() || !wanted.folders.empty())
    options.session.made_file = &made.emplace(**dump, wanted);
  bool has_told = false;
  const auto tell_trouble = [&] {
    if (const std::string trouble = trouble_of(**dump); !trouble.empty() && !std::exchange(has_told, true))
      program.note(trouble);
  };
  const auto target = gdbstub::make_dump_target(**dump, target_options(symbols, tell_trouble));
  std::expected<void, std::string> result;
  {
    gdbstub::Server server(*target, std::move(options));
    if (const int status = start(program, server, *tcp, **dump, *target, symbols ? &*symbols : nullptr);
        status != kExitDone)
      return leave(*target, status);
    result = server.run(stop);
  }
  close(stop);
  tell_trouble();
  int status = kExitDone;
  if (!result)
    status = program.fail("cannot go on serving " + printable((*dump)->path()), result.error());
  else if (log && !log->failure().empty())
    status = program.fail("cannot write all of the log " + *program.value("log"), log->failure());
  return leave(*target, status);
}

}  // namespace
}  // namespace gcore::tools

int main(int argc, char** argv) {
  return gcore::tools::run_program(gcore::tools::program_info(), argc, argv, gcore::tools::serve);
}
