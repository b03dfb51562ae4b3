// --json. Of the modes, the only file that includes LLVM's JSON.
#include <fmt/format.h>
#include <llvm/Support/JSON.h>
#include <llvm/Support/raw_ostream.h>

#include <cstdio>
#include <map>

#include "tools/gcore-inspect/inspect.h"

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

std::string utf8(std::string_view text) { return json::fixUTF8(llvm::StringRef(text.data(), text.size())); }

json::Value hex(uint64_t value) { return fmt::format("{:#x}", value); }
json::Value hex(std::optional<uint64_t> value) { return value ? hex(*value) : json::Value(nullptr); }
json::Value text_or_null(std::string_view text) {
  return text.empty() ? json::Value(nullptr) : json::Value(utf8(text));
}

json::Value file_value(const reader::Dump& dump) {
  return json::Object{
      {"path", utf8(dump.path())},
      {"size", dump.file_size()},
      {"dialect", dialect_name(dump.dialect())},
      {"compression", utf8(dump.compression())},
      {"elf_class", dump.is_64_bit() ? 64 : 32},
      {"byte_order", dump.byte_order() == format::ByteOrder::big ? "big" : "little"},
      {"truncated", dump.truncated()},
  };
}

json::Value kdump_value(const reader::Dump& dump) {
  const auto& facts = dump.kdump_facts();
  if (!facts) return nullptr;
  return json::Object{
      {"note_version", facts->note_version},       {"signal_code", facts->signal_code},
      {"fault_number", facts->fault_number},       {"cpu_count", facts->cpu_count},
      {"regset_size", facts->regset_size},         {"cpu_info", hex(facts->cpu_info)},
      {"procnto_segnum", facts->procnto_number},   {"syspage_segnum", facts->syspage_number},
      {"dumpinfo_segnum", facts->dumpinfo_number},
  };
}

json::Value registers_value(const reader::Cpu& cpu) {
  json::Object all;
  const auto registers = format::registers(cpu.registers.machine());
  for (size_t slot = 0; slot < registers.size(); ++slot)
    all[llvm::StringRef(registers[slot].name.data(), registers[slot].name.size())] = hex(cpu.registers.get_slot(slot));
  return all;
}

/// `space` is the place of the vCPU's address space in the list of all, if it has one.
json::Value cpu_value(const reader::Cpu& cpu, std::optional<size_t> space) {
  json::Object other;
  for (const auto& [name, value] : cpu.other_registers) other[utf8(name)] = hex(value);
  const std::string mode = mode_name(cpu);
  return json::Object{
      {"index", cpu.index},
      {"number", cpu.number},
      {"process", text_or_null(cpu.process_name)},
      {"pc", hex(program_counter(cpu))},
      {"sp", hex(stack_pointer(cpu))},
      {"mode", mode == "unknown" ? json::Value(nullptr) : json::Value(mode)},
      {"page_table", cpu.page_table ? hex(cpu.page_table->value) : json::Value(nullptr)},
      {"address_space", space ? json::Value(*space) : json::Value(nullptr)},
      {"registers", registers_value(cpu)},
      {"other_registers", std::move(other)},
  };
}

json::Value range_value(const Range& range) {
  return json::Object{
      {"address", hex(range.start.value)},
      {"size", range.size},
      {"permissions", to_string(range.permissions)},
      {"page_size", range.page_size == 0 ? json::Value(nullptr) : json::Value(range.page_size)},
      {"physical", range.physical ? hex(range.physical->value) : json::Value(nullptr)},
      {"in_dump", presence_name(range.presence)},
  };
}

/// The address spaces of all vCPUs, each once: vCPUs of one kernel often share one.
struct Spaces {
  struct Entry {
    reader::AddressSpace space;
    std::vector<size_t> cpus;
  };
  std::vector<Entry> all;
  std::vector<std::optional<size_t>> of_cpu;

