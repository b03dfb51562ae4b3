// --diff as text, and what its other forms share.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "tools/common/open_dump.h"
#include "tools/gcore-inspect/facts/diff.h"
#include "tools/gcore-inspect/facts/diff_report.h"
#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {
namespace {

using Kind = PageDiff::Kind;

std::string value_text(const RegisterDiff& diff, std::optional<uint64_t> value) {
  return value ? fmt::format("0x{:0{}x}", *value, diff.bytes * 2) : "-";
}

std::string name_of(const std::string& process) { return process.empty() ? "?" : printable(process); }

void print_cpus(const DiffReport& report) {
  const size_t count = report.diff.differing_registers();
  std::puts("");
  if (count == 0 && std::ranges::all_of(report.diff.cpus, [](const CpuDiff& cpu) { return cpu.a && cpu.b; }))
    return void(std::puts("  registers: all are equal"));
  std::puts(fmt::format("  registers: {}",
                        count == 0 ? "those of vCPUs that both have are equal" : counted(count, "differs", "differ"))
                .c_str());
  if (count != 0) std::puts(fmt::format("  {:>4}  {:<16} {:<20} B", "vCPU", "", "A").c_str());
  for (const CpuDiff& cpu : report.diff.cpus) {
    if (!cpu.a || !cpu.b) std::puts(fmt::format("  {:>4}  only in {}", cpu.number, cpu.a ? "A" : "B").c_str());
    if (cpu.a && cpu.b && cpu.process_a != cpu.process_b)
      std::puts(fmt::format("  {:>4}  {:<16} {:<20} {}", cpu.number, "process", name_of(cpu.process_a),
                            name_of(cpu.process_b))
                    .c_str());
    for (const RegisterDiff& diff : cpu.registers)
      std::puts(fmt::format("  {:>4}  {:<16} {:<20} {}", cpu.number, printable(diff.name), value_text(diff, diff.a),
                            value_text(diff, diff.b))
                    .c_str());
  }
}

void print_memory(const DiffReport& report) {
  const MemoryDiff& memory = report.diff.memory;
  const auto runs = static_cast<uint64_t>(
      std::ranges::count_if(memory.runs, [](const PageDiff& run) { return run.kind != Kind::equal; }));
  const uint64_t differ = memory.of(Kind::differs);
  std::puts("");
  if (runs == 0)
    return void(std::puts(
        fmt::format("  memory: all {} are equal", counted(memory.of(Kind::equal), "page of 4 KiB", "pages of 4 KiB"))
            .c_str()));
  std::puts(fmt::format("  {:<22} {:>10}  {:>10}", "memory", "4K pages", "size").c_str());
  for (size_t i = 0; i < PageDiff::kKinds; ++i) {
    const auto kind = static_cast<Kind>(i);
    if (memory.of(kind) == 0) continue;
    std::string line = fmt::format("    {:<20} {:>10}  {:>10}", describe(kind), memory.of(kind),
                                   human_size(memory.of(kind) * kPageSize));
    if (kind == Kind::differs) line += fmt::format("  in {}", counted(memory.differing_bytes, "byte", "bytes"));
    std::puts(line.c_str());
  }
  std::puts(fmt::format("\n  {:<18} {:<18}  {:>9}  {:>12}", "first", "last", "4K pages", "bytes differ").c_str());
  for (const PageDiff& run : memory.runs) {
    if (run.kind == Kind::equal) continue;
    const uint64_t first = run.first * kPageSize;
    std::puts(fmt::format("  {:#018x}-{:#018x}  {:>9}  {:>12}  {}", first, first + (run.count * kPageSize - 1),
                          run.count, run.kind == Kind::differs ? std::to_string(run.bytes) : "-", describe(run.kind))
                  .c_str());
  }
  std::puts(fmt::format("\n  {}, {} of {} differ", counted(runs, "range", "ranges"), counted(differ, "page", "pages"),
                        differ + memory.of(Kind::equal))
                .c_str());
}

void print_text(const Job& job, const DiffReport& report) {
  for (const auto& [name, guest] : {std::pair{"A", &report.guest_a}, {"B", &report.guest_b}}) {
    std::puts(fmt::format("{}  {}", name, bold(job, printable(guest->dump().path()))).c_str());
    for (const auto& [what, value] : headline(*guest))
      if (what != "file") std::puts(fmt::format("   {:<9} {}", what, value).c_str());
  }
  for (const std::string& remark : report.remarks) std::puts(fmt::format("  ! {}", remark).c_str());
  print_cpus(report);
  print_memory(report);
  if (report.diff.identical()) std::puts("\n  No difference.");
}

/// What a reader has to know before believing the rest.
std::vector<std::string> remarks(const reader::Dump& a, const reader::Dump& b) {
  std::vector<std::string> all;
  if (a.cpus().size() != b.cpus().size())
    all.push_back(fmt::format("A has {}, B has {}", counted(a.cpus().size(), "vCPU", "vCPUs"),
                              counted(b.cpus().size(), "vCPU", "vCPUs")));
  if (a.memory_bytes() != b.memory_bytes())
    all.push_back(
        fmt::format("A has {} of memory, B has {}", human_size(a.memory_bytes()), human_size(b.memory_bytes())));
  if (const auto &x = a.info().vm, &y = b.info().vm; !x.empty() && !y.empty() && x != y)
    all.push_back(fmt::format("A is of the VM {}, B of the VM {}", printable(x), printable(y)));
  if (a.dialect() != b.dialect())
    all.push_back(fmt::format("A is of the {} dialect, B of {}: they do not carry the same registers",
                              dialect_name(a.dialect()), dialect_name(b.dialect())));
  return all;
}

}  // namespace

const char* describe(PageDiff::Kind kind) {
  constexpr std::array kNames = {"equal",        "differs",      "only A has memory", "only B has memory",
                                 "missing in A", "missing in B", "missing in both"};
  static_assert(kNames.size() == PageDiff::kKinds);
  return kNames[static_cast<size_t>(kind)];
}

int diff_dumps(const Job& job, const std::string& other) {
  const std::string attempted =
      fmt::format("compare {} with {}", printable(job.dump.path()), printable(reader::shown_url(other)));
  const auto opened = open_dump(job.program, other);
  if (!opened) return job.program.fail(printable(opened.error().text));
  const reader::Dump &a = job.dump, &b = **opened;
  if (a.machine() != b.machine())
    return job.program.fail(attempted,
                            fmt::format("the first is of an {} machine, the second of an {} one",
                                        format::machine_name(a.machine()), format::machine_name(b.machine())));
  const reader::Guest guest_b(b);
  const DiffReport report{a, b, job.guest, guest_b, {diff_cpus(a, b), diff_memory(a, b, job.program)}, remarks(a, b)};
  int status = kExitDone;
  if (job.program.has("html"))
    status = write_diff_html(job, report, *job.program.value("html"));
  else if (job.program.has("json"))
    print_diff_json(report);
  else
    print_text(job, report);
  if (const std::string trouble = trouble_of(b); !trouble.empty()) return job.program.fail(trouble);
  if (status != kExitDone || !job.program.has("exit-code")) return status;
  return report.diff.identical() ? kExitDone : job.program.fail(attempted, "they differ");
}

}  // namespace gcore::tools::inspect
