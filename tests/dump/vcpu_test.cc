// The vCPUs of a dump that gcore-dump takes, against those in QEMU's own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/dump/dump_files.h"
#include "tests/dump/gcore_dump.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;

std::vector<std::string> notes_named(const CoreFile& file, const std::string& name) {
  std::vector<std::string> found;
  for (const CoreFile::Note& note : file.notes())
    if (note.name == name) found.push_back(note.bytes);
  return found;
}

// Where vCPUs are plugged, the numbers have gaps. The machine is not in long mode: QEMU's own notes are of a 32-bit
// x86.
TEST(DumpedVcpus, AreThoseThatArePlugged) {
  BareMachine machine(kX86, kLoop, with(kShared, {"-smp", "1,maxcpus=4,sockets=4"}));
  machine.qmp().execute("device_add",
                        R"({"driver": "qemu64-x86_64-cpu", "socket-id": 3, "core-id": 0, "thread-id": 0})");
  const TempDir out;
  const Completed done = gcore_dump({"--qmp", machine.socket(), "--dialect", "vmcore", out.path()});
  EXPECT_EQ(done.status, kDone) << done.err;
  const std::string oracle = out.path("oracle");
  machine.qmp().execute("dump-guest-memory", R"({"paging": false, "protocol": )" + Qmp::quote("file:" + oracle) + "}");
  const CoreFile ours(line(done.out)), theirs(oracle);
  EXPECT_EQ(notes_named(ours, "CORE").size(), 2u);
  EXPECT_EQ(notes_named(ours, "QEMU"), notes_named(theirs, "QEMU"));
  const auto dump = open_dump(line(done.out)),
             qnx = open_dump(line(gcore_dump({"--qmp", machine.socket(), out.path()}).out));
  for (const auto* one : {dump.get(), qnx.get()}) {
    ASSERT_EQ(one->cpus().size(), 2u);
    EXPECT_EQ(one->cpus()[0].number, 0u);
    EXPECT_EQ(one->cpus()[1].number, 3u);
    EXPECT_EQ(one->info().vcpu_count, 2u);
    EXPECT_THAT(one->info().left_out, testing::IsEmpty());
    EXPECT_EQ(one->cpus()[1].registers.get("rip"), 0xfff0u);
  }
}

TEST(DumpedVcpus, LoseInAVmcoreWhatIsNamed) {
  BareMachine machine(kX86, kLoop, kShared);
  const TempDir out;
  const Completed done = gcore_dump({"--qmp", machine.socket(), "--dialect", "vmcore", out.path()});
  EXPECT_THAT(done.err,
              HasSubstr("gcore-dump: not carried over, since the vmcore dialect has no place for it: registers "
                        "cr8 dr0..dr3 dr6..dr7 efer "));
  const auto vmcore = open_dump(line(done.out)),
             qnx = open_dump(line(gcore_dump({"--qmp", machine.socket(), out.path()}).out));
  for (const format::RegisterInfo& one : format::registers(format::Machine::x86_64)) {
    const std::string name(one.name),
        whole = name.ends_with(".lo") || name.ends_with(".hi") ? name.substr(0, name.size() - 3) : name;
    if (!qnx->cpus()[0].registers.get(name) || vmcore->cpus()[0].registers.get(name)) continue;
    if (whole.starts_with("xmm") || whole.starts_with("st") || whole.starts_with("dr")) continue;  // in runs
    EXPECT_THAT(done.err, HasSubstr(" " + whole)) << "is lost, and not named";
  }
}

TEST(DumpedVcpus, MustBeThereAndOfAMachineThatDumpsAreOf) {
  const TempDir out;
  const auto why = [&](const std::string& qemu, std::vector<std::string> arguments) {
    BareMachine machine(qemu, "", std::move(arguments));
    const Completed done = gcore_dump({"--qmp", machine.socket(), out.path()});
    EXPECT_EQ(done.status, kFailed);
    EXPECT_FALSE(machine.runs());
    return done.err.substr(done.err.find("/qmp: ") + 6);
  };
  EXPECT_EQ(why(kX86, {"-machine", "none"}), "QEMU's machine has no vCPU\n");
  EXPECT_EQ(why("qemu-system-aarch64", {"-machine", "virt", "-cpu", "cortex-a15"}),
            "the guest's CPU is a 32-bit ARM; dumps are of x86_64 and aarch64\n");
  EXPECT_EQ(why("qemu-system-i386", {}),
            "QEMU runs a guest of machine \"i386\"; dumps are of x86_64 and aarch64 (QEMU's dump-guest-memory and "
            "gcore-convert make a qnx dump of it)\n");
}

}  // namespace
}  // namespace gcore::tests
