#include "tools/gcore-vmm/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

namespace gcore::tools::vmm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(SplitWords, KeepsQuotedBlanksAndDropsComments) {
  EXPECT_THAT(*split_words("  ram\t1G  # half of it"), ElementsAre("ram", "1G"));
  EXPECT_THAT(*split_words("dump \"|gzip -c > 'a b'\""), ElementsAre("dump", "|gzip -c > 'a b'"));
  EXPECT_THAT(*split_words(R"(dump '|echo "x"' end)"), ElementsAre("dump", "|echo \"x\"", "end"));
  EXPECT_THAT(*split_words(R"(dump "a\"b\\c")"), ElementsAre("dump", "a\"b\\c"));
  EXPECT_THAT(*split_words("dump a#b"), ElementsAre("dump", "a#b"));
  EXPECT_THAT(*split_words("system \"\""), ElementsAre("system", ""));
  EXPECT_THAT(*split_words("cpu\r"), ElementsAre("cpu"));
  EXPECT_TRUE(split_words("# nothing").value().empty());
  EXPECT_TRUE(split_words("").value().empty());
  EXPECT_THAT(split_words("dump \"|cat").error(), HasSubstr("not closed"));
  EXPECT_THAT(split_words("dump \"a\\").error(), HasSubstr("not closed"));
}

TEST(ParseConfig, UnderstandsEveryOption) {
  const auto config = parse_config(
      "# a VM\nsystem qnx7\ncpu\ncpu # the second\nram 0x1000000,64M\nram 2G,16M\nload /guests/a.elf\n"
      "arch x86_64\ncmdline \"quiet hang-after=3\"\nvdev wdt-ib700 action dump,terminate\n\ndump \"|gzip -c > 'x y'\"",
      "vm.conf");
  ASSERT_TRUE(config) << config.error();
  EXPECT_EQ(config->system, "qnx7");
  EXPECT_EQ(config->cpus, 2u);
  ASSERT_EQ(config->ram.size(), 2u);
  EXPECT_EQ(config->ram[0].address, 0x1000000u);
  EXPECT_EQ(config->ram[0].size, 64u << 20);
  EXPECT_EQ(config->ram[1].address, uint64_t{2} << 30);
  EXPECT_EQ(config->load, "/guests/a.elf");
  EXPECT_EQ(config->cmdline, "quiet hang-after=3");
  ASSERT_TRUE(config->watchdog);
  EXPECT_TRUE(config->watchdog->dump);
  EXPECT_TRUE(config->watchdog->terminate);
  EXPECT_EQ(config->dump, "|gzip -c > 'x y'");
}

TEST(ParseConfig, HasDefaultsForWhatIsNotSaid) {
  const auto config = parse_config("", "vm.conf");
  ASSERT_TRUE(config) << config.error();
  EXPECT_EQ(config->cpus, 1u);
  ASSERT_EQ(config->ram.size(), 1u);
  EXPECT_FALSE(config->ram[0].address);
  EXPECT_EQ(config->system, "");
  EXPECT_FALSE(config->dump);
  EXPECT_FALSE(config->watchdog);
}

TEST(ParseConfig, WatchdogTerminatesUnlessToldOtherwise) {
  const auto plain = parse_config("vdev wdt-ib700", "c");
  EXPECT_TRUE(plain->watchdog->terminate);
  EXPECT_FALSE(plain->watchdog->dump);
  const auto dump = parse_config("vdev wdt-ib700 action dump", "c");
  EXPECT_FALSE(dump->watchdog->terminate);
  EXPECT_TRUE(dump->watchdog->dump);
}

