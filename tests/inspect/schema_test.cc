// --json against its documented schemas, by a validator that is not ours. The schemas allow no member that they do not
// name, so that what is added without a word in them fails.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/inspect/guest_vm.h"
#include "tests/inspect/sample.h"
#include "tests/support/kdump_builder.h"

namespace gcore::tests {
namespace {

/// "" or what is wrong.
std::string validate(const Completed& done, const std::string& schema) {
  EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
  constexpr char kScript[] = R"(
import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.Draft202012Validator.check_schema(schema)
for e in jsonschema.Draft202012Validator(schema).iter_errors(json.load(sys.stdin)):
    print(e.json_path, e.message[:300])
)";
  // Debian's Python, which has Debian's modules, whatever other one comes first in PATH.
  const Completed checked = run({"/usr/bin/python3", "-c", kScript, source_dir() + "/docs/" + schema}, 60s, done.out);
  EXPECT_EQ(checked.status, (ExitStatus{0, 0})) << checked.err;
  return checked.out;
}

std::string validate_dump(const DumpBuilder& dump, std::vector<std::string> more = {}) {
  more.push_back("--json");
  return validate(Inspect().with(dump, more), "inspect.schema.json");
}

TEST(Schema, RefusesWhatIsWrong) {
  Completed wrong = Inspect()({"sample.gcore", "--json"});
  const size_t at = wrong.out.find("\"schema\": 1");
  wrong.out.replace(at, 11, "\"schema\": 2, \"undocumented\": 1");
  const std::string found = validate(wrong, "inspect.schema.json");
  EXPECT_THAT(found, testing::AllOf(testing::HasSubstr("undocumented"), testing::HasSubstr("$.schema")));
}

TEST(Schema, HoldsForTheSample) {
  EXPECT_EQ(validate_dump(sample_dump()), "");
  EXPECT_EQ(validate_dump(sample_dump(), {"--stats"}), "");
}

TEST(Schema, HoldsForOneLine) {
  const Completed all = Inspect()({"sample.gcore", "--json=lines"});
  EXPECT_EQ(std::ranges::count(all.out, '\n'), 1);
  EXPECT_EQ(validate(all, "inspect.schema.json"), "");
  const Completed why = Inspect()({"sample.gcore", "--json=lines", "--why"});
  EXPECT_EQ(std::ranges::count(why.out, '\n'), 1);
  EXPECT_THAT(why.out, testing::HasSubstr("\"why\":null"));
  EXPECT_EQ(validate(why, "inspect-why.schema.json"), "");
  EXPECT_EQ(validate(Inspect()({"sample.gcore", "--json", "--why"}), "inspect-why.schema.json"), "");
}

TEST(Schema, HoldsForOddDumps) {
  DumpBuilder no_cpu, no_memory, cut = sample_dump(), broken_info;
  no_cpu.note(elf_note("VMCOREINFO", 0, "OSRELEASE=6.1\n")).memory(0x1000, std::string(5000, 'x'));
  no_memory.note(sample_note().build());
  cut.cut(cut.build().size() - 0x100000);
  broken_info.note(sample_note().build()).memory(0, sample_memory()).section(".gcore.info", "{\"vm\": 12");
  for (const DumpBuilder& dump : {no_cpu, no_memory, cut, broken_info}) EXPECT_EQ(validate_dump(dump, {"--stats"}), "");
}

TEST(Schema, HoldsForAKdump) {
  const Inspect inspect;
  inspect.folder().write("kdump", KdumpBuilder{}.build());
  EXPECT_EQ(validate(inspect({"kdump", "--json", "--stats"}), "inspect.schema.json"), "");
}

TEST(Schema, HoldsForOtherMachinesAndDialects) {
  for (const uint16_t machine : {kEmX86, kEmX86_64, kEmAarch64}) {
    DumpBuilder dump;
    dump.machine = machine;
    dump.elf32 = machine == kEmX86;
    QnxNote note;
    note.machine = machine;
    note.cpus.push_back({.pgtbl = 0x1000, .number = 3, .process = "p", .registers = {}});
    dump.note(note.build()).memory(0, sample_memory());
    EXPECT_EQ(validate_dump(dump), "") << machine;
  }
  for (const uint16_t machine : {kEmX86_64, kEmAarch64}) {
    DumpBuilder dump;
    dump.machine = machine;
    dump.note(elf_note("CORE", 1, prstatus(machine, 1, {}))).memory(0x40000000, sample_memory());
    EXPECT_EQ(validate_dump(dump), "") << machine;
  }
}

TEST(Schema, HoldsForALiveGuestAndItsDiff) {
  GuestVm vm;
  const std::string a = vm.dump("a"), b = vm.dump("b"), elf = build_dir() + "/share/gcore/builtin-guest.elf";
  const auto inspect = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), program("gcore-inspect"));
    return run(arguments);
  };
  EXPECT_EQ(validate(inspect({a, "--json", "--symbols", elf}), "inspect.schema.json"), "");
  EXPECT_EQ(validate(inspect({a, "--diff", b, "--json"}), "inspect-diff.schema.json"), "");
}

}  // namespace
}  // namespace gcore::tests
