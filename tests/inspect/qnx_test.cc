// A QNX guest whose kernel says where its processes are: in text, as JSON and on the page. And one that does not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/inspect/sample.h"
#include "tests/inspect/visit.h"
#include "tests/support/paths.h"
#include "tests/support/qnx_kernel.h"

namespace gcore::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

constexpr char kMessages[] = "Starting next program at vffff80000008e000\ndevb-virtio: path 0\nunable to mount\n";

/// Two processes in the sample's address space, one of another root that maps nothing, and one without threads.
DumpBuilder qnx_dump(std::string messages = kMessages) {
  std::string memory = sample_memory();
  const auto put = [&](size_t at, uint64_t value) {
    for (size_t i = 0; i < 8; ++i) memory[at + i] = static_cast<char>(value >> (8 * i));
  };
  put(0xaf00, 0);  // 0x401f00: the outermost frame, which returns to 0x400020
  put(0xaf08, 0x400020);
  QnxNote note = sample_note();
  note.cpus[1].process.clear();
  QnxKernelBuilder kernel;
  kernel.base = 0xffff800000000000;
  kernel.processes = {
      {.pid = 1, .name = "procnto-smp-instr", .root = 0x9000, .threads = {{.id = 1, .rip = 0xffff800000008004}}},
      {.pid = 4099,
       .name = "proc/boot/devb",
       .root = 0x1000,
       .threads = {{.id = 1, .rip = 0x400008, .rsp = 0x401e00, .rbp = 0x401f00},
                   {.id = 3, .rip = 0x400010, .rsp = 0x401ff0}}},
      {.pid = 8196, .name = "</script><img src=x>", .root = 0x9000},
  };
  kernel.messages = std::move(messages);
  return kernel.dump(std::move(memory), note);
}

struct QnxGuestDump : testing::Test {
  Inspect inspect;
  std::string shown(std::vector<std::string> arguments, ExitStatus status = {0, 0}) const {
    const Completed done = inspect.with(qnx_dump(), std::move(arguments));
    EXPECT_EQ(done.status, status) << done.err;
    EXPECT_EQ(done.err, "");
    return done.out;
  }
  std::string refused(std::vector<std::string> arguments) const {
    const Completed done = inspect.with(qnx_dump(), std::move(arguments));
    EXPECT_EQ(done.status, (ExitStatus{1, 0}));
    EXPECT_EQ(done.out, "");
    EXPECT_EQ(std::ranges::count(done.err, '\n'), 1) << done.err;
    return done.err;
  }
};

TEST_F(QnxGuestDump, TasksAreALineForEachThread) {
  EXPECT_EQ(shown({"--tasks"}),
            "         PID   TID  vCPU  name                      pc\n"
            "           1     1        procnto-smp-instr         0xffff800000008004\n"
            "        4099     1   0,1  proc/boot/devb            0x0000000000400008\n"
            "        4099     3   0,1  proc/boot/devb            0x0000000000400010\n"
            "        8196     -        </script><img src=x>      -\n");
}

TEST_F(QnxGuestDump, OfOneProcessEverythingIsShown) {
  const std::string all = shown({"--tasks", "4099"});
  EXPECT_THAT(all, AllOf(HasSubstr("proc/boot/devb (PID 4099)\n  structure    0xffff8000000"),
                         HasSubstr("page tables  root at guest-physical 0x1000; --map --root 0x1000 lists its memory"),
                         HasSubstr("vCPU         0,1, by the root table"),
                         HasSubstr("  thread 1\n  #0   0x0000000000400008  ??\n  #1   0x0000000000400020  ??\n"),
                         HasSubstr("rip     0x0000000000400008"), HasSubstr("  thread 3\n")));
  EXPECT_EQ(refused({"--tasks", "7"}), "gcore-inspect: show PID 7: the guest has no such process\n");
}

TEST_F(QnxGuestDump, StacksOfThreads) {
  EXPECT_THAT(shown({"--backtrace", "--task", "4099"}),
              HasSubstr("proc/boot/devb (PID 4099), thread 1\n  #0   0x0000000000400008  ??\n  #1   0x000000000040"));
  EXPECT_THAT(shown({"--backtrace", "--task", "all"}), HasSubstr("procnto-smp-instr (PID 1), thread 1\n"));
  EXPECT_THAT(shown({"--backtrace"}), HasSubstr("; proc/boot/devb (PID 4099) by its page tables\n"));
  EXPECT_THAT(refused({"--backtrace", "--task", "blocked"}), HasSubstr("does not tell which threads are blocked"));
  EXPECT_THAT(refused({"--backtrace", "--task", "7"}), HasSubstr("the guest has no such process"));
}