TEST(ParseConfig, AKernelRunsOnKvm) {
  const auto config = parse_config(
      "kernel /boot/vmlinuz\ninitrd /i\ncmdline \"console=ttyS0\"\nvdev pvpanic action dump\nvdev wdt-ib700\n", "c");
  ASSERT_TRUE(config) << config.error();
  EXPECT_EQ(config->engine, EngineKind::kvm);
  EXPECT_EQ(config->kernel, "/boot/vmlinuz");
  EXPECT_EQ(config->initrd, "/i");
  ASSERT_TRUE(config->pvpanic);
  EXPECT_TRUE(config->pvpanic->dump);
  EXPECT_FALSE(config->pvpanic->terminate);
  EXPECT_TRUE(config->watchdog);
  EXPECT_EQ(parse_config("load /a.elf", "c")->engine, EngineKind::unicorn);
  EXPECT_EQ(parse_config("load /a.elf\nengine kvm", "c")->engine, EngineKind::kvm);
}

TEST(ParseConfig, LimitsDumps) {
  using namespace std::chrono_literals;
  EXPECT_EQ(parse_config("dump /d", "c")->dump_deadline, 60s);
  EXPECT_EQ(parse_config("dump /d", "c")->dump_rate, 0u);
  const auto both = parse_config("dump \"|cat\" rate 2M deadline 0.25", "c");
  ASSERT_TRUE(both) << both.error();
  EXPECT_EQ(both->dump, "|cat");
  EXPECT_EQ(both->dump_deadline, 250ms);
  EXPECT_EQ(both->dump_rate, 2u << 20);
  EXPECT_EQ(parse_config("dump /d deadline 0", "c")->dump_deadline, 0s);
  EXPECT_EQ(parse_config("dump /d deadline 0.0001", "c")->dump_deadline, 1ms);  // a limit, if a short one
}

struct Mistake {
  const char *text, *message;
};

class ConfigMistake : public testing::TestWithParam<Mistake> {};

