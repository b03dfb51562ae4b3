// The HTML page in a real browser: it draws, can be used with mouse and keyboard, and never runs what a guest says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <llvm/Support/JSON.h>

#include <filesystem>

#include "tests/inspect/sample.h"
#include "tests/inspect/visit.h"
#include "tests/support/paths.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string page_of(const Inspect& inspect, const DumpBuilder& dump) {
  const Completed done = inspect.with(dump, {"--html", "page.html"});
  EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
  return inspect.folder().path("page.html");
}

TEST(Page, ShowsEachPageOfMemoryAndZoomsToIt) {
  const Inspect inspect;
  const Visit visit(page_of(inspect, sample_dump()),
                    {"size=1200x900", "eval=[16 + 64 + 1024, map.cells.length].join()", "eval=map.grid.per",
                     // The page at 0xa000, full of one byte: its entropy is 0.
                     "eval=map.go(0xa000n)", "eval=document.querySelector('#map-detail').textContent",
                     "eval=map.grid.per", "eval=map.kindAt(0x1000n)", "eval=map.kindAt(0x8000n)",
                     "eval=map.kindAt(0x200000n)", "eval=map.kindAt(0x20000n)",
                     // Where each vCPU was stands at the top.
                     "eval=document.querySelector('.glance tr.fault').textContent"});
  EXPECT_EQ(visit.text(0), "1104,1104");
  EXPECT_EQ(visit.number(1), 1);
  EXPECT_TRUE(visit.truth(2));
  EXPECT_THAT(visit.text(3),
              testing::AllOf(HasSubstr("0x000000000000a000"), HasSubstr("data"),
                             HasSubstr("mapped at 0x0000000000401000 (rw-u"), HasSubstr("in the file at")));
  EXPECT_EQ(visit.number(4), 1);
  EXPECT_EQ(visit.text(5), "page table");
  EXPECT_EQ(visit.text(6), "code");
  EXPECT_EQ(visit.text(7), "zero");
  EXPECT_EQ(visit.text(8), "no memory");
  EXPECT_THAT(visit.text(9), testing::AllOf(HasSubstr("1, at fault"), HasSubstr("user, CPL 3"),
                                            HasSubstr("0x0000000000400010"), HasSubstr("shell")));
}

TEST(Page, AnswersMouseAndKeyboard) {
  const Inspect inspect;
  const Visit visit(
      page_of(inspect, sample_dump()),
      {"size=1200x900", "eval=map.state.span",
       // Click chooses a page and the picture, which then takes the wheel and keys.
       "click=#map@140,4", "eval=map.state.cursor", "eval=document.activeElement.id", "wheel=#map@140,4,-100",
       "eval=map.state.span", "key=ArrowRight", "eval=map.state.cursor", "key=Escape", "eval=map.state.span", "key=+",
       "eval=map.state.span", "double=#map@150,4", "eval=map.state.span < 300",
       // A tooltip follows the pointer.
       "click=#map-all", "move=#map@140,4", "eval=document.querySelector('#tip').textContent",
       // A kind alone, then all again.
       "click=[data-kind='1']", "eval=map.lit.filter(Boolean).length", "click=[data-kind='1']",
       "eval=map.lit.every(Boolean)",
       // Search: an address, then a word.
       "key=/", "eval=document.activeElement.id", "type=0x8000", "eval=document.querySelector('#results').textContent",
       "key=Enter", "eval=document.querySelector('#map-detail').textContent", "key=/", "type=shell", "key=Enter",
       "eval=document.querySelector('.hit').textContent",
       // The strip of the address space.
       "click=#space-0 canvas@150,40", "key=Escape", "key=ArrowRight",
       "eval=document.querySelector('#space-0 tr.hit') !== null",
       // Theme, and registers that differ.
       "light", "eval=isDark()", "click=#theme", "eval=isDark()", "click=#toggle-differing",
       "eval=getComputedStyle(document.querySelector('tr.same')).display"});
  EXPECT_EQ(visit.number(0), 1104);
  EXPECT_EQ(visit.number(1), 0);
  EXPECT_EQ(visit.text(2), "map");
  EXPECT_EQ(visit.number(3), 552);
  EXPECT_EQ(visit.number(4), 1);
  EXPECT_EQ(visit.number(5), 1104);
  EXPECT_EQ(visit.number(6), 552);
  EXPECT_TRUE(visit.truth(7));
  EXPECT_THAT(visit.text(8), StartsWith("0x0000000000000000\nzero"));
  EXPECT_EQ(visit.number(9), 1);
  EXPECT_TRUE(visit.truth(10));
  EXPECT_EQ(visit.text(11), "search");
  EXPECT_THAT(visit.text(12), HasSubstr("guest-physical 0x0000000000008000: code"));
  EXPECT_THAT(visit.text(13), HasSubstr("0x0000000000008000"));
  EXPECT_THAT(visit.text(14), HasSubstr("shell"));
  EXPECT_TRUE(visit.truth(15));
  EXPECT_FALSE(visit.truth(16));
  EXPECT_TRUE(visit.truth(17));
  EXPECT_EQ(visit.text(18), "none");
}