TEST_F(QnxGuestDump, MessagesAreThoseOfTheRing) {
  EXPECT_EQ(shown({"--dmesg"}), kMessages);
  const Completed none = inspect.with(qnx_dump(""), {"--dmesg"});
  EXPECT_EQ(none.status, (ExitStatus{1, 0}));
  EXPECT_THAT(none.err, MatchesRegex("gcore-inspect: show the messages: this dump has no kernel message ring: .*\n"));
}

TEST_F(QnxGuestDump, SummaryNamesWhatRan) {
  EXPECT_THAT(shown({}), AllOf(HasSubstr("  guest     QNX by its system page"), HasSubstr("processes 3, 3 threads\n"),
                               HasSubstr("  message   unable to mount\n"),
                               HasSubstr("proc/boot/devb (PID 4099) by its page tables")));
}

TEST_F(QnxGuestDump, WhatItsKernelDoesNotTellIsSaidInALine) {
  for (const auto& [mode, attempt] : {std::pair{"--why", "say what went wrong"}, {"--modules", "show the modules"}})
    EXPECT_EQ(refused({mode}), "gcore-inspect: " + std::string(attempt) +
                                   ": the guest is a QNX system, whose kernel does not tell that; --tasks, --dmesg and "
                                   "--backtrace show what it does\n");
  EXPECT_THAT(refused({"--write-symbols", "file"}), HasSubstr("the guest is a QNX system"));
}

TEST_F(QnxGuestDump, JsonIsAsItsSchemaSays) {
  constexpr char kScript[] = R"(
import json, sys, jsonschema
found = json.load(sys.stdin)
for e in jsonschema.Draft202012Validator(json.load(open(sys.argv[1]))).iter_errors(found):
    print(e.json_path, e.message[:300])
assert found['linux'] is None
qnx = found['qnx']
devb = qnx['processes'][1]
assert (devb['pid'], devb['name'], devb['page_table'], devb['cpus']) == (4099, 'proc/boot/devb', '0x1000', [0, 1]), devb
first = devb['threads'][0]
assert first['tid'] == 1 and first['registers']['rsp'] == '0x401e00', first
assert [f['pc'] for f in first['backtrace']['frames']] == ['0x400008', '0x400020'], first
assert qnx['messages'].endswith('unable to mount\n') and qnx['problems'] == [], qnx
)";
  const std::string all = shown({"--json"});
  const Completed checked =
      run({"/usr/bin/python3", "-c", kScript, source_dir() + "/docs/inspect.schema.json"}, 60s, all);
  EXPECT_EQ(checked.out + checked.err, "");
}

TEST_F(QnxGuestDump, ThePageHasItsProcessesAndMessages) {
  shown({"--html", "page.html"});
  const Visit visit(inspect.folder().path("page.html"),
                    {"size=390x800", "eval=document.documentElement.scrollWidth <= innerWidth",
                     "eval=document.querySelectorAll('#task-table tbody tr').length",
                     "eval=(f => { f.value = 'devb'; f.dispatchEvent(new Event('input')); })($('#task-filter'))",
                     "eval=$$('#task-table tbody tr').filter(r => !r.hidden).length",
                     "eval=(d => { d.open = true; })($('#task-table tbody tr:not([hidden]) details'))",
                     "eval=$('#task-table ol.frames').textContent", "key=/", "type=unable to",
                     "eval=$('#results').textContent", "eval=document.images.length"});
  EXPECT_TRUE(visit.truth(0));
  EXPECT_EQ(visit.number(1), 4);
  EXPECT_EQ(visit.number(3), 2);
  EXPECT_THAT(visit.text(5), HasSubstr("0x0000000000400020"));
  EXPECT_THAT(visit.text(6), HasSubstr("unable to mount"));
  EXPECT_EQ(visit.number(7), 0);
}

/// Most dumps that a VMM took.
TEST_F(QnxGuestDump, WithoutASystemPageThatIsSaid) {
  std::string memory = sample_memory();
  memory.append(0x10000 - memory.size() % 0x10000, '\0');
  Bytes image;  // struct image_header
  image.text("imagefs").u8(0).u32(0x1000).u32(0x200).u32(88).zeros(0x1000 - 20);
  DumpBuilder dump;
  dump.note(sample_note().build()).memory(0, memory + image.str());
  const Completed summary = inspect.with(dump, {});
  EXPECT_THAT(summary.out, HasSubstr("guest     QNX by its image file system"));
  for (const char* mode : {"--tasks", "--dmesg", "--why", "--modules"}) {
    const Completed done = inspect.with(dump, {mode});
    EXPECT_EQ(done.status, (ExitStatus{1, 0}));
    EXPECT_EQ(std::ranges::count(done.err, '\n'), 1) << done.err;
    EXPECT_THAT(done.err, Not(HasSubstr("Linux"))) << mode;
  }
  EXPECT_THAT(inspect.with(dump, {"--tasks"}).err, HasSubstr("this dump does not name a QNX system page"));
}

}  // namespace
}  // namespace gcore::tests