  explicit Spaces(const reader::Dump& dump) {
    std::map<std::string, size_t> known;  // by description, which has the roots and the mode
    for (const reader::Cpu& cpu : dump.cpus()) {
      auto space = reader::AddressSpace::of_cpu(dump, cpu.index);
      if (!space) {
        of_cpu.push_back(std::nullopt);
        continue;
      }
      const auto [place, is_new] = known.emplace(space->describe(), all.size());
      if (is_new) all.push_back({std::move(*space), {}});
      all[place->second].cpus.push_back(cpu.index);
      of_cpu.push_back(place->second);
    }
  }
};

void write_spaces(json::OStream& out, const reader::Dump& dump, const Spaces& spaces) {
  for (const Spaces::Entry& entry : spaces.all) {
    out.object([&] {
      out.attribute("description", utf8(entry.space.describe()));
      out.attribute("paging", entry.space.paging());
      out.attributeArray("cpus", [&] {
        for (const size_t cpu : entry.cpus) out.value(cpu);
      });
      reader::Listing listing;
      out.attributeArray("map", [&] {
        listing = list_ranges(dump, entry.space, [&](const Range& range) { out.value(range_value(range)); });
      });
      out.attribute("map_note", text_or_null(listing.note));
    });
  }
}

void write_memory(json::OStream& out, const reader::Dump& dump) {
  out.attribute("bytes", dump.memory_bytes());
  out.attributeArray("segments", [&] {
    for (const reader::Segment& segment : dump.segments())
      out.value(json::Object{
          {"index", segment.index},
          {"address", hex(segment.address.value)},
          {"memory_size", segment.memory_size},
          {"file_size", segment.file_size},
          {"offset", segment.offset.value},
          {"virtual_address", hex(segment.virtual_address.value)},
          {"flags", segment.flags},
      });
  });
  out.attributeArray("missing", [&] {
    for (const Gap& gap : gaps(dump))
      out.value(json::Object{{"address", hex(gap.address.value)}, {"size", gap.size}, {"why", utf8(gap.why)}});
  });
}

void write_dump(json::OStream& out, const reader::Dump& dump) {
  out.attribute("schema", 1);
  out.attribute("file", file_value(dump));
  out.attribute("machine", machine_name(dump.machine()));
  out.attribute("info", info_value(dump));
  out.attribute("vmcoreinfo", text_or_null(dump.vmcoreinfo()));
  out.attribute("kdump", kdump_value(dump));
  out.attribute("signal", dump.signal() == 0 ? json::Value(nullptr) : json::Value(dump.signal()));
  out.attribute("faulting_cpu", dump.cpus().empty() ? json::Value(nullptr) : json::Value(dump.faulting_cpu()));
  const Spaces spaces(dump);
  out.attributeArray("cpus", [&] {
    for (const reader::Cpu& cpu : dump.cpus()) out.value(cpu_value(cpu, spaces.of_cpu[cpu.index]));
  });
  out.attributeArray("address_spaces", [&] { write_spaces(out, dump, spaces); });
  out.attributeObject("memory", [&] { write_memory(out, dump); });
  out.attributeArray("defects", [&] {
    for (const std::string& defect : defects(dump)) out.value(utf8(defect));
  });
}

/// Hands everything to stdio, which is where run_program looks for errors of writing.
class StandardOutput : public llvm::raw_ostream {
 public:
  ~StandardOutput() override { flush(); }

 private:
  void write_impl(const char* text, size_t size) override { position_ += std::fwrite(text, 1, size, stdout); }
  uint64_t current_pos() const override { return position_; }
  uint64_t position_ = 0;
};

}  // namespace

int print_json(const Job& job) {
  StandardOutput output;
  {
    json::OStream out(output, 2);
    out.object([&] { write_dump(out, job.dump); });
  }
  output << '\n';
  return kExitDone;
}

}  // namespace gcore::tools::inspect