TEST(Page, NeverTakesTheGuestsWordsForMarkup) {
  const std::string evil = "</script><img src=x onerror=\"window.pwned=1\"><script>window.pwned=2</script>'&quot;";
  QnxNote note = sample_note();
  note.cpus[1].process = evil.substr(0, 90);
  std::string info = sample_info(), escaped;
  for (const char c : evil) escaped += c == '"' ? std::string("\\\"") : std::string(1, c);
  info.replace(info.find("qnx7"), 4, escaped);
  info.replace(info.find("SIGUSR2"), 7, escaped);
  info.replace(info.find("build3"), 6, escaped);
  DumpBuilder dump;
  dump.note(note.build() + elf_note("VMCOREINFO", 0, "OSRELEASE=" + evil + "\n")).memory(0, sample_memory());
  dump.section(".gcore.info", info);
  const Inspect inspect;
  const Visit visit(page_of(inspect, dump),
                    {"eval=document.images.length", "eval=document.scripts.length", "eval=typeof window.pwned",
                     "eval=document.querySelector('h1').textContent", "key=/", "type=onerror",
                     "eval=document.images.length + document.querySelectorAll('#results script').length"});
  EXPECT_EQ(visit.number(0), 0);
  EXPECT_EQ(visit.number(1), 2);
  EXPECT_EQ(visit.text(2), "undefined");
  EXPECT_THAT(visit.text(3), HasSubstr("<img src=x onerror="));
  EXPECT_EQ(visit.number(4), 0);
}

// As big as real ones are: 4 GiB with a page of another kind every few, so that nothing merges.
TEST(Page, OfA4GiBGuestIsSmallAndDrawsAtOnce) {
  const Inspect inspect;
  DumpBuilder dump;
  dump.note(sample_note().build()).memory(0, sample_memory());
  std::string mixed;
  for (unsigned i = 0; i < 8192; ++i) {
    std::string page(4096, static_cast<char>(i * 7 + 1));
    for (unsigned j = 0; j < (i * 37 % 4096); ++j) page[j] = static_cast<char>((i * 31 + j) * 2654435761U >> 13);
    mixed += page;
  }
  for (uint64_t i = 0; i < 8; ++i) {
    dump.hole(0x10000000 + i * 0x20000000, 0x1e000000);
    dump.memory(0x10000000 + i * 0x20000000 + 0x1e000000, mixed);
  }
  const std::string page = page_of(inspect, dump);
  EXPECT_LT(std::filesystem::file_size(page), 5U << 20);
  const Visit visit(page, {"eval=map.cells.length >= 1048576", "click=#map@600,200", "key=+", "key=+",
                           "eval=document.querySelector('#map-where').textContent"});
  EXPECT_TRUE(visit.truth(0));
  EXPECT_THAT(visit.text(1), HasSubstr("one square is"));
  // A measure, not a condition: the target is 1000.
  std::printf("page of 4 GiB: drawn %lld ms after the navigation began, %ju bytes\n",
              static_cast<long long>(visit.milliseconds()), std::filesystem::file_size(page));
}

TEST(Page, IsOneWithoutVcpusOrWithoutMemoryToo) {
  const Inspect inspect;
  DumpBuilder no_cpu, no_memory;
  no_cpu.note(elf_note("VMCOREINFO", 0, "OSRELEASE=6\n")).memory(0x1000, std::string(5000, 'x'));
  no_memory.note(sample_note().build());
  Visit(page_of(inspect, no_cpu), {"key=/", "type=0x1000", "key=Enter", "dark", "click=#theme"});
  Visit(page_of(inspect, no_memory), {"key=/", "type=rip", "key=Enter", "key=m", "key=?"});
}