TEST_P(ConfigMistake, IsToldInOneLineWithItsPlace) {
  const auto config = parse_config(GetParam().text, "vm.conf");
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error(), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Each, ConfigMistake,
    testing::Values(
        Mistake{"cpu\n\nrma 1G\n", "vm.conf:3: unknown option 'rma', did you mean 'ram'?"},
        Mistake{"zzzzzz", "vm.conf:1: unknown option 'zzzzzz'"}, Mistake{"\xff\n", "vm.conf:1: unknown option '\\xff'"},
        Mistake{"engine tcg", "vm.conf:1: unknown engine 'tcg': unicorn or kvm"},
        Mistake{"initrd /i", "vm.conf: 'initrd' needs a 'kernel'"},
        Mistake{"kernel /k\nload /l", "vm.conf: 'kernel' and 'load': one of them"},
        Mistake{"kernel /k\nengine unicorn",
                "vm.conf: 'kernel' needs the engine kvm: the other one delivers no interrupts"},
        Mistake{"kernel \"\"", "vm.conf:1: 'kernel' needs the name of a file"},
        Mistake{"vdev pvpanic\nvdev pvpanic", "vm.conf:2: a second pvpanic"},
        Mistake{"arch aarch64\nengine kvm", "vm.conf: KVM runs only guests of its own machine, which is x86_64"},
        Mistake{"dump \"|cat", "vm.conf:1: a quotation mark is not closed"},
        Mistake{"dump |gzip -c",
                "vm.conf:1: after the target of 'dump', 'live', 'aside SIZE', 'deadline SECONDS' and 'rate SIZE' may "
                "follow, not '-c' "
                "(a command with blanks goes in quotation marks)"},
        Mistake{"dump /d deadline", "vm.conf:1: 'deadline' of 'dump' needs an argument"},
        Mistake{"dump /d deadline soon",
                "vm.conf:1: the deadline of 'dump': 'soon' is no time (seconds, such as 60 or 0.5)"},
        Mistake{"dump /d deadline -1",
                "vm.conf:1: the deadline of 'dump': '-1' is no time (seconds, such as 60 or 0.5)"},
        Mistake{"dump /d aside all",
                "vm.conf:1: the aside of 'dump': 'all' is not a size (a number, then K, M, G, T or nothing)"},
        Mistake{"dump /d rate fast",
                "vm.conf:1: the rate of 'dump': 'fast' is not a size (a number, then K, M, G, T or nothing)"},
        Mistake{"dump a b c d e f g h i",
                "vm.conf:1: 'dump' with 9 arguments; expected: dump DIRECTORY|\"|SHELL COMMAND\" [live] [aside SIZE] "
                "[deadline SECONDS] [rate SIZE] (an argument with blanks goes in quotation marks)"},
        Mistake{"dump a\ndump b", "vm.conf:2: 'dump' is given twice"},
        Mistake{"dump \"|  \"", "vm.conf:1: 'dump' needs a directory or \"|COMMAND\""},
        Mistake{"ram", "vm.conf:1: 'ram' with 0 arguments; expected: ram [ADDRESS,]SIZE"},
        Mistake{"ram 5000", "vm.conf:1: the size of 'ram' is not a multiple of 4096, or 0"},
        Mistake{"ram 0", "vm.conf:1: the size of 'ram' is not a multiple of 4096, or 0"},
        Mistake{"ram 0x800,4K", "vm.conf:1: the address of 'ram' is not a multiple of 4096"},
        Mistake{"ram 2048T", "vm.conf:1: 'ram' is too large or too high"},
        Mistake{"ram 512G\nram 600G,513G", "vm.conf: more RAM than this program supports (1T)"},
        Mistake{"ram 16M\nram 8M,16M", "vm.conf: two 'ram' ranges overlap"},
        Mistake{"system a/b", "vm.conf:1: 'a/b' cannot start a file name, which 'system' is for"},
        Mistake{"system \"\"", "vm.conf:1: '' cannot start a file name, which 'system' is for"},
        Mistake{"arch arm", "vm.conf:1: unknown architecture 'arm': x86_64 or aarch64"},
        Mistake{"vdev wdt", "vm.conf:1: unknown device 'wdt': wdt-ib700 (x86_64), wdt-sp805 (aarch64) or pvpanic"},
        Mistake{"vdev wdt-ib700 action reboot",
                "vm.conf:1: unknown action 'reboot': dump, terminate or dump,terminate"},
        Mistake{"vdev wdt-ib700 dump", "vm.conf:1: after the device, 'action' and one argument are expected"},
        Mistake{"vdev wdt-ib700\nvdev wdt-ib700", "vm.conf:2: a second watchdog"},
        Mistake{"vdev wdt-sp805", "vm.conf: wdt-sp805 is a device of aarch64; x86_64 has wdt-ib700"},
        Mistake{"arch aarch64\nvdev wdt-ib700", "vm.conf: wdt-ib700 is a device of x86_64; aarch64 has wdt-sp805"}));

TEST(ParseConfig, LimitsTheNumberOfCpus) {
  std::string text;
  for (size_t i = 0; i < kMaxCpus; ++i) text += "cpu\n";
  EXPECT_TRUE(parse_config(text, "c"));
  EXPECT_THAT(parse_config(text + "cpu\n", "c").error(), HasSubstr("c:65: more than 64 vCPUs"));
}

TEST(ParseConfig, RefusesBinaryFiles) {
  EXPECT_THAT(parse_config(std::string_view("cpu\n\0", 5), "c").error(), HasSubstr("c:2: a NUL byte"));
}

TEST(ReadConfig, TellsWhyAFileCannotBeRead) {
  const tests::TempDir dir;
  EXPECT_THAT(read_config(dir.path("none")).error(), HasSubstr("none: No such file"));
  EXPECT_FALSE(read_config(dir.path()));
  EXPECT_THAT(read_config(dir.write("big", std::string(2 << 20, '#'))).error(), HasSubstr("longer than 1 MiB"));
  EXPECT_EQ(read_config(dir.write("good", "cpu\ncpu\n"))->cpus, 2u);
}

}  // namespace
}  // namespace gcore::tools::vmm
