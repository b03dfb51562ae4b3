// Section .gcore.info: what the writer could not read is not there; nonsense is a warning, never more.
#include "tests/reader/fixture.h"

namespace gcore::tests {
namespace {

using reader::Missing;
using reader::PhysAddr;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Kind = reader::Dump::Extent::Kind;

DumpBuilder with_info(const std::string& info) {
  DumpBuilder builder = small_dump(two_cpus().build());
  builder.section(".gcore.info", info);
  return builder;
}

std::string repeated(size_t count, std::string_view text) {
  std::string all;
  for (size_t i = 0; i < count; ++i) all += text;
  return all;
}

TEST(Info, FieldsAreThere) {
  const auto dump =
      opened(with_info(R"({"format": 1, "program": "vmm 1", "writer": "gcore 2", "vm": "a\"b", "host": "h",
    "requested_ns": 1503317179000000001, "reason": {"kind": "signal", "detail": "SIGUSR2", "signal": 0, "cpu": 0},
    "pause_ns": 5, "consistency": "paused", "complete": false, "new_field": [{}],
    "pages": {"size": 4096, "written": 1, "zero": 2, "absent": 3, "missing": 4},
    "vcpus": {"count": 3, "left_out": [2]}, "unavailable": [], "missing_ranges": 0, "missing": []})"));
  ASSERT_TRUE(dump);
  const reader::DumpInfo& info = dump->info();
  EXPECT_TRUE(info.present);
  EXPECT_EQ(info.program, "vmm 1");
  EXPECT_EQ(info.writer, "gcore 2");
  EXPECT_EQ(info.vm, "a\"b");
  EXPECT_EQ(info.host, "h");
  EXPECT_EQ(info.requested_ns, 1503317179000000001u);
  EXPECT_EQ(info.reason_kind, "signal");
  EXPECT_EQ(info.reason_detail, "SIGUSR2");
  EXPECT_EQ(info.pause_ns, 5u);
  EXPECT_EQ(info.consistency, "paused");
  EXPECT_FALSE(info.complete);
  ASSERT_TRUE(info.pages);
  EXPECT_EQ(info.pages->zero, 2u);
  EXPECT_EQ(info.pages->missing, 4u);
  EXPECT_EQ(info.vcpu_count, 3u);
  EXPECT_THAT(info.left_out, ElementsAre(2));
  EXPECT_THAT(dump->warnings(), IsEmpty());
}

TEST(Info, MemoryThatIsNotOfOneMomentIsWarnedOf) {
  for (const char* consistency : {"paused", "snapshot", "torn"}) {
    const auto dump = opened(with_info(R"({"format": 1, "consistency": ")" + std::string(consistency) + "\"}"));
    ASSERT_TRUE(dump);
    EXPECT_EQ(dump->info().consistency, consistency);
    EXPECT_EQ(dump->warnings().size(), std::string_view(consistency) == "torn" ? 1u : 0u);
  }
}

TEST(Info, ADumpWithoutItIsComplete) {
  const auto dump = opened(small_dump(two_cpus().build()));
  ASSERT_TRUE(dump);
  EXPECT_FALSE(dump->info().present);
  EXPECT_EQ(dump->info().error, "");
  EXPECT_TRUE(dump->info().complete);
}

TEST(Info, UnavailableRegistersAreAbsent) {
  const auto dump = opened(with_info(
      R"({"unavailable": [{"vcpu": 1, "registers": "cr3 rax  nonsense"}, {"vcpu": 7, "registers": "rip"},
          {"vcpu": 1, "registers": "ss"}]})"));
  ASSERT_TRUE(dump);
  const auto cpus = dump->cpus();
  EXPECT_EQ(cpus[0].registers.get("cr3"), 0x5018u);
  EXPECT_EQ(cpus[0].registers.get("rax"), 0u);
  for (const char* name : {"cr3", "rax", "ss"}) EXPECT_FALSE(cpus[1].registers.get(name)) << name;
  EXPECT_EQ(cpus[1].registers.get("rip"), 0x2222u);
  EXPECT_THAT(dump->warnings(), IsEmpty());
}

TEST(Info, UnavailableRegistersOfNeighboursShareAnEntry) {
  const auto dump = opened(with_info(
      R"({"unavailable_vcpus": 2, "unavailable": [{"vcpu": 0, "to": 1, "registers": "rip"}, {"vcpu": 5, "to": 4}]})"));
  ASSERT_TRUE(dump);
  for (const auto& cpu : dump->cpus()) EXPECT_FALSE(cpu.registers.get("rip"));
  EXPECT_THAT(dump->warnings(), ElementsAre(HasSubstr("a field of section .gcore.info is not what the format says")));
}