// A list of ranges is made when it is seen.
TEST(Page, ListsRangesWhenAsked) {
  const Inspect inspect;
  const std::string rows = "eval=document.querySelectorAll('#space-0 .list tbody tr').length";
  const Visit visit(page_of(inspect, sample_dump()), {rows, "click=#space-0 summary", rows});
  EXPECT_EQ(visit.number(0), 0);
  EXPECT_EQ(visit.number(1), 5);
}

/// The sample with this many vCPUs.
DumpBuilder many_vcpus(uint32_t count) {
  QnxNote note = sample_note();
  for (uint32_t i = 2; i < count; ++i) {
    note.cpus.push_back(note.cpus[0]);
    note.cpus.back().number = i;
  }
  DumpBuilder dump;
  dump.note(note.build()).memory(0, sample_memory());
  return dump;
}

TEST(Page, PrintsAsADocument) {
  const Inspect inspect;
  const std::string pdf = inspect.folder().path("page.pdf");
  const auto shown = [](const char* what) {
    return "eval=getComputedStyle(document.querySelector('" + std::string(what) + "')).display !== 'none'";
  };
  const Visit visit(
      page_of(inspect, many_vcpus(20)),
      {"size=1200x900", "dark", "print=" + pdf, "eval=isDark()", "paper",
       // What is closed or is of use on a screen alone stays away; the notable ranges are there.
       shown("#space-0 details"), shown("#space-0 .detail"), shown("nav"), shown(".notable"), "eval=isDark()",
       // 20 columns in blocks of 6, in place of the wide table.
       "eval=[...document.querySelectorAll('.blocks table')].map(t => t.rows[0].cells.length - 1).join()",
       "eval=document.querySelector('table.regs[hidden]') !== null",
       // A picture is drawn for the width of the paper.
       "eval=document.querySelector('#map').width", "screen",
       "eval=document.querySelector('.blocks') === null && paperWidth === 0"});
  EXPECT_THAT(read_file(pdf), StartsWith("%PDF"));
  EXPECT_TRUE(visit.truth(0));
  for (const size_t hidden : {1, 2, 3}) EXPECT_FALSE(visit.truth(hidden)) << hidden;
  EXPECT_TRUE(visit.truth(4));
  EXPECT_FALSE(visit.truth(5));
  EXPECT_EQ(visit.text(6), "6,6,6,2");
  EXPECT_TRUE(visit.truth(7));
  EXPECT_EQ(visit.number(8), 2100);
  EXPECT_TRUE(visit.truth(9));
}

TEST(Page, FitsAPhoneAndSaysWhatItLeavesOut) {
  const Inspect inspect;
  const Visit visit(page_of(inspect, many_vcpus(20)),
                    {"size=380x800", "eval=document.querySelector('nav').clientHeight < 40",
                     "eval=document.documentElement.scrollWidth <= innerWidth",
                     "eval=document.querySelector('.glance').closest('.scroll').nextElementSibling.textContent"});
  EXPECT_TRUE(visit.truth(0));
  EXPECT_TRUE(visit.truth(1));
  EXPECT_EQ(visit.text(2), "4 more; --registers shows them all.");
}

// Memory in scattered pages, and the same page again and again.
TEST(Page, FollowsAddressesBothWays) {
  Bytes memory;
  memory.text(sample_memory());
  memory.put(0x4000 + 16, 0xc000 | 0x8000000000000007, 8);                    // 0x402000, behind 0x401000 -> 0xa000
  for (uint64_t i = 1; i <= 5; ++i) memory.put(0x4000 + 128 * i, 0xd005, 8);  // 0x410000, 0x420000, ...
  DumpBuilder dump;
  dump.note(sample_note().build()).memory(0, memory.str());
  const Inspect inspect;
  const std::string results = "eval=document.querySelector('#results').textContent";
  const Visit visit(page_of(inspect, dump),
                    {"size=1200x900", "eval=map.go(0xc000n)", "eval=document.querySelector('#map-detail').textContent",
                     "eval=map.go(0xd000n)", "eval=document.querySelector('#map-detail').textContent",
                     // A kernel address: its range, whose strip stays in sight, and its page.
                     "key=/", "type=0x402010", results, "key=Enter",
                     "eval=(r => r.top >= 0 && r.bottom <= innerHeight)(document.querySelector('#space-0 "
                     "canvas').getBoundingClientRect())",
                     "eval=document.querySelector('#space-0 .list tr.hit').textContent", "key=/", "type=0x430008",
                     results, "key=ArrowDown", "key=ArrowDown", "key=Enter",
                     "eval=document.querySelector('#map-detail').textContent", "eval=spaces[0].find(0x431000n)"});
  EXPECT_THAT(visit.text(1), HasSubstr("mapped at 0x0000000000402000 (rw-u, address space 0)"));
  EXPECT_THAT(visit.text(3), HasSubstr("mapped at 0x0000000000410000 (r-xu, address space 0, 5 times)"));
  EXPECT_THAT(visit.text(4), testing::AllOf(HasSubstr("virtual, address space 0: 0x0000000000401000"),
                                            HasSubstr("guest-physical 0x000000000000c010, where address space 0 has")));
  EXPECT_TRUE(visit.truth(5));
  EXPECT_THAT(visit.text(6), HasSubstr("scattered"));
  EXPECT_THAT(visit.text(7), HasSubstr("5 times 4.0 KiB, every 64 KiB"));
  EXPECT_THAT(visit.text(8), HasSubstr("0x000000000000d000"));
  EXPECT_EQ(visit.number(9), -1);
}

