// --json: a dump as one JSON object. docs/inspect-json.md and docs/inspect.schema.json describe it.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "reader/guest/guest_system.h"
#include "tools/gcore-inspect/facts/backtrace.h"
#include "tools/gcore-inspect/facts/guest.h"
#include "tools/gcore-inspect/facts/linux_guest.h"
#include "tools/gcore-inspect/facts/memory_pages.h"
#include "tools/gcore-inspect/facts/spaces.h"
#include "tools/gcore-inspect/inspect.h"
#include "tools/gcore-inspect/json/values.h"

namespace gcore::tools::inspect {
namespace {

namespace json = llvm::json;

/// The section .gcore.info as it is; null when there is none, or when the reader did not take it.
json::Value info_value(const reader::Dump& dump) {
  if (!dump.info().present) return nullptr;
  llvm::Expected<json::Value> parsed = json::parse(llvm::StringRef(dump.info_json().data(), dump.info_json().size()));
  if (parsed) return std::move(*parsed);
  llvm::consumeError(parsed.takeError());
  return nullptr;
}

json::Value kdump_value(const reader::Dump& dump) {
  const auto& facts = dump.kdump_facts();
  if (!facts) return nullptr;
  return json::Object{
      {"note_version", facts->note_version},       {"signal_code", facts->signal_code},
      {"fault_number", facts->fault_number},       {"cpu_count", facts->cpu_count},
      {"regset_size", facts->regset_size},         {"cpu_info", hex_value(facts->cpu_info)},
      {"procnto_segnum", facts->procnto_number},   {"syspage_segnum", facts->syspage_number},
      {"dumpinfo_segnum", facts->dumpinfo_number},
  };
}

/// What system runs in the guest.
json::Value guest_value(const reader::Guest& of) {
  const reader::GuestSystem& guest = of.system();
  const auto address = [](const auto& place) { return place ? hex_value(place->value) : json::Value(nullptr); };
  const auto source = guest.vmcoreinfo_source;
  json::Array notes;
  for (const std::string& note : guest.notes) notes.push_back(utf8(note));
  return json::Object{
      {"kind", to_string(guest.kind)},
      {"release", text_or_null(guest.release)},
      {"banner", text_or_null(guest.banner)},
      {"image_address", address(guest.image_address)},
      {"image_physical", address(guest.image_physical)},
      {"kaslr_offset", hex_value(guest.kaslr_offset)},
      {"page_offset", hex_value(guest.page_offset)},
      {"page_size", guest.page_size ? json::Value(*guest.page_size) : json::Value(nullptr)},
      {"vmcoreinfo", text_or_null(guest.vmcoreinfo)},
      {"vmcoreinfo_source", source == reader::GuestSystem::Source::none   ? json::Value(nullptr)
                            : source == reader::GuestSystem::Source::note ? json::Value("note")
                                                                          : json::Value("memory")},
      {"vmcoreinfo_address", address(guest.vmcoreinfo_address)},
      {"notes", std::move(notes)},
  };
}

json::Value registers_value(const reader::Cpu& cpu) {
  json::Object all;
  const auto registers = format::registers(cpu.registers.machine());
  for (size_t slot = 0; slot < registers.size(); ++slot)
    all[llvm::StringRef(registers[slot].name.data(), registers[slot].name.size())] =
        hex_value(cpu.registers.get_slot(slot));
  return all;
}

/// `space` is the place of the vCPU's address space in the list of all, if it has one.
json::Value cpu_value(const Job& job, const reader::Cpu& cpu, std::optional<size_t> space) {
  json::Object other;
  for (const auto& [name, value] : cpu.other_registers) other[utf8(name)] = hex_value(value);
  const std::string mode = mode_name(cpu);
  const auto waiting = waits(job.guest, cpu);
  const auto waits_for = [&](Waits what) { return waiting ? json::Value(*waiting == what) : json::Value(nullptr); };
  return json::Object{
      {"index", cpu.index},
      {"number", cpu.number},
      {"process", text_or_null(cpu.process_name)},
      {"pc", hex_value(program_counter(cpu))},
      {"sp", hex_value(stack_pointer(cpu))},
      {"halted", waits_for(Waits::for_interrupt)},
      {"waiting_for_event", waits_for(Waits::for_event)},
      {"mode", mode == "unknown" ? json::Value(nullptr) : json::Value(mode)},
      {"page_table", cpu.page_table ? hex_value(cpu.page_table->value) : json::Value(nullptr)},
      {"address_space", space ? json::Value(*space) : json::Value(nullptr)},
      {"at", text_or_null(where(job, cpu))},
      {"task", task_of_cpu_value(job, cpu.index)},
      {"backtrace", backtrace_value(backtrace(job, cpu))},
      {"registers", registers_value(cpu)},
      {"other_registers", std::move(other)},
  };
}

json::Value range_value(const Range& range) {
  return json::Object{
      {"address", hex_value(range.start.value)},
      {"size", range.size},
      {"permissions", to_string(range.permissions)},
      {"page_size", range.page_size == 0 ? json::Value(nullptr) : json::Value(range.page_size)},
      {"physical", range.physical ? hex_value(range.physical->value) : json::Value(nullptr)},
      {"in_dump", presence_name(range.presence)},
      {"count", range.count},
      {"stride", range.count == 1 ? json::Value(nullptr) : json::Value(range.stride)},
  };
}

void write_spaces(json::OStream& out, const reader::Dump& dump, const Spaces& spaces) {
  ListingBudget budget;
  for (const Spaces::Entry& entry : spaces.all) {
    out.object([&] {
      out.attribute("description", utf8(entry.space.describe()));
      out.attribute("paging", entry.space.paging());
      out.attributeArray("cpus", [&] {
        for (const size_t cpu : entry.cpus) out.value(cpu);
      });
      reader::Listing listing;
      Findings findings(dump.machine(), entry.space.paging());
      out.attributeArray("map", [&] {
        listing = list_ranges(dump, entry.space, budget, [&](const Range& range) {
          findings.add(range);
          out.value(range_value(range));
        });
      });
      out.attribute("map_note", text_or_null(listing.note));
      out.attributeArray("findings", [&] {
        for (const Finding& finding : findings.all())
          out.value(json::Object{{"kind", finding_name(finding.kind)},
                                 {"ranges", finding.ranges},
                                 {"bytes", finding.bytes},
                                 {"first", hex_value(finding.first.value)}});
      });
    });
  }
}

void write_memory(json::OStream& out, const reader::Dump& dump) {
  out.attribute("bytes", dump.memory_bytes());
  out.attributeArray("segments", [&] {
    for (const reader::Segment& segment : dump.segments())
      out.value(json::Object{
          {"index", segment.index},
          {"address", hex_value(segment.address.value)},
          {"memory_size", segment.memory_size},
          {"file_size", segment.file_size},
          {"offset", dump.has_file_offsets() ? json::Value(segment.offset.value) : json::Value(nullptr)},
          {"virtual_address", hex_value(segment.virtual_address.value)},
          {"flags", segment.flags},
      });
  });
  out.attributeArray("missing", [&] {
    for (const Gap& gap : gaps(dump))
      out.value(json::Object{{"address", hex_value(gap.address.value)}, {"size", gap.size}, {"why", utf8(gap.why)}});
  });
}

json::Value pages_value(const Job& job) {
  if (!job.program.has("stats")) return nullptr;
  const PageCounts counts = count_all_pages(job);
  return json::Object{
      {"page_size", kPageSize},
      {"zero_in_holes", counts.hole},
      {"zero_stored", counts.zero},
      {"duplicate", counts.stored - counts.distinct},
      {"distinct", counts.distinct},
      {"missing", counts.missing},
      {"partial_bytes", counts.partial_bytes},
  };
}

void write_dump(json::OStream& out, const Job& job, json::Value pages) {
  const reader::Dump& dump = job.dump;
  const Spaces spaces(job.guest);  // first: what a search of all of memory finds for them is told of the guest as well
  out.attribute("schema", 1);
  out.attribute("file", file_value(dump));
  out.attribute("machine", format::machine_name(dump.machine()));
  out.attribute("info", info_value(dump));
  out.attribute("written_by", utf8(writer_fact(dump)));
  out.attribute("guest", guest_value(job.guest));
  out.attribute("vmcoreinfo", text_or_null(dump.vmcoreinfo()));
  out.attribute("kdump", kdump_value(dump));
  out.attribute("signal", dump.signal() == 0 ? json::Value(nullptr) : json::Value(dump.signal()));
  out.attribute("faulting_cpu", dump.cpus().empty() ? json::Value(nullptr) : json::Value(dump.faulting_cpu()));
  out.attributeArray("cpus", [&] {
    for (const reader::Cpu& cpu : dump.cpus()) out.value(cpu_value(job, cpu, spaces.of_cpu[cpu.index]));
  });
  write_linux(out, job);
  write_qnx(out, job);
  out.attribute("pages", std::move(pages));
  out.attributeArray("address_spaces", [&] { write_spaces(out, dump, spaces); });
  out.attributeObject("memory", [&] { write_memory(out, dump); });
  out.attributeArray("defects", [&] {
    for (const std::string& defect : defects(dump)) out.value(utf8(defect));
  });
}

/// What a fleet's dumps are grouped by.
void write_why(json::OStream& out, const Job& job) {
  out.attribute("schema", 1);
  out.attribute("file", file_value(job.dump));
  out.attribute("machine", format::machine_name(job.dump.machine()));
  out.attribute("guest", guest_value(job.guest));
  const auto* kernel = job.linux_guest.kernel_or_null();
  out.attribute("why", kernel != nullptr ? why_value(job, *kernel) : json::Value(nullptr));
  out.attributeArray("defects", [&] {
    for (const std::string& defect : defects(job.dump)) out.value(utf8(defect));
  });
}

/// In one go: lines of programs that write into one file do not mix.
int print_line(const Program& program, std::string_view line) {
  std::fflush(stdout);
  while (!line.empty()) {
    const ssize_t n = ::write(STDOUT_FILENO, line.data(), line.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return program.fail("write to standard output", std::strerror(errno));
    line.remove_prefix(static_cast<size_t>(n));
  }
  return kExitDone;
}

}  // namespace

json::Value hex_value(uint64_t value) { return fmt::format("{:#x}", value); }

json::Value program_registers_value(const format::RegisterFile& registers) {
  json::Object all;
  for (const auto& info : format::registers(registers.machine()))
    if (const auto value = is_of_program(info) ? registers.get(info.name) : std::nullopt)
      all[utf8(info.name)] = hex_value(*value);
  return all;
}

json::Value file_value(const reader::Dump& dump) {
  json::Object file{
      {"path", utf8(dump.path())},
      {"size", dump.file_size()},
      {"dialect", dialect_name(dump.dialect())},
      {"compression", utf8(dump.compression())},
      {"elf_class", dump.is_64_bit() ? 64 : 32},
      {"byte_order", dump.byte_order() == format::ByteOrder::big ? "big" : "little"},
      {"truncated", dump.truncated()},
  };
  if (!dump.foreign_format().empty()) file["format"] = utf8(dump.foreign_format());
  return file;
}

json::Value backtrace_value(const Backtrace& trace) {
  json::Array frames;
  for (const Frame& frame : trace.frames) {
    json::Array functions;
    for (const SourceFrame& function : frame.functions)
      functions.push_back(json::Object{
          {"name", text_or_null(function.function)},
          {"offset", function.inlined ? json::Value(nullptr) : json::Value(function.offset)},
          {"file", text_or_null(function.file)},
          {"line", function.line == 0 ? json::Value(nullptr) : json::Value(function.line)},
          {"inlined", function.inlined},
      });
    frames.push_back(json::Object{{"pc", hex_value(frame.pc)},
                                  {"place", text_or_null(frame.place)},
                                  {"guess", frame.is_guess},
                                  {"functions", std::move(functions)}});
  }
  return json::Object{
      {"frames", std::move(frames)}, {"user_pc", hex_value(trace.user_pc)}, {"note", text_or_null(trace.why)}};
}

int print_json(const Job& job) {
  json::Value pages = pages_value(job);  // first: whoever interrupts the long part gets no half of an object
  const auto write = [&](llvm::raw_ostream& to, unsigned indent) {
    json::OStream out(to, indent);
    out.object([&] { job.program.has("why") ? write_why(out, job) : write_dump(out, job, std::move(pages)); });
    to << '\n';
  };
  if (!job.program.value("json")) {
    StandardOutput output;
    write(output, 2);
    return kExitDone;
  }
  // As a whole or not at all: a dump has one line, though its server may fail meanwhile.
  std::string line;
  llvm::raw_string_ostream text(line);
  write(text, 0);
  const std::string trouble = job.dump.trouble();
  if (trouble.empty()) return print_line(job.program, line);
  (void)print_json_error(job.program, job.dump.path(), "cannot read " + job.dump.path() + ": " + trouble);
  return kExitFailed;
}

int print_json_error(const Program& program, const std::string& path, const std::string& why) {
  std::string line;
  llvm::raw_string_ostream(line) << json::Value(json::Object{{"schema", 1},
                                                             {"file", json::Object{{"path", utf8(path)}}},
                                                             {"error", utf8(why)}})
                                 << '\n';
  return print_line(program, line);
}

}  // namespace gcore::tools::inspect
