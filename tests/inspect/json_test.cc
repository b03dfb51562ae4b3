// --json, read back with a JSON parser that is not ours.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <llvm/Support/JSON.h>

#include "tests/inspect/sample.h"
#include "tests/support/paths.h"

namespace gcore::tests {
namespace {

namespace json = llvm::json;

json::Object parse(const Completed& done) {
  EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
  auto value = json::parse(done.out);
  if (!value || value->getAsObject() == nullptr) {
    ADD_FAILURE() << "not a JSON object: " << done.out;
    return {};
  }
  return std::move(*value->getAsObject());
}

std::string text(const json::Object& object, const char* key) { return object.getString(key).value_or("(none)").str(); }

/// There, and null. (Object::getNull is not called: compilers disagree on how it returns its value.)
bool is_null(const json::Object& object, const char* key) {
  const json::Value* value = object.get(key);
  return value != nullptr && value->kind() == json::Value::Null;
}

/// The n-th member, an object, of an array.
const json::Object& at(const json::Object& object, const char* key, size_t n) {
  static const json::Object kNone;
  const json::Array* array = object.getArray(key);
  if (array != nullptr && n < array->size() && (*array)[n].getAsObject() != nullptr) return *(*array)[n].getAsObject();
  ADD_FAILURE() << "no object " << key << "[" << n << "]";
  return kNone;
}

TEST(Json, HasWhatTheOtherModesPrint) {
  const json::Object all = parse(Inspect()({"sample.gcore", "--json"}));
  EXPECT_EQ(all.getInteger("schema"), 1);
  EXPECT_EQ(text(all, "machine"), "x86_64");
  EXPECT_EQ(text(*all.getObject("file"), "dialect"), "qnx");
  EXPECT_EQ(text(*all.getObject("file"), "path"), "sample.gcore");
  EXPECT_EQ(text(*all.getObject("info"), "vm"), "qnx7");
  EXPECT_EQ(all.getInteger("signal"), 6);
  EXPECT_EQ(all.getInteger("faulting_cpu"), 1);
  EXPECT_EQ(all.getObject("kdump")->getInteger("cpu_count"), 2);
  EXPECT_TRUE(is_null(all, "vmcoreinfo"));
  EXPECT_EQ(all.getArray("defects")->size(), 0u);
}

TEST(Json, HasTheVcpus) {
  const json::Object all = parse(Inspect()({"sample.gcore", "--json"}));
  ASSERT_EQ(all.getArray("cpus")->size(), 2u);
  const json::Object &kernel = at(all, "cpus", 0), &user = at(all, "cpus", 1);
  EXPECT_EQ(text(kernel, "pc"), "0xffff800000008010");
  EXPECT_EQ(text(kernel, "mode"), "kernel, CPL 0");
  EXPECT_TRUE(is_null(kernel, "process"));
  EXPECT_EQ(text(user, "process"), "shell");
  EXPECT_EQ(text(user, "mode"), "user, CPL 3");
  EXPECT_EQ(text(user, "page_table"), "0x1000");
  EXPECT_EQ(text(*kernel.getObject("registers"), "rax"), "0x1234567890abcdef");
  EXPECT_EQ(text(*kernel.getObject("registers"), "xmm0.hi"), "0xff00000000000000");
  EXPECT_EQ(text(*kernel.getObject("other_registers"), "weird"), "0x2a");
  // Absent is null, and never left out.
  EXPECT_TRUE(is_null(*kernel.getObject("registers"), "cr8"));
}

TEST(Json, HasEachAddressSpaceOnce) {
  const json::Object all = parse(Inspect()({"sample.gcore", "--json"}));
  ASSERT_EQ(all.getArray("address_spaces")->size(), 1u);
  const json::Object& space = at(all, "address_spaces", 0);
  EXPECT_EQ(space.getArray("cpus")->size(), 2u);
  EXPECT_EQ(at(all, "cpus", 1).getInteger("address_space"), 0);
  EXPECT_EQ(space.getBoolean("paging"), true);
  ASSERT_EQ(space.getArray("map")->size(), 5u);
  const json::Object& first = at(space, "map", 0);
  EXPECT_EQ(text(first, "address"), "0x400000");
  EXPECT_EQ(text(first, "permissions"), "r-xu");
  EXPECT_EQ(text(first, "physical"), "0x8000");
  EXPECT_EQ(first.getInteger("page_size"), 4096);
  EXPECT_EQ(text(first, "in_dump"), "all");
  EXPECT_EQ(text(at(space, "map", 2), "in_dump"), "none");
  EXPECT_EQ(text(at(space, "map", 4), "in_dump"), "part");
}

/// Nine vCPUs, each with a root of its own, through which 131,072 pages are mapped that lie anywhere: what all of them
/// may take is bounded together.
TEST(Json, OfManyLargeAddressSpacesIsBounded) {
  constexpr uint64_t kCpus = 9, kTables = 512, kFirst = 0x200000, kUpper = 0x100000, kMiddle = 0x101000;
  constexpr uint64_t kBound = 1 << 20;
  QnxNote note;
  note.extra_names = {"cr0", "cr3", "cr4", "efer"};
  Bytes memory;
  for (uint64_t cpu = 0; cpu < kCpus; ++cpu) {
    const uint64_t root = 0x1000 * (cpu + 1);
    note.cpus.push_back({.pgtbl = root,
                         .number = static_cast<uint32_t>(cpu),
                         .process = "",
                         .registers = {{"cr0", 0x80000001}, {"cr3", root}, {"cr4", 0x20}, {"efer", 0xd00}}});
    memory.put(root, kUpper | 7, 8);
  }
  memory.put(kUpper, kMiddle | 7, 8);
  uint64_t any = 1;
  for (uint64_t table = 0; table < kTables; ++table) {
    memory.put(kMiddle + table * 8, (kFirst + table * 4096) | 7, 8);
    for (uint64_t entry = 0; entry < 512; entry += 2) {
      any = any * 6364136223846793005 + 1442695040888963407;
      memory.put(kFirst + table * 4096 + entry * 8, (any >> 53) * 4096 | 7 | any << 31 >> 63 << 63, 8);
    }
  }
  DumpBuilder dump;
  const Inspect inspect;
  const std::string path = inspect.folder().path("large");
  dump.note(note.build()).memory(0, memory.pad_to(8 << 20).str()).write(path);
  const Completed done =
      run({"sh", "-c", "\"$1\" \"$2\" --json | grep -c '\"stride\"'", "sh", program("gcore-inspect"), path}, 200s);
  ASSERT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
  const uint64_t mappings = std::stoull(done.out);
  EXPECT_LE(mappings, kBound + kCpus);
  EXPECT_GT(mappings, kBound / 2);
}

TEST(Json, HasTheMemory) {
  DumpBuilder dump = sample_dump();
  dump.header({.address = 0x9000000, .file_size = 0, .memory_size = 0x3000});
  const json::Object all = parse(Inspect().with(dump, {"--json"}));
  const json::Object& memory = *all.getObject("memory");
  EXPECT_EQ(memory.getInteger("bytes"), 0x10000 + 0x400000 + 0x3000);
  ASSERT_EQ(memory.getArray("segments")->size(), 3u);
  EXPECT_EQ(text(at(memory, "segments", 1), "address"), "0x200000");
  EXPECT_EQ(at(memory, "segments", 1).getInteger("memory_size"), 0x400000);
  ASSERT_EQ(memory.getArray("missing")->size(), 1u);
  EXPECT_EQ(text(at(memory, "missing", 0), "address"), "0x9000000");
  EXPECT_EQ(at(memory, "missing", 0).getInteger("size"), 0x3000);
}

// Whatever bytes a dump has for text, the result is JSON.
TEST(Json, IsValidForHostileText) {
  QnxNote note = sample_note();
  note.cpus[0].process = "\xff\xfe \"quoted\" \\ \x01";
  note.extra_names.back() = "n\xc3(";
  DumpBuilder dump;
  dump.note(note.build()).memory(0, sample_memory()).section(".gcore.info", "[\"\xff");
  const json::Object all = parse(Inspect().with(dump, {"--json"}));
  EXPECT_TRUE(is_null(all, "info"));
  EXPECT_GE(all.getArray("defects")->size(), 1u);
  EXPECT_THAT(text(at(all, "cpus", 0), "process"), testing::HasSubstr("\"quoted\" \\ \x01"));
}

TEST(Json, DeepNestingOfTheDumpsOwnJsonIsADefect) {
  DumpBuilder dump;
  dump.note(sample_note().build()).memory(0, sample_memory()).section(".gcore.info", std::string(100000, '['));
  const json::Object all = parse(Inspect().with(dump, {"--json"}));
  EXPECT_TRUE(is_null(all, "info"));
  EXPECT_GE(all.getArray("defects")->size(), 1u);
}

TEST(Json, ADumpWithoutVcpusHasNullAndEmptyLists) {
  DumpBuilder dump;
  dump.note(elf_note("VMCOREINFO", 0, "OSRELEASE=6.1\n")).memory(0, sample_memory());
  const json::Object all = parse(Inspect().with(dump, {"--json"}));
  EXPECT_EQ(all.getArray("cpus")->size(), 0u);
  EXPECT_TRUE(is_null(all, "faulting_cpu"));
  EXPECT_TRUE(is_null(all, "kdump"));
  EXPECT_TRUE(is_null(all, "info"));
  EXPECT_EQ(text(all, "vmcoreinfo"), "OSRELEASE=6.1\n");
}

}  // namespace
}  // namespace gcore::tests