TEST(Page, SaysWhyThereIsNothingToShow) {
  // The file ends before the page tables; the page before them is there in part.
  DumpBuilder dump;
  dump.note(sample_note().build()).memory(0x200000, std::string(0x2000, 'x')).memory(0, sample_memory());
  dump.cut(dump.build().size() - 0x10000 - 0x800);
  const Inspect inspect;
  const Visit visit(
      page_of(inspect, dump),
      {"size=1200x900", "eval=document.querySelector('#space-0').textContent",
       "eval=document.querySelector('#space-0 canvas').clientHeight", "eval=map.kindAt(0x201000n)",
       "eval=document.querySelector('.legend').textContent",
       // Pages that are not there can be told from pages of zeros.
       "eval=document.querySelector('.legend [data-kind=\"0\"]') !== null",
       "eval=Math.max(...colour('--k-absent').map((c, i) => Math.abs(c - colour('--k-zero')[i]))) > 40",
       // A small picture for little memory; a tooltip does not outlive what it is about.
       "eval=document.querySelector('#map').clientHeight < 200", "move=#map@140,4",
       "eval=document.querySelector('#tip').hidden", "key=Escape", "eval=document.querySelector('#tip').hidden"});
  EXPECT_THAT(visit.text(0), HasSubstr("No range of it can be shown: "));
  EXPECT_EQ(visit.number(1), 0);
  EXPECT_EQ(visit.text(2), "partial");
  EXPECT_THAT(visit.text(3), HasSubstr("partial 1 page"));
  EXPECT_TRUE(visit.truth(4));
  EXPECT_TRUE(visit.truth(5));
  EXPECT_TRUE(visit.truth(6));
  EXPECT_FALSE(visit.truth(7));
  EXPECT_TRUE(visit.truth(8));
}

TEST(Page, ShowsADiff) {
  const Inspect inspect;
  std::string memory = sample_memory();
  memory[0x8000] = 'T';
  DumpBuilder other;
  other.note(sample_note().build()).memory(0, memory);
  other.write(inspect.folder().path("other.gcore"));
  const Completed done = inspect({"sample.gcore", "--diff", "other.gcore", "--html", "diff.html"});
  ASSERT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
  const Visit visit(inspect.folder().path("diff.html"),
                    {"eval=map.kindAt(0x8000n)", "eval=map.kindAt(0x9000n)", "eval=map.kindAt(0x200000n)",
                     "eval=document.querySelector('#ranges ~ .scroll tbody').textContent", "key=/", "type=0x8000",
                     "key=Enter", "eval=document.querySelector('#map-detail').textContent",
                     "eval=document.querySelector('#ranges ~ .scroll thead').textContent"});
  EXPECT_EQ(visit.text(0), "differs");
  EXPECT_EQ(visit.text(1), "equal");
  EXPECT_EQ(visit.text(2), "only in A");
  EXPECT_THAT(visit.text(3), HasSubstr("0x0000000000008000"));
  // How much of it, the first of it, and the command that shows all of it.
  EXPECT_THAT(visit.text(4),
              testing::AllOf(HasSubstr("1 byte differs, the first at 0x0000000000008000"), HasSubstr("A  74 68 65 20"),
                             HasSubstr("B  54 68 65 20"),
                             HasSubstr("diff <(gcore-inspect 'sample.gcore' --read 0x0000000000008000:4K --phys) <(")));
  EXPECT_THAT(visit.text(5), testing::EndsWith("what\n"));
}

}  // namespace
}  // namespace gcore::tests
