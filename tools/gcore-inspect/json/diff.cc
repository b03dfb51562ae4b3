#include "tools/gcore-inspect/facts/diff_report.h"
#include "tools/gcore-inspect/json/values.h"

namespace gcore::tools::inspect {
namespace {

namespace json = llvm::json;

json::Value cpu_value(const CpuDiff& cpu) {
  json::Array registers;
  for (const RegisterDiff& diff : cpu.registers)
    registers.push_back(json::Object{{"name", utf8(diff.name)}, {"a", hex_value(diff.a)}, {"b", hex_value(diff.b)}});
  return json::Object{
      {"number", cpu.number},
      {"in", cpu.a && cpu.b ? "both"
             : cpu.a        ? "a"
                            : "b"},
      {"process_a", text_or_null(cpu.process_a)},
      {"process_b", text_or_null(cpu.process_b)},
      {"registers", std::move(registers)},
  };
}

void write_memory(json::OStream& out, const MemoryDiff& memory) {
  out.attribute("bytes_differ", memory.differing_bytes);
  out.attributeObject("pages", [&] {
    for (size_t i = 0; i < PageDiff::kKinds; ++i)
      out.attribute(to_string(static_cast<PageDiff::Kind>(i)), memory.pages[i]);
  });
  out.attributeArray("ranges", [&] {
    for (const PageDiff& run : memory.runs) {
      if (run.kind == PageDiff::Kind::equal) continue;
      out.value(json::Object{
          {"address", hex_value(run.first * kPageSize)},
          {"size", run.count * kPageSize},
          {"pages", run.count},
          {"kind", to_string(run.kind)},
          {"bytes_differ", run.kind == PageDiff::Kind::differs ? json::Value(run.bytes) : json::Value(nullptr)},
      });
    }
  });
}

}  // namespace

void print_diff_json(const DiffReport& report) {
  StandardOutput output;
  {
    json::OStream out(output, 2);
    out.object([&] {
      out.attribute("schema", 1);
      out.attribute("a", file_value(report.a));
      out.attribute("b", file_value(report.b));
      out.attribute("machine", format::machine_name(report.a.machine()));
      out.attribute("identical", report.diff.identical());
      out.attributeArray("remarks", [&] {
        for (const std::string& remark : report.remarks) out.value(utf8(remark));
      });
      out.attributeArray("cpus", [&] {
        for (const CpuDiff& cpu : report.diff.cpus) out.value(cpu_value(cpu));
      });
      out.attributeObject("memory", [&] { write_memory(out, report.diff.memory); });
    });
  }
  output << '\n';
}

}  // namespace gcore::tools::inspect
