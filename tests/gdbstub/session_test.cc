// The session as a machine of bytes: what each packet is answered with, and what bytes that are no packets do.
#include "gdbstub/protocol/session.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "gdbstub/protocol/packet.h"
#include "tests/gdbstub/conversation.h"
#include "tests/gdbstub/fake_target.h"

namespace gcore::tests {
namespace {

using gdbstub::kMaxPayload;

struct SessionTest : testing::Test {
  FakeTarget target;
  Conversation gdb{target};
};

TEST_F(SessionTest, SupportedNamesWhatThereIs) {
  const std::string reply = gdb.ask("qSupported:multiprocess+;swbreak+;hwbreak+;vContSupported+");
  EXPECT_EQ(reply,
            "PacketSize=20020;QStartNoAckMode+;multiprocess+;vContSupported+;qXfer:features:read+;qXfer:threads:read+");
}

TEST_F(SessionTest, SupportedAnswersWhatTheClientOffers) {
  const std::string reply = gdb.ask("qSupported:error-message+;binary-upload+");
  EXPECT_TRUE(reply.ends_with(";error-message+;binary-upload+")) << reply;
  target.flat = true;
  EXPECT_NE(gdb.ask("qSupported").find(";qXfer:memory-map:read+"), std::string::npos);
}

TEST_F(SessionTest, UnknownPacketsGetAnEmptyReply) {
  for (const char* each : {"vMustReplyEmpty",

                           "qTStatus", "QNonStop:0", "QProgramSignals:", "R00", "", "b", "qL1", "_M",
                           "QThreadSuffixSupported", "qXfer:auxv:read::0,10", "qXfer", "vFile", "vFile:x:", "qSearch:",
                           "qXfer:memory-map:read::0,100", "qXfer:exec-file:read::0,100", "\x01\xff"})
    EXPECT_EQ(gdb.ask(each), "") << each;
}

TEST_F(SessionTest, TheFaultingCpuIsShownFirst) {
  EXPECT_EQ(gdb.ask("?"), "T00thread:3;");
  EXPECT_EQ(gdb.ask("qC"), "QC3");
  EXPECT_EQ(gdb.ask("qfThreadInfo"), "m3,1,2");
  EXPECT_EQ(gdb.ask("qsThreadInfo"), "l");
  gdb.ask("qSupported:multiprocess+");
  EXPECT_EQ(gdb.ask("?"), "T00thread:p1.3;");
  EXPECT_EQ(gdb.ask("qfThreadInfo"), "mp1.3,p1.1,p1.2");
  EXPECT_EQ(gdb.ask("qsThreadInfo"), "l");
  target.fault_signal = 11;
  EXPECT_EQ(gdb.ask("?"), "T0bthread:p1.3;");
}

TEST_F(SessionTest, ManyThreadsComeInSeveralReplies) {
  target.cpus = 600;
  std::string all;
  size_t replies = 0;
  for (std::string reply = gdb.ask("qfThreadInfo"); reply != "l"; reply = gdb.ask("qsThreadInfo")) {
    all += "," + reply.substr(1);
    ASSERT_LT(++replies, 10u);
  }
  EXPECT_EQ(std::ranges::count(all, ','), 600);
}

TEST_F(SessionTest, ThreadsXml) {
  gdb.ask("qSupported:multiprocess+");
  const std::string xml = gdb.ask("qXfer:threads:read::0,1000");
  EXPECT_NE(xml.find("<thread id=\"p1.3\" core=\"2\" name=\"vCPU 2 [kernel, CPL 0]\"></thread>"), std::string::npos);
  EXPECT_NE(xml.find(">process &lt;init&gt; &amp; &quot;co&quot;</thread>"), std::string::npos) << xml;
  EXPECT_LT(xml.find("p1.3"), xml.find("p1.1"));
  EXPECT_EQ(xml[0], 'l');
}

TEST_F(SessionTest, DocumentsComeInPieces) {
  std::string whole;
  std::string reply;
  for (size_t offset = 0;
       (reply = gdb.ask("qXfer:features:read:target.xml:" + gdbstub::hex_number(offset) + ",64"))[0] == 'm';
       offset += 0x64) {
    ASSERT_EQ(reply.size(), 0x65u);
    whole += reply.substr(1);
  }
  whole += reply.substr(1);
  EXPECT_EQ("l" + whole, gdb.ask("qXfer:features:read:target.xml:0,ffff"));
  EXPECT_TRUE(whole.ends_with("</target>\n"));
  EXPECT_EQ(gdb.ask("qXfer:features:read:target.xml:" + gdbstub::hex_number(whole.size()) + ",10"), "l");
  EXPECT_EQ(gdb.ask("qXfer:features:read:target.xml:fffff,10"), "E01");
  EXPECT_EQ(gdb.ask("qXfer:features:read:target.xml:0"), "E01");
  EXPECT_EQ(gdb.ask("qXfer:features:read:other.xml:0,10"), "E01");
}

TEST_F(SessionTest, ThreadSelection) {
  EXPECT_EQ(gdb.ask("Hg1"), "OK");
  EXPECT_EQ(gdb.ask("qC"), "QC1");
  EXPECT_EQ(gdb.ask("Hgp1.2"), "OK");
  EXPECT_EQ(gdb.ask("qC"), "QC2");
  EXPECT_EQ(gdb.ask("Hg0"), "OK");
  EXPECT_EQ(gdb.ask("Hgp0.0"), "OK");
  EXPECT_EQ(gdb.ask("Hgp1.-1"), "OK");
  EXPECT_EQ(gdb.ask("qC"), "QC2");
  EXPECT_EQ(gdb.ask("Hc1"), "OK");
  EXPECT_EQ(gdb.ask("qC"), "QC2") << "Hc is about running";
  for (const char* bad : {"Hg4", "Hgp2.1", "Hgx", "H", "Hg", "Hgp", "Hgp1.", "Hg11111111111111111"})
    EXPECT_EQ(gdb.ask(bad), "E01") << bad;
  EXPECT_EQ(gdb.ask("T1"), "OK");
  EXPECT_EQ(gdb.ask("T4"), "E01");
  EXPECT_EQ(gdb.ask("T"), "E01");
  EXPECT_EQ(unhex(gdb.ask("qThreadExtraInfo,1")), "vCPU 0 [kernel, CPL 0], process <init> & \"co\"");
  EXPECT_EQ(gdb.ask("qThreadExtraInfo,9"), "E01");
  EXPECT_EQ(gdb.ask("qThreadExtraInfo"), "E01");
}

TEST_F(SessionTest, RegistersHaveTheirWidthsAndUnavailableOnesAreX) {
  gdb.ask("Hg1");
  EXPECT_EQ(gdb.ask("g").size(), 2u * (16 * 8 + 8 + 4 + 6 * 4)) << "as every debugger knows it";
  EXPECT_EQ(gdb.ask("p1d"), "") << "another register to a debugger that has not read the description";
  gdb.ask("qXfer:features:read:target.xml:0,10");
  const std::string g = gdb.ask("g");
  EXPECT_EQ(g.size(), 2u * (16 * 8 + 8 + 4 + 6 * 4 + 2 * 8));
  EXPECT_EQ(g.substr(0, 16), "8877665544332211");        // rax
  EXPECT_EQ(g.substr(16, 16), std::string(16, 'x'));     // rbx
  EXPECT_EQ(g.substr(16 * 16, 16), "10000080ffffffff");  // rip
  EXPECT_EQ(g.substr(17 * 16, 8), "46020000");           // eflags
  EXPECT_EQ(gdb.ask("p0"), "8877665544332211");
  EXPECT_EQ(gdb.ask("p10"), "10000080ffffffff");
  EXPECT_EQ(gdb.ask("p1d"), "0080000000000000") << "cr3";
  EXPECT_EQ(gdb.ask("p1b"), std::string(16, 'x')) << "cr0";
  EXPECT_EQ(gdb.ask("p21"), "0100000000000000ff3f") << "st0";
  EXPECT_EQ(gdb.ask("p2c"), "05000000") << "fiseg";
  EXPECT_EQ(gdb.ask("p2d"), "07000000") << "fioff";
  EXPECT_EQ(gdb.ask("p31"), std::string(32, 'x')) << "half of xmm0 is not there";
  EXPECT_EQ(gdb.ask("p41"), std::string(8, 'x')) << "mxcsr";
  EXPECT_EQ(gdb.ask("p42"), std::string(16, 'x')) << "gdt_base";
  EXPECT_EQ(gdb.ask("pfff"), "E01");
  EXPECT_EQ(gdb.ask("p"), "E01");
  gdb.ask("Hg2");
  EXPECT_EQ(gdb.ask("p0"), "8977665544332211");
}

TEST_F(SessionTest, AvxIsDescribedWhereTheDumpHasIt) {
  EXPECT_EQ(gdb.ask("qXfer:features:read:target.xml:0,10000").find("i386.avx"), std::string::npos);
  target.registers["ymm0h.lo"] = 0x11;
  target.registers["ymm0h.hi"] = 0x22;
  const std::string xml = gdb.ask("qXfer:features:read:target.xml:0,10000");
  EXPECT_NE(xml.find("<feature name=\"org.gnu.gdb.i386.avx\">"), std::string::npos);
  EXPECT_NE(xml.find("<reg name=\"ymm15h\" bitsize=\"128\" type=\"uint128\" regnum=\"107\""), std::string::npos);
  gdb.ask("Hg1");
  EXPECT_EQ(gdb.ask("p5c"), "11000000000000002200000000000000");
  EXPECT_EQ(gdb.ask("p5d"), std::string(32, 'x'));
}

TEST_F(SessionTest, BigEndianRegisters) {
  target.machine = gdbstub::Arch::aarch64;
  target.big = true;
  target.registers = {{"x0", 0x1122}, {"pstate", 0x3c5}, {"v0.lo", 1}, {"v0.hi", 2}, {"tcr_el1", 7}};
  gdb.ask("Hg1");
  gdb.ask("qXfer:features:read:target.xml:0,10");
  EXPECT_EQ(gdb.ask("p0"), "0000000000001122");
  EXPECT_EQ(gdb.ask("p21"), "000003c5");
  EXPECT_EQ(gdb.ask("p22"), "00000000000000020000000000000001");
  EXPECT_EQ(gdb.ask("p45"), "0000000000000007");
  EXPECT_EQ(gdb.ask("g").size(), 2u * (33 * 8 + 4 + 32 * 16 + 8));
}

TEST_F(SessionTest, MemoryStopsInFrontOfAHole) {
  EXPECT_EQ(gdb.ask("m400000,4"), "00010203");
  EXPECT_EQ(gdb.ask("m401ffe,8"), "6e64") << "the two bytes before the hole";
  EXPECT_EQ(gdb.ask("m402000,8"), "E01");
  EXPECT_EQ(gdb.ask("m3fffff,2"), "E01");
  EXPECT_EQ(gdb.ask("mfffffffffffffffe,8"), "0000");
  EXPECT_EQ(gdb.ask("m400000,ffffffffffffffff").size(), 2u * 0x2000);
  EXPECT_EQ(gdb.ask("m400000,0"), "E01");
  for (const char* bad : {"m", "m400000", "m,4", "m400000,", "mx,4", "m400000,x", "m400000;4"})
    EXPECT_EQ(gdb.ask(bad), "E01") << bad;
}

/// Memory read piece after piece: the third and later replies are made before they are asked for.
TEST_F(SessionTest, WhatIsReadOnIsPreparedAndTheSame) {
  for (const char kind : {'m', 'x'}) {
    Conversation plain(target);
    Conversation ahead(target);
    const auto both = [&](uint64_t address) {
      const std::string request = kind + gdbstub::hex_number(address) + ",400";
      EXPECT_EQ(ahead.ask(request), plain.ask(request)) << request;
      ahead.session.work_ahead();
      const size_t before = target.reads;
      ahead.session.work_ahead();
      EXPECT_EQ(target.reads, before) << "once is enough";
    };
    for (uint64_t at = 0x400000; at < 0x403000; at += 0x400) both(at);  // into the hole at the end
    const size_t before = target.reads;
    both(0x400000);
    EXPECT_EQ(target.reads, before + 2) << "from elsewhere: one read for each";
    both(0x400400);
    EXPECT_EQ(target.reads, before + 5) << "and one ahead";
    EXPECT_NE(ahead.ask(std::string(1, kind) + "400800,400"), "E01");
    EXPECT_EQ(target.reads, before + 5) << "which is sent";
    EXPECT_EQ(ahead.raw("-").substr(0, 1), "$") << "and sent again";
  }
}

TEST_F(SessionTest, WhatWasPreparedIsDroppedWhenTheClientLooksElsewhere) {
  for (const char* between : {"Qqemu.PhyMemMode:1", "Hg1", "m400800,10", "m400c00,400", "qRcmd,70687973206f6e"}) {
    Conversation client(target);
    client.ask("m400000,400");
    client.ask("m400400,400");
    client.session.work_ahead();
    client.ask(between);
    const size_t before = target.reads;
    client.session.work_ahead();
    EXPECT_EQ(target.reads, before) << "nothing goes on after " << between;
    client.ask("m400800,400");
    EXPECT_EQ(target.reads, before + 1) << between;
  }
  Conversation moved(target);
  moved.ask("m400000,400");
  moved.ask("m400400,400");
  moved.session.work_ahead();
  moved.ask("Qqemu.PhyMemMode:1");
  EXPECT_EQ(moved.ask("m400800,400"), "E01") << "there is no such guest-physical address";
}

TEST_F(SessionTest, ErrorsAreTextForClientsThatTakeIt) {
  gdb.ask("qSupported:error-message+");
  EXPECT_EQ(gdb.ask("m402000,8"), "E.the dump's writer left it out");
  EXPECT_EQ(gdb.ask("m0,8"), "E.nothing is mapped there");
  EXPECT_EQ(gdb.ask("m400000,0"), "E.the length is 0");
}

TEST_F(SessionTest, BinaryReads) {
  EXPECT_EQ(gdb.ask("x0,0"), "OK") << "LLDB's question";
  EXPECT_EQ(gdb.ask("x400020,4"), " !\"#");
  gdb.ask("qSupported:binary-upload+");
  EXPECT_EQ(gdb.ask("x400020,4"), "b !\"#");
  EXPECT_EQ(gdb.ask("x402000,4"), "E01");
  const std::string wire = gdb.raw(packet("x401000,100"));
  EXPECT_EQ(wire.find('*'), std::string::npos) << "binary data is not run-length encoded";
  EXPECT_EQ(wire.size(), 1 + 1 + 1 + 0x100 + 3u);
}

TEST_F(SessionTest, Search) {
  EXPECT_EQ(gdb.ask("qSearch:memory:400000;3000;needle"), "1,401ff0");
  EXPECT_EQ(gdb.ask("qSearch:memory:0;ffffffffffffffff;needle"), "1,401ff0");
  EXPECT_EQ(gdb.ask("qSearch:memory:402000;ffffffffffffffff;needle"), "1,ffffffff80001ff0");
  EXPECT_EQ(gdb.ask("qSearch:memory:400000;1ff5;needle"), "0") << "only half of it is in the range";
  EXPECT_EQ(gdb.ask("qSearch:memory:400000;1ff6;needle"), "1,401ff0");
}

TEST_F(SessionTest, SearchPatternsAreEscaped) {
  EXPECT_EQ(gdb.ask("qSearch:memory:400000;3000;\x22}\x03}\x04%"), "1,400022");
  EXPECT_EQ(gdb.ask("qSearch:memory:400000;3000;absent"), "0");
  EXPECT_EQ(gdb.ask("qSearch:memory:400000;2;absent"), "0");
  for (const char* bad :
       {"qSearch:memory:400000;3000;", "qSearch:memory:400000;3000", "qSearch:memory:;3000;x", "qSearch:memory:"})
    EXPECT_EQ(gdb.ask(bad), "E01") << bad;
}

TEST_F(SessionTest, ASearchIsInterruptedByTheClient) {
  gdb.session.receive(packet("qSearch:memory:0;ffffffffffffffff;absent"));
  gdb.session.step();
  ASSERT_TRUE(gdb.session.busy());
  gdb.session.keep_alive();
  std::string outside;
  const auto packets = decode(gdb.raw("\x03"), outside);
  EXPECT_EQ(packets, std::vector<std::string>{"E01"});
  EXPECT_EQ(outside, "++") << "the acknowledgement and the sign of life";
  EXPECT_FALSE(gdb.session.busy());
}

TEST_F(SessionTest, Checksum) {
  // The CRC that GDB's compare-sections computes: polynomial 0x04c11db7, start 0xffffffff, not reflected.
  EXPECT_EQ(gdb.ask("qCRC:400031,9"), "C376e6e7") << "of \"123456789\"";
  EXPECT_EQ(gdb.ask("qCRC:400000,0"), "Cffffffff");
  EXPECT_EQ(gdb.ask("qCRC:400000,3000"), "E01");
  EXPECT_EQ(gdb.ask("qCRC:400000,ffffffffffffffff"), "E01");
  EXPECT_EQ(gdb.ask("qCRC:400000"), "E01");
}

TEST_F(SessionTest, ADumpDoesNotRun) {
  gdb.ask("qSupported:multiprocess+");
  EXPECT_EQ(gdb.ask("vCont?"), "vCont;c;C;s;S");
  for (const char* each : {"c", "s", "C05", "S05", "vCont;c", "vCont;s:p1.3;c:p1.-1", "c400000"}) {
    EXPECT_EQ(gdb.ask(each), "T00thread:p1.3;") << each;
    EXPECT_NE(gdb.console.find("cannot run"), std::string::npos) << each;
  }
  EXPECT_EQ(gdb.ask("vCont;s:p1.2;c"), "T00thread:p1.2;") << "the thread that was to be stepped";
  EXPECT_EQ(gdb.ask("vCont"), "E01");
}

TEST_F(SessionTest, NothingCanBeWritten) {
  for (const char* each : {"P0=00", "G00", "M0,1:00", "X0,0:", "X0,1:a"}) EXPECT_EQ(gdb.ask(each), "E01") << each;
}

TEST_F(SessionTest, BreakpointsAreTakenAndNeverHit) {
  for (const char kind : {'0', '1', '2', '3', '4'})
    for (const char set : {'Z', 'z'}) EXPECT_EQ(gdb.ask(std::string{set, kind} + ",400000,1"), "OK") << set << kind;
  for (const char* unknown : {"Z5,0,1", "z", "Z"}) EXPECT_EQ(gdb.ask(unknown), "") << unknown;
}

TEST_F(SessionTest, TheExtendedProtocolsClientMayAttachAgain) {
  EXPECT_EQ(gdb.ask("!"), "OK");
  EXPECT_EQ(gdb.ask("vKill;1"), "OK");
  EXPECT_EQ(gdb.ask("vAttach;1"), "T00thread:3;");
  EXPECT_EQ(gdb.ask("D;1"), "OK");
  EXPECT_FALSE(gdb.session.closed());
  gdb.ask("qSupported:error-message+");
  EXPECT_EQ(gdb.ask("vAttach;2"), "E.the machine of the dump is process 1, and there is no other: attach 1");
  EXPECT_EQ(gdb.ask("vRun;"), "E.this is a memory dump: no program can be run in it; attach 1 shows it");
}

TEST_F(SessionTest, WhatIsBeingLookedForIsWaitedFor) {
  target.searching = true;
  for (const char* each : {"?", "g", "Hg1", "qC", "qXfer:threads:read::0,fff", "qRcmd,68656c70"})
    EXPECT_FALSE(gdb.ask(each).empty()) << each;
  for (const char* each : {"m400000,2", "qOffsets", "qMemoryRegionInfo:400000", "qCRC:400000,2"}) {
    target.searching = true;
    gdb.session.receive("+" + packet(each));
    while (gdb.session.step() && !gdb.session.waiting()) {
    }
    EXPECT_TRUE(gdb.session.waiting()) << each;
    EXPECT_EQ(gdb.session.output(), "+") << each;
    gdb.session.output().clear();
    target.searching = false;
    EXPECT_FALSE(gdb.session.waiting());
    while (gdb.session.busy()) gdb.session.step();
    EXPECT_EQ(gdb.session.output().substr(0, 1), "$") << each;
    gdb.session.output().clear();
  }
  target.searching = true;
  gdb.session.receive("+" + packet("m400000,2"));
  while (gdb.session.step() && !gdb.session.waiting()) {
  }
  gdb.session.receive("\x03");
  while (gdb.session.step() && gdb.session.busy()) {
  }
  EXPECT_NE(gdb.session.output().find("$E01"), std::string::npos);
  gdb.session.output().clear();
  EXPECT_EQ(gdb.ask("Qqemu.PhyMemMode:1"), "OK");
  EXPECT_EQ(gdb.ask("m1000,2"), "0001") << "which needs no page tables";
}

TEST_F(SessionTest, ThreadsAreListedOnceForAll) {
  struct Counting : FakeTarget {
    std::string cpu_name(size_t cpu) const override { return ++names, FakeTarget::cpu_name(cpu); }
    mutable size_t names = 0;
  } many;
  many.cpus = 4096;
  Conversation client(many);
  for (int time = 0; time < 2; ++time) {
    size_t at = 0;
    for (std::string part = "m"; part[0] == 'm'; at += part.size() - 1)
      part = client.ask("qXfer:threads:read::" + gdbstub::hex_number(at) + ",1000");
    EXPECT_GT(at, 4096u * 40);
  }
  EXPECT_EQ(many.names, 4096u);
}

TEST_F(SessionTest, TheGuestsThreadsFollowTheVcpus) {
  target.tasks = {{.number = 2, .name = "[kthreadd]", .details = "PID 2, S"},
                  {.number = 812, .name = "bash", .details = "PID 812, S"}};
  EXPECT_EQ(gdb.ask("Hg98969a"), "E01") << "they are not shown";
  EXPECT_EQ(gdb.monitor("threads"), "threads are vCPUs only; `monitor threads tasks` shows the guest's threads too\n");
  EXPECT_EQ(gdb.monitor("threads tasks"), "threads are the vCPUs, and the 2 threads of the guest that run on none\n");
  EXPECT_EQ(gdb.ask("qfThreadInfo"), "m3,1,2,989682,9899ac");
  EXPECT_EQ(gdb.ask("qsThreadInfo"), "l");
  const std::string document = gdb.ask("qXfer:threads:read::0,ffff");
  EXPECT_NE(document.find("<thread id=\"9899ac\" name=\"bash\">PID 812, S</thread>"), std::string::npos) << document;
  EXPECT_EQ(gdb.ask("qThreadExtraInfo,989682"), hex("[kthreadd], PID 2, S"));
  EXPECT_EQ(gdb.ask("Hg9899ac"), "OK");
  EXPECT_EQ(gdb.ask("qC"), "QC9899ac");
  EXPECT_EQ(gdb.ask("p0"), "8c77665544332211") << "registers of its own";
  EXPECT_EQ(gdb.monitor("why 0"), "bash: 0x0: nothing is mapped there\n");
  for (const char* absent : {"Hg989680", "Hg989681", "T4", "T98969a"}) EXPECT_EQ(gdb.ask(absent), "E01") << absent;
  EXPECT_EQ(gdb.monitor("threads cpus"),
            "threads are vCPUs only; `monitor threads tasks` shows the guest's threads too\n");
  EXPECT_EQ(gdb.ask("qC"), "QC3") << "one that is still there";
  EXPECT_EQ(gdb.ask("T9899ac"), "E01");
  EXPECT_EQ(gdb.monitor("threads all"), "threads: say threads tasks, threads cpus or threads\n");
  target.tasks.clear();
  EXPECT_EQ(gdb.monitor("threads tasks"), "threads: there is no kernel that is known\n");
  EXPECT_EQ(gdb.ask("qfThreadInfo"), "m3,1,2");
}

TEST_F(SessionTest, AKernelThatWasNotMovedHasNoOffsets) {
  target.displacement = 0;
  EXPECT_EQ(gdb.ask("qOffsets"), "");
  target.displacement = 0x1000000;
  EXPECT_EQ(gdb.ask("qOffsets"), "TextSeg=ffffffff82000000");
  Conversation without(target, {.tell_offsets = false});
  EXPECT_EQ(without.ask("qOffsets"), "");
}

TEST_F(SessionTest, Leaving) {
  EXPECT_EQ(gdb.ask("D;1"), "OK");
  EXPECT_TRUE(gdb.session.closed());
  EXPECT_EQ(gdb.raw(packet("g")), "") << "nothing is answered after that";
  Conversation killer(target);
  EXPECT_EQ(killer.ask("vKill;1"), "OK");
  EXPECT_TRUE(killer.session.closed());
  Conversation silent(target);
  EXPECT_EQ(silent.raw(packet("k")), "+");
  EXPECT_TRUE(silent.session.closed());
  Conversation lldb(target);
  lldb.ask("qHostInfo");
  EXPECT_EQ(lldb.ask("k"), "X09") << "LLDB waits for that";
  EXPECT_TRUE(lldb.session.closed());
}

TEST_F(SessionTest, NoAcknowledgements) {
  EXPECT_EQ(gdb.ask("QStartNoAckMode"), "OK");
  gdb.acknowledgements = false;
  EXPECT_EQ(gdb.raw("+"), "");
  EXPECT_EQ(gdb.ask("qC"), "QC3");
  EXPECT_EQ(gdb.raw("$qC#00"), "$QC3#c7") << "a wrong checksum does not matter any more";
  EXPECT_EQ(gdb.raw("-"), "$QC3#c7") << "the last reply again";
}

TEST_F(SessionTest, DamagedPacketsAreAskedForAgain) {
  EXPECT_EQ(gdb.raw("$qC#00"), "-");
  EXPECT_EQ(gdb.raw("$qC#zz"), "-");
  EXPECT_EQ(gdb.ask("qC"), "QC3");
  EXPECT_EQ(gdb.raw("-"), "$QC3#c7");
  EXPECT_EQ(gdb.raw("--"), "$QC3#c7$QC3#c7");
}

TEST_F(SessionTest, AFirstRequestThatWaitedAndWasSentAgainIsAnsweredOnce) {
  EXPECT_EQ(gdb.raw("+" + packet("qC") + packet("qC") + packet("qC") + "+"), "+$QC3#c7");
  EXPECT_EQ(gdb.raw(packet("qC") + packet("qC")), "+$QC3#c7+$QC3#c7") << "later these are two requests";
}

TEST_F(SessionTest, ANakBeforeAnyReplyIsNothing) { EXPECT_EQ(gdb.raw("-"), ""); }

TEST_F(SessionTest, InterruptsAndNoiseWhileIdleAreNothing) {
  EXPECT_EQ(gdb.raw("\x03\x03+++ hello\n#00"), "");
  EXPECT_EQ(gdb.ask("qC"), "QC3");
}

TEST_F(SessionTest, BytesMayComeOneByOneOrManyPacketsAtOnce) {
  std::string wire;
  for (const char c : packet("m400000,2")) wire += gdb.raw(std::string_view(&c, 1));
  EXPECT_EQ(wire, "+" + packet("0001"));
  EXPECT_EQ(gdb.raw(packet("qC") + packet("Hg1") + packet("qC")), "+$QC3#c7+$OK#9a+$QC1#c5");
}

TEST_F(SessionTest, ATooLongPacketIsAnError) {
  EXPECT_EQ(gdb.raw(packet("m" + std::string(kMaxPayload, '0'))), "+" + packet("E01"));
  EXPECT_EQ(gdb.ask("qC"), "QC3");
}

TEST_F(SessionTest, OutputIsBoundedHoweverMuchIsAsked) {
  target.cpus = 1;
  gdb.ask("qC");
  std::string flood;
  for (int i = 0; i < 3000; ++i) flood += packet("m400000,2000");
  gdb.session.receive(flood);
  while (gdb.session.step()) {
  }
  EXPECT_LT(gdb.session.output().size(), gdbstub::Session::kOutputLimit + 0x10000);
  EXPECT_FALSE(gdb.session.wants_input());
  std::string outside;
  size_t replies = 0;
  for (;;) {
    std::string piece;
    piece.swap(gdb.session.output());
    if (piece.empty()) break;
    replies += decode(piece, outside).size();
    while (gdb.session.step()) {
    }
  }
  EXPECT_EQ(replies, 3000u) << "none is lost";
  EXPECT_TRUE(gdb.session.wants_input());
}

TEST_F(SessionTest, PhysicalMode) {
  EXPECT_EQ(gdb.ask("qqemu.PhyMemMode"), "0");
  EXPECT_EQ(gdb.ask("m1000,4"), "E01");
  EXPECT_EQ(gdb.ask("Qqemu.PhyMemMode:1"), "OK");
  EXPECT_EQ(gdb.ask("qqemu.PhyMemMode"), "1");
  EXPECT_EQ(gdb.ask("m1000,4"), "00010203");
  EXPECT_NE(gdb.ask("qXfer:memory-map:read::0,1000").find("<memory type=\"ram\" start=\"0x0\" length=\"0x4000\"/>"),
            std::string::npos)
      << "segments that touch are one region";
  EXPECT_EQ(gdb.ask("Qqemu.PhyMemMode:2"), "E01");
  EXPECT_EQ(gdb.ask("Qqemu.PhyMemMode"), "E01");
  EXPECT_EQ(gdb.ask("Qqemu.PhyMemMode:0"), "OK");
  EXPECT_EQ(gdb.ask("m1000,4"), "E01");
}

TEST_F(SessionTest, AClientsChoicesAreItsOwn) {
  Conversation other(target);
  gdb.ask("Hg1");
  gdb.ask("Qqemu.PhyMemMode:1");
  gdb.ask("qSupported:multiprocess+");
  EXPECT_EQ(other.ask("qC"), "QC3");
  EXPECT_EQ(other.ask("m1000,4"), "E01");
}

TEST_F(SessionTest, OffsetsOnlyWhenKnown) {
  EXPECT_EQ(gdb.ask("qOffsets"), "");
  target.displacement = 0x5400000;
  EXPECT_EQ(gdb.ask("qOffsets"), "TextSeg=ffffffff86400000");
  target.machine = gdbstub::Arch::aarch64;
  EXPECT_EQ(gdb.ask("qOffsets"), "") << "where it was linked is not known";
  EXPECT_NE(gdb.monitor("info").find("the kernel was moved by 0x5400000 at boot: name its ELF file with --symbols"),
            std::string::npos);
}

TEST_F(SessionTest, LldbGetsTheDistanceThatAllSectionsWereMovedBy) {
  target.displacement = 0x5400000;
  gdb.ask("qHostInfo");
  EXPECT_EQ(gdb.ask("qOffsets"), "Text=5400000;Data=5400000;Bss=5400000");
}

TEST_F(SessionTest, LldbGetsAnErrorForARegisterThatTheDumpLacks) {
  gdb.ask("qHostInfo");
  gdb.ask("qXfer:features:read:target.xml:0,10");
  gdb.ask("Hg1");
  EXPECT_EQ(gdb.ask("p0"), "8877665544332211");
  EXPECT_EQ(gdb.ask("p1"), "E01");
  EXPECT_EQ(gdb.ask("p31"), "E01") << "half of xmm0 is not there";
}

TEST_F(SessionTest, SmallAnswers) {
  EXPECT_EQ(gdb.ask("qAttached"), "1");
  EXPECT_EQ(gdb.ask("qAttached:1"), "1");
  EXPECT_EQ(gdb.ask("qSymbol::"), "OK");
  EXPECT_EQ(gdb.ask("qqemu.sstepbits"), "ENABLE=1,NOIRQ=2,NOTIMER=4");
  EXPECT_EQ(gdb.ask("qqemu.sstep"), "0x7");
  EXPECT_EQ(gdb.ask("Qqemu.sstep=0"), "") << "not the packet's form";
}

TEST_F(SessionTest, Lldb) {
  EXPECT_EQ(gdb.ask("qHostInfo"),
            "triple:" + hex("x86_64-unknown-none-elf") + ";endian:little;ptrsize:8;default_packet_timeout:20;");
  EXPECT_EQ(gdb.ask("qProcessInfo"), "pid:1;triple:" + hex("x86_64-unknown-none-elf") + ";endian:little;ptrsize:8;");
  EXPECT_EQ(gdb.ask("qGDBServerVersion"), "name:gcore;");
  EXPECT_EQ(gdb.ask("qMemoryRegionInfo:401234"), "start:400000;size:3000;permissions:rw;");
  EXPECT_EQ(gdb.ask("qMemoryRegionInfo:0"), "start:0;size:400000;");
  EXPECT_EQ(gdb.ask("qMemoryRegionInfo:500000"), "start:403000;size:ffffffff7fbfd000;");
  EXPECT_EQ(gdb.ask("qMemoryRegionInfo:ffffffffffffffff"), "start:fffffffffffff000;size:1000;permissions:rw;");
  EXPECT_EQ(gdb.ask("qMemoryRegionInfo:zz"), "E01");
  EXPECT_EQ(gdb.ask("qMemoryRegionInfo"), "E01");
  target.entry.reset();
  EXPECT_EQ(gdb.ask("qMemoryRegionInfo:500000"),
            "start:500000;size:1;error:" + hex("PTE at 0x9000 is 0x0: not present") + ";")
      << "nobody knows whether that is a gap";
  EXPECT_EQ(gdb.ask("qMemoryRegionInfo:401234"), "start:400000;size:3000;permissions:rw;");
  target.fault_signal = 11;
  EXPECT_EQ(gdb.ask("jThreadsInfo"), R"([{"tid":3,"name":"vCPU 2 [kernel, CPL 0]","reason":"signal","signal":11},)"
                                     R"({"tid":1,"name":"vCPU 0 [kernel, CPL 0]","reason":"none"},)"
                                     R"({"tid":2,"name":"vCPU 1 [kernel, CPL 0]","reason":"none"}])");
}

TEST_F(SessionTest, LldbIsToldWhichBitsOfAnAddressCount) {
  target.machine = gdbstub::Arch::aarch64;
  target.bits = {.lower = 39, .upper = 52};
  const std::string facts = gdb.ask("qHostInfo");
  EXPECT_NE(facts.find(";low_mem_addressing_bits:39;high_mem_addressing_bits:52;"), std::string::npos) << facts;
  EXPECT_EQ(gdb.ask("qMemoryRegionInfo:5a00000000401234"), "start:5a00000000400000;size:3000;permissions:rw;");
}

TEST_F(SessionTest, AuthenticationMasksAreDescribedWhereTheyAreKnown) {
  target.machine = gdbstub::Arch::aarch64;
  target.registers = {{"elr", 0x1000}};
  EXPECT_EQ(gdb.ask("qXfer:features:read:target.xml:0,10000").find("pauth"), std::string::npos);
  target.registers["pauth_mask"] = 0xffff000000000000;
  target.registers["pauth_mask_high"] = 0xfff0000000000000;
  const std::string xml = gdb.ask("qXfer:features:read:target.xml:0,10000");
  EXPECT_NE(xml.find("<feature name=\"org.gnu.gdb.aarch64.pauth_v2\">"), std::string::npos);
  gdb.ask("Hg1");
  for (const auto& [name, value] : {std::pair{"pauth_dmask", "000000000000ffff"},
                                    {"pauth_cmask", "000000000000ffff"},
                                    {"pauth_dmask_high", "000000000000f0ff"},
                                    {"pauth_cmask_high", "000000000000f0ff"}}) {
    const size_t at = xml.find(std::string("name=\"") + name + "\" bitsize=\"64\" type=\"int\" regnum=\"");
    ASSERT_NE(at, std::string::npos) << name;
    const auto number = static_cast<uint64_t>(std::stoi(xml.substr(xml.find("regnum=\"", at) + 8)));
    EXPECT_EQ(gdb.ask("p" + gdbstub::hex_number(number)), value) << name;
  }
}

TEST_F(SessionTest, SomeoneWhoIsNotServedIsToldWhy) {
  Conversation refused(target, {.refusal = "too many"});
  EXPECT_EQ(refused.ask("qSupported"), "E.too many");
  EXPECT_TRUE(refused.session.closed());
}

TEST_F(SessionTest, EachPacketIsLogged) {
  std::string log;
  Conversation logged(target, {.log = [&log](char direction, std::string_view payload) {
                        log += direction;
                        log += payload;
                        log += '\n';
                      }});
  logged.ask("qC");
  EXPECT_EQ(log, ">qC\n<QC3\n");
}

TEST_F(SessionTest, LldbIsToldAReasonNotToGoOn) {
  gdb.ask("qHostInfo");
  const std::string why = ";reason:exception;description:" + hex("a memory dump cannot run") + ";";
  EXPECT_EQ(gdb.ask("vCont;c"), "T00thread:3" + why);
  gdb.ask("Hg2");
  EXPECT_EQ(gdb.ask("vCont;c:p1.-1"), "T00thread:3" + why) << "it looked at another thread, no more";
  EXPECT_EQ(gdb.ask("vCont;s:2"), "T00thread:2" + why);
}

/// Every packet of the protocol, cut short at every length, gets exactly one reply and leaves the session in order.
TEST_F(SessionTest, CutPacketsGetOneReplyEach) {
  for (const std::string& whole :
       {std::string("qSupported:multiprocess+;error-message+"), std::string("Hgp1.2"), std::string("m400000,10"),
        std::string("x400000,10"), std::string("qSearch:memory:400000;100;x"), std::string("qCRC:400000,10"),
        std::string("qXfer:features:read:target.xml:0,10"), std::string("qXfer:threads:read::0,10"),
        std::string("vFile:open:2f,0,0"), std::string("vFile:pread:3,10,0"), std::string("vFile:fstat:3"),
        std::string("vCont;s:p1.1;c"), std::string("qThreadExtraInfo,p1.1"), std::string("qMemoryRegionInfo:0"),
        std::string("Qqemu.PhyMemMode:0"), "qRcmd," + hex("find 0x00 1 2"), "qRcmd," + hex("xp /8xb 0x1000")}) {
    for (size_t length = 0; length <= whole.size(); ++length) {
      Conversation each(target);
      each.ask(std::string_view(whole).substr(0, length));
      EXPECT_EQ(each.ask("QStartNoAckMode"), "OK");
    }
  }
}

}  // namespace
}  // namespace gcore::tests
