// gcore-inspect DUMP: what a dump of a virtual machine says, for a person or (with --json) for a program.
#include <unistd.h>

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "tools/common/built_with.h"
#include "tools/common/open_dump.h"
#include "tools/gcore-inspect/facts/linux_guest.h"
#include "tools/gcore-inspect/facts/load_symbols.h"
#include "tools/gcore-inspect/facts/memory_pages.h"
#include "tools/gcore-inspect/facts/qnx_guest.h"
#include "tools/gcore-inspect/facts/symbols.h"
#include "tools/gcore-inspect/inspect.h"
#include "writer/format/machine.h"

namespace gcore::tools::inspect {
namespace {

ProgramInfo program_info() {
  const auto cpu_or_all = [](std::string_view word) { return word == "all" || parse_number(word).has_value(); };
  return {
      .name = "gcore-inspect",
      .usage = "DUMP [options]",
      .description =
          "Shows what a memory dump of a virtual machine holds: by default a summary. DUMP is\n"
          "a file of either dialect (qnx, vmcore), also compressed with gzip or zstd, https://...,\n"
          "s3://BUCKET/KEY, or - for standard input.",
      .options =
          {
              {"json", "[=lines]",
               "everything as one JSON object; =lines: on one line;\nwith --why only what that says",
               [](std::string_view) { return false; }},
              {"html", "FILE", "everything as a page for a browser, in one file"},
              {"registers", "[N|all]",
               "registers of every vCPU, or of vCPU N;\nall: floating-point and vector registers too", cpu_or_all},
              {"segments", "", "the memory map: what is in the file and where"},
              {"translate", "ADDR", "every step of the page walk of a virtual address"},
              {"read", "ADDR:LEN", "hex dump of virtual memory"},
              {"find", "TEXT|0xHEX", "guest-physical addresses of these bytes, one a line"},
              {"map", "", "a vCPU's address space: ranges, permissions, page\nsizes"},
              {"stats", "", "how many pages are zero, duplicate and distinct;\nalso with --json"},
              {"diff", "DUMP2",
               "registers and pages that differ from those of another\ndump of the guest; also with --json or --html"},
              {"verify", "", "check the file against its own headers: each defect\non a line, and exit status 1"},
              {"backtrace", "",
               "who called whom on every vCPU (or that of --vcpu),\nor in tasks (--task); with --symbols in source "
               "lines"},
              {"task", "PID|all|blocked", "with --backtrace: the tasks of the guest whose\nstacks are meant"},
              {"tasks", "[PID]",
               "the tasks of a Linux or QNX guest: state, CPU, name,\nwhere each waits; of one everything"},
              {"why", "", "what went wrong in a Linux guest, with the evidence;\nand a signature to group dumps by"},
              {"dmesg", "", "the messages of a Linux or QNX guest's kernel"},
              {"modules", "", "the modules of a Linux guest's kernel"},
              {"write-symbols", "FILE",
               "an ELF file of a Linux guest's own names, types and\nunwind tables, for gdb, LLDB, drgn and crash"},
              {"contents", "", "with --write-symbols: the kernel's text and data too,\nas crash wants them"},
              {"link-addresses", "",
               "with --write-symbols: the addresses that the kernel was\nlinked for, as drgn and crash want them"},
              {"symbols", "FILE|DIR",
               "the guest's ELF file, System.map or module (.ko), or\na folder of such: addresses get names and lines, "
               "in\nthe summary and in other modes",
               nullptr, true},
              {"kaslr-offset", "N|auto|none",
               "with --symbols: by how much the kernel is displaced\nfrom its file's addresses (default: auto)"},
              {"vcpu", "N",
               "with --translate, --read, --map: the vCPU whose\naddress space is meant (default: the "
               "faulting one)"},
              {"root", "ADDR",
               "with --translate, --read, --map: through the root\ntable at this guest-physical address; aarch64:\n"
               "ttbr0=ADDR (a process) or ttbr1=ADDR (the kernel)"},
              {"phys", "", "with --read: ADDR is guest-physical"},
              {"raw", "", "with --read: the bytes themselves"},
              kRawMemory,
              kMemoryMap,
              kDownload,
              kNoSignRequest,
              {"exit-code", "", "with --diff: exit status 1 when something differs"},
              {"progress", "", "show how far long work is, also when standard error is\nno terminal"},
          },
      .min_operands = 1,
      .max_operands = 1,
      .operands_missing = "which dump?",
      .epilogue =
          "Numbers are decimal or 0x; LEN may end in K, M, G or T (powers of 1024).\n"
          "Exit status: 0 done; 1 failed, or --verify found a defect, or --find nothing; 2 wrong\n"
          "usage.\n\nExamples:\n"
          "  gcore-inspect qnx7-20261123-020000.gcore\n"
          "  gcore-inspect qnx7-20261123-020000.gcore --translate 0xffff800000001000 --vcpu 1\n"
          "  gcore-inspect qnx7-20261123-020000.gcore --read 0x1000:4K --phys --raw | strings",
      .built_with = libraries_of_reader() + ", " + hash_library(),
  };
}

struct Mode;

/// What the command line asks for, understood as far as that goes without the dump.
struct Request {
  const Mode* mode = nullptr;  // one of kModes; nullptr: the summary
  std::optional<uint64_t> cpu;
  std::optional<uint64_t> address;
  std::optional<uint64_t> pid;  // of --tasks
  ReadRequest read;
  std::string pattern;  // the bytes to find
  bool all_registers = false;
  std::optional<uint64_t> kaslr_offset;  // nothing: auto
  std::optional<Root> root;
};

using Parsed = std::expected<void, std::string>;  // the error is wrong usage

/// An option that chooses what is printed; at most one of them may be given.
struct Mode {
  std::string_view name;
  int (*run)(const Request& request, const Job& job);
  std::string_view takes = {};  // options that say more about it, among others' too
  std::string_view forms = {};  // modes that may be given with it: in which form
  Parsed (*parse)(const Program& program, Request& request) = nullptr;  // of its own argument
};

/// Whether a list of words has this one.
bool has_word(std::string_view list, std::string_view word) {
  for (size_t at = 0; at < list.size();) {
    const size_t end = std::min(list.find(' ', at), list.size());
    if (list.substr(at, end - at) == word) return true;
    at = end + 1;
  }
  return false;
}

std::expected<uint64_t, std::string> number_of(const Program& program, const std::string& option) {
  auto number = parse_number(program.value(option).value_or(""));
  if (!number) return std::unexpected("--" + option + ": " + number.error());
  return number;
}

Parsed parse_read(const Program& program, Request& request) {
  const std::string text = *program.value("read");
  ReadRequest& read = request.read;
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos)
    return std::unexpected("--read: '" + printable(text) + "' is not ADDR:LEN, as in 0x1000:256");
  const auto address = parse_number(std::string_view(text).substr(0, colon));
  if (!address) return std::unexpected("--read: " + address.error());
  const auto size = parse_size(std::string_view(text).substr(colon + 1));
  if (!size) return std::unexpected("--read: " + size.error());
  if (*size == 0) return std::unexpected("--read: '" + printable(text) + "' is no byte: LEN has to be 1 or more");
  if (*address + (*size - 1) < *address)
    return std::unexpected("--read: '" + printable(text) + "' passes the end of the address space");
  read.address = *address;
  read.size = *size;
  return {};
}

Parsed parse_pattern(const Program& program, Request& request) {
  const std::string text = *program.value("find");
  std::string& pattern = request.pattern;
  if (text.size() > 1 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
    const std::string_view digits = std::string_view(text).substr(2);
    if (digits.empty() || digits.size() % 2 != 0 ||
        digits.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos)
      return std::unexpected("--find: '" + printable(text) + "' is not bytes: two hexadecimal digits each, after 0x");
    for (size_t i = 0; i < digits.size(); i += 2)
      pattern += static_cast<char>(std::stoul(std::string(digits.substr(i, 2)), nullptr, 16));
  } else {
    pattern = text;
  }
  if (pattern.find_first_not_of('\0') == std::string::npos)
    return std::unexpected("--find: zeros alone are nearly everywhere; --stats counts pages of them");
  return {};
}

Parsed parse_kaslr_offset(const Program& program, Request& request) {
  const std::string word = program.value("kaslr-offset").value_or("auto");
  if (program.has("kaslr-offset") && !program.has("symbols")) return std::unexpected("--kaslr-offset needs --symbols");
  if (word == "auto") return {};
  if (word == "none") return request.kaslr_offset = 0, Parsed{};
  const auto number = parse_number(word);
  if (!number) return std::unexpected("--kaslr-offset: '" + printable(word) + "' is neither a number, auto nor none");
  request.kaslr_offset = *number;
  return {};
}

/// "0x1000", "cr3=0x1000", "ttbr1=0x1000": the words of gdb's `monitor as`.
Parsed parse_root(const Program& program, format::Machine machine, Request& request) {
  if (!program.has("root")) return {};
  const std::string text = *program.value("root");
  const size_t equals = text.find('=');
  const std::string name = equals == std::string::npos ? "" : text.substr(0, equals);
  const auto number = parse_number(std::string_view(text).substr(equals == std::string::npos ? 0 : equals + 1));
  if (!number) return std::unexpected("--root: " + number.error());
  const auto roots = format::machine_info(machine).root_registers;
  const auto which = std::ranges::find(roots, name);
  if (roots.size() > 1 && which == roots.end())
    return std::unexpected(fmt::format("--root: an {} machine has two: say {}=ADDR (a process) or {}=ADDR (the kernel)",
                                       format::machine_name(machine), roots[0], roots[1]));
  if (!name.empty() && which == roots.end())
    return std::unexpected(
        fmt::format("--root: '{0}' is no root table of this machine; say {1}=ADDR or ADDR", printable(name), roots[0]));
  request.root = {*number,
                  which - roots.begin() == 1 ? reader::AddressSpace::Root::upper : reader::AddressSpace::Root::lower};
  return {};
}

Parsed parse_registers(const Program& program, Request& request) {
  const auto which = program.value("registers");
  request.all_registers = which == "all";
  if (!which || request.all_registers) return {};
  const auto number = number_of(program, "registers");
  if (!number) return std::unexpected(number.error());
  request.cpu = *number;
  return {};
}

Parsed parse_translate(const Program& program, Request& request) {
  const auto number = number_of(program, "translate");
  if (!number) return std::unexpected(number.error());
  request.address = *number;
  return {};
}

Parsed parse_task(const Program& program, Request&) {
  const auto which = program.value("task");
  if (!which || *which == "all" || *which == "blocked" || parse_number(*which)) {
    if (which && program.has("vcpu")) return std::unexpected("--task and --vcpu cannot be given together");
    return {};
  }
  return std::unexpected("--task: '" + printable(*which) + "' is neither a PID, all nor blocked");
}

Parsed parse_json(const Program& program, Request&) {
  if (const auto how = program.value("json"); how && *how != "lines")
    return std::unexpected("--json takes nothing or =lines, not '" + printable(*how) + "'");
  if (program.has("stats") && program.has("why")) return std::unexpected("--stats and --why cannot be given together");
  return {};
}

Parsed parse_tasks(const Program& program, Request& request) {
  if (!program.value("tasks")) return {};
  const auto number = number_of(program, "tasks");
  if (!number) return std::unexpected(number.error());
  request.pid = *number;
  return {};
}

constexpr Mode kModes[] = {
    {.name = "diff",
     .run = [](const Request&, const Job& job) { return diff_dumps(job, *job.program.value("diff")); },
     .takes = "exit-code",
     .forms = "json html"},
    {.name = "json",
     .run = [](const Request&, const Job& job) { return print_json(job); },
     .forms = "stats why",
     .parse = parse_json},
    {.name = "html", .run = [](const Request&, const Job& job) { return write_html(job, *job.program.value("html")); }},
    {.name = "translate",
     .run = [](const Request& request,
               const Job& job) { return print_translation(job, reader::VirtAddr(*request.address)); },
     .takes = "vcpu root",
     .parse = parse_translate},
    {.name = "read",
     .run = [](const Request& request, const Job& job) { return read_memory(job, request.read); },
     .takes = "vcpu root phys raw",
     .parse = parse_read},
    {.name = "map", .run = [](const Request&, const Job& job) { return print_map(job); }, .takes = "vcpu root"},
    {.name = "registers",
     .run = [](const Request& request, const Job& job) { return print_registers(job, request.all_registers); },
     .takes = "vcpu",
     .parse = parse_registers},
    {.name = "backtrace",
     .run = [](const Request&, const Job& job) { return print_backtrace(job, job.program.value("task")); },
     .takes = "vcpu task",
     .parse = parse_task},
    {.name = "tasks",
     .run = [](const Request& request, const Job& job) { return print_tasks(job, request.pid); },
     .parse = parse_tasks},
    {.name = "why", .run = [](const Request&, const Job& job) { return print_why(job); }},
    {.name = "dmesg", .run = [](const Request&, const Job& job) { return print_messages(job); }},
    {.name = "modules", .run = [](const Request&, const Job& job) { return print_modules(job); }},
    {.name = "segments", .run = [](const Request&, const Job& job) { return print_segments(job); }},
    {.name = "find",
     .run = [](const Request& request, const Job& job) { return find(job, request.pattern); },
     .parse = parse_pattern},
    {.name = "write-symbols",
     .run =
         [](const Request&, const Job& job) {
           return write_symbols(job, *job.program.value("write-symbols"),
                                {.contents = job.program.has("contents"),
                                 .link_addresses = job.program.has("link-addresses"),
                                 .without_modules = {}});
         },
     .takes = "contents link-addresses"},
    {.name = "stats", .run = [](const Request&, const Job& job) { return print_stats(job); }},
    {.name = "verify", .run = [](const Request&, const Job& job) { return verify(job); }},
};

/// "--translate, --read or --map": the modes that take the option, in the order of kModes but for those told first.
std::string modes_that_take(std::string_view option) {
  std::vector<std::string> names;
  for (const Mode& mode : kModes)
    if (has_word(mode.takes, option)) names.push_back("--" + std::string(mode.name));
  std::string text;
  for (size_t i = 0; i < names.size(); ++i) text += (i == 0 ? "" : i + 1 == names.size() ? " or " : ", ") + names[i];
  return text;
}

Parsed choose_mode(const Program& program, Request& request) {
  const auto together = [](std::string_view a, std::string_view b) {
    return std::unexpected("--" + std::string(a) + " and --" + std::string(b) + " cannot be given together");
  };
  for (const Mode& mode : kModes) {
    if (!program.has(std::string(mode.name))) continue;
    if (request.mode != nullptr && has_word(request.mode->forms, mode.name)) continue;
    if (request.mode != nullptr) return together(request.mode->name, mode.name);
    request.mode = &mode;
  }
  const std::string_view name = request.mode != nullptr ? request.mode->name : "",
                         takes = request.mode != nullptr ? request.mode->takes : "";
  if (name == "diff" && program.has("json") && program.has("html")) return together("json", "html");
  if (name == "diff" && *program.value("diff") == "-" && program.operands()[0] == "-")
    return std::unexpected("only one of two dumps can come from standard input");
  for (const std::string option : {"contents", "link-addresses", "exit-code", "phys", "raw", "vcpu", "root", "task"})
    if (program.has(option) && !has_word(takes, option))
      return std::unexpected("--" + option + " needs " + modes_that_take(option));
  for (const std::string option : {"vcpu", "root"})
    if (program.has(option) && program.has("phys"))
      return std::unexpected("--" + option +
                             " and --phys cannot be given together: guest-physical memory is the same " +
                             "for all vCPUs and page tables");
  if (program.has("vcpu") && program.value("registers"))
    return std::unexpected("--vcpu and an argument of --registers cannot be given together");
  return {};
}

Parsed parse_arguments(const Program& program, Request& request) {
  if (program.value("vcpu")) {
    const auto number = number_of(program, "vcpu");
    if (!number) return std::unexpected(number.error());
    request.cpu = *number;
  }
  request.read.physical = program.has("phys");
  request.read.raw = program.has("raw");
  return request.mode != nullptr && request.mode->parse != nullptr ? request.mode->parse(program, request) : Parsed{};
}

int run(Program& program) {
  Request request;
  Parsed parsed = choose_mode(program, request);
  if (parsed) parsed = parse_arguments(program, request);
  if (parsed) parsed = parse_kaslr_offset(program, request);
  if (!parsed) return program.usage_error(parsed.error());

  const auto dump = open_dump(program, program.operands()[0]);
  if (!dump) {
    // To --verify, a file that cannot be understood is a defect like any other.
    if (request.mode != nullptr && request.mode->name == "verify" && dump.error().kind != reader::Error::Kind::io)
      std::printf("%s\n", printable(dump.error().text).c_str());
    if (dump.error().kind != reader::Error::Kind::usage && program.value("json"))
      (void)print_json_error(program, reader::shown_url(program.operands()[0]), dump.error().text);
    return fail_to_open(program, dump.error());
  }
  if (parsed = parse_root(program, (*dump)->machine(), request); !parsed) return program.usage_error(parsed.error());
  const reader::Guest guest(**dump);
  const LinuxGuest linux_guest(guest);
  const QnxGuest qnx_guest(guest);
  Job job{program,      **dump,       guest,  linux_guest, qnx_guest, colour_wanted(STDOUT_FILENO),
          std::nullopt, request.root, nullptr};
  if (request.cpu) {
    const size_t count = (*dump)->cpus().size();
    if (*request.cpu >= count)
      return program.fail("show vCPU " + std::to_string(*request.cpu), printable((*dump)->path()) + " has " +
                                                                           counted(count, "vCPU", "vCPUs") +
                                                                           (count == 0 ? "" : ", counted from 0"));
    job.cpu = static_cast<size_t>(*request.cpu);
  }
  std::optional<Symbols> symbols;
  if (program.has("symbols")) {
    std::vector<std::string> remarks;
    auto loaded = load_symbols(program.values("symbols"), guest, linux_guest, request.kaslr_offset, remarks);
    if (!loaded) return program.fail("read symbols", printable(loaded.error()));
    symbols = std::move(*loaded);
    for (const std::string& remark : remarks) program.note(printable(remark));
    job.symbols = &*symbols;
  }
  const int status = request.mode != nullptr ? request.mode->run(request, job) : print_summary(job);
  const std::string trouble = trouble_of(**dump);
  return trouble.empty() ? status : program.fail(trouble);
}

}  // namespace
}  // namespace gcore::tools::inspect

int main(int argc, char** argv) {
  return gcore::tools::run_program(gcore::tools::inspect::program_info(), argc, argv, gcore::tools::inspect::run);
}