TEST(Info, UnavailableRegistersThatFoundNoRoomAreWarnedAbout) {
  const auto dump =
      opened(with_info(R"({"unavailable_vcpus": 9, "unavailable": [{"vcpu": 0, "to": 1, "registers": "rip"}]})"));
  ASSERT_TRUE(dump);
  EXPECT_THAT(dump->warnings(), ElementsAre("the writer did not know some registers of 9 vCPUs and lists 2 of these; "
                                            "those of the others read as 0"));
}

// In kernel mode x86's stack pointer is what exx tells.
TEST(Info, DerivedRegistersGoWithTheirSource) {
  QnxNote note;
  note.machine = kEmX86;
  note.cpus = {{.registers = {{"exx", 0x100}, {"cs", 0x8}}},
               {.number = 1, .registers = {{"esp", 0x200}, {"cs", 0x1b}}}};
  DumpBuilder builder;
  builder.machine = kEmX86;
  builder.elf32 = true;
  builder.note(note.build())
      .memory(0x1000, "x")
      .section(".gcore.info", R"({"unavailable": [{"vcpu": 0, "registers": "exx"}, {"vcpu": 1, "registers": "exx"}]})");
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  EXPECT_FALSE(dump->cpus()[0].registers.get("esp"));
  EXPECT_EQ(dump->cpus()[1].registers.get("esp"), 0x200u);
}

/// Whether the byte can be read, after holding read() and next_extent() against each other.
Missing state_of(const reader::Dump& dump, uint64_t address) {
  std::byte byte{};
  const auto got = dump.read(PhysAddr(address), std::span(&byte, 1));
  const auto extent = dump.next_extent(PhysAddr(address));
  const bool here = extent && extent->address == PhysAddr(address);
  EXPECT_EQ(got.missing == Missing::not_in_any_segment, !here) << address;
  if (here && extent->kind == Kind::missing) {
    EXPECT_EQ(got.missing, extent->why) << address;
    const auto again = dump.read(extent->address + (extent->size - 1), std::span(&byte, 1));
    EXPECT_EQ(again.missing, extent->why) << address;
  } else if (here) {
    EXPECT_EQ(got.missing, Missing::none) << address;
    std::vector<std::byte> all(extent->size);
    EXPECT_EQ(dump.read(extent->address, all).bytes, all.size()) << address;
  }
  return got.missing;
}

TEST(Info, MissingRangesAreExactToTheByte) {
  // Overlapping, adjoining, unsorted, across a border of segments, outside all of them; as texts and as numbers.
  const auto dump =
      opened(with_info(R"({"missing": [["0x2ffe", "0xd003"], [4099, 2], ["0x1004", "4"], ["0x1008", "0x1"],
    ["0x1800", "0x1"], ["0x1800", "0x1"], ["0x0", "0x8"], ["0xfffffffffffff000", "0x1000"]]})"));
  ASSERT_TRUE(dump);
  EXPECT_THAT(dump->warnings(), IsEmpty());
  EXPECT_EQ(dump->info().missing.size(), 5u);
  for (uint64_t at = 0xff0; at < 0x3010; ++at) {
    const bool inside = at >= 0x1000 && at < 0x3000;
    const bool bad = (at >= 0x1003 && at < 0x1009) || at == 0x1800 || at >= 0x2ffe;
    ASSERT_EQ(state_of(*dump, at), !inside ? Missing::not_in_any_segment
                                   : bad   ? Missing::unreadable
                                           : Missing::none)
        << std::hex << at;
  }
  EXPECT_EQ(state_of(*dump, 0x10000), Missing::unreadable);
  EXPECT_EQ(state_of(*dump, 0x10001), Missing::none);

  std::string text(4096, '?');
  const auto into = std::as_writable_bytes(std::span(text));
  const auto before = dump->read(PhysAddr(0x1000), into);
  EXPECT_EQ(before.bytes, 3u);
  EXPECT_EQ(before.missing, Missing::unreadable);
  EXPECT_EQ(text.substr(0, 4), "aaa?");
  const auto between = dump->read(PhysAddr(0x1009), into);
  EXPECT_EQ(between.bytes, 0x1800u - 0x1009u);
  EXPECT_EQ(between.missing, Missing::unreadable);
  EXPECT_EQ(dump->read(PhysAddr(0x1000), into.first(3)).missing, Missing::none);
  EXPECT_EQ(dump->read(PhysAddr(0x1003), {}).missing, Missing::none);
  EXPECT_EQ(dump->memory_bytes(), 0x3000u);
}

TEST(Info, AllOfTheAddressSpaceCanBeMissing) {
  DumpBuilder builder = with_info(R"({"missing": [["0x0", "0xffffffffffffffff"], ["0xffffffffffffffff", "0x1"]]})");
  builder.header({.offset = 0, .address = 0xfffffffffffff000, .file_size = 0x10, .memory_size = 0x1000});
  builder.header({.offset = 0, .address = 0x5000, .file_size = 0, .memory_size = 0x1000});
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  EXPECT_EQ(state_of(*dump, 0xffffffffffffffff), Missing::unreadable);
  EXPECT_EQ(state_of(*dump, 0x1000), Missing::unreadable);
  EXPECT_EQ(state_of(*dump, 0x5000), Missing::left_out);
}

TEST(Info, ListsThatWereCutOffAreAWarning) {
  const auto dump = opened(with_info(R"({"missing_ranges": 9, "missing": [["0x1000", "0x1000"]]})"));
  ASSERT_TRUE(dump);
  EXPECT_EQ(dump->info().missing_ranges, 9u);
  EXPECT_THAT(dump->warnings(), ElementsAre(AllOf(HasSubstr("9 ranges"), HasSubstr("lists 1"))));
}

TEST(Info, WhatIsNotUnderstoodIsOneWarning) {
  const std::string deep = std::string(500'000, '['), objects = repeated(100'000, "{\"a\":");
  for (const std::string& json :
       {deep, objects, std::string("[1]"), std::string("7"), std::string("{"), std::string("{\"vm\": \"\xff\"}"),
        "{\"a\": " + std::string(2'000'000, ' ') + "1}",
        std::string(R"({"format": 2, "missing": [["0x1000", "0x1"]]})"), std::string("{\"a\": \"\\ud800\nx\"}")}) {
    const auto dump = opened(with_info(json));
    ASSERT_TRUE(dump);
    EXPECT_FALSE(dump->info().present) << json.substr(0, 40);
    EXPECT_NE(dump->info().error, "");
    EXPECT_THAT(dump->warnings(), ElementsAre(HasSubstr("section .gcore.info is ignored: "))) << json.substr(0, 40);
    EXPECT_EQ(dump->warnings()[0].find('\n'), std::string::npos);
    EXPECT_EQ(state_of(*dump, 0x1000), Missing::none);
  }
}

TEST(Info, FieldsOfWrongTypesAreOneWarning) {
  const auto dump = opened(with_info(R"({"program": 1, "vm": null, "reason": [], "pause_ns": -1, "complete": "no",
    "pages": {"written": {}}, "vcpus": {"left_out": [1.5, 1e300, -2, "x", 4]}, "requested_ns": "0xg",
    "unavailable": [7, {"vcpu": 4294967296, "registers": "rip"}, {"vcpu": 0, "registers": ["rip"]}, {}],
    "missing": [[], ["0x1000"], ["0x1000", 0], ["0xffffffffffffffff", "0x2"], ["", ""], ["0x", "1"],
                ["0x10000000000000000", "1"], 5, ["0x1000", "0x1"]]})"));
  ASSERT_TRUE(dump);
  EXPECT_TRUE(dump->info().present);
  EXPECT_TRUE(dump->info().complete);
  EXPECT_THAT(dump->info().left_out, ElementsAre(4));
  EXPECT_EQ(dump->info().missing.size(), 1u);
  EXPECT_TRUE(dump->cpus()[0].registers.get("rip"));
  EXPECT_THAT(dump->warnings(), ElementsAre(AllOf(HasSubstr("fields of section .gcore.info"), HasSubstr("program"))));
}

TEST(Info, ManyEntriesTakeLittleTime) {
  const std::string ranges = repeated(80'000, "[0,1],[9,9],"), one = R"({"vcpu":1,"registers":"rax rax"},)";
  const auto many = opened(with_info("{\"missing\": [" + ranges + "[0,1]]}"));
  ASSERT_TRUE(many);
  EXPECT_EQ(many->info().missing.size(), 2u);
  const auto entries = opened(with_info("{\"unavailable\": [" + repeated(20'000, one) + "{}]}"));
  ASSERT_TRUE(entries);
  EXPECT_FALSE(entries->cpus()[1].registers.get("rax"));
  const auto names =
      opened(with_info(R"({"unavailable": [{"vcpu": 1, "registers": ")" + repeated(400'000, "x ") + "\"}]}"));
  ASSERT_TRUE(names);
  EXPECT_LE(names->info().unavailable.at(0).registers.size(), 100'000u);
}

}  // namespace
}  // namespace gcore::tests
