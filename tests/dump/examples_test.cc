// docs/examples: the systemd unit and the libvirt domain.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>

#include "tests/dump/gcore_dump.h"
#include "tests/support/regex.h"

namespace gcore::tests {
namespace {

const std::string kUnitName = "gcore-dump@.service";

/// The unit, with this build's gcore-dump: systemd looks for the installed one.
std::string unit_text() {
  const std::string text = read_file(source_dir() + "/docs/examples/" + kUnitName);
  return regex_replace(text, Regex("\\nExecStart=gcore-dump "), "\nExecStart=" + program("gcore-dump") + " ");
}

TEST(SystemdUnit, SystemdHasNothingToSayAgainstIt) {
  const TempDir folder;
  folder.write(kUnitName, unit_text());
  const Completed done = run({"systemd-analyze", "verify", "--man=no", folder.path("gcore-dump@vm1.service")});
  EXPECT_EQ(done.status, kDone);
  EXPECT_EQ(done.out + done.err, "");
}

TEST(SystemdUnit, ConfinesGcoreDump) {
  const TempDir folder;
  folder.write("gcore-dump@vm1.service", unit_text());
  const Completed done =
      run({"systemd-analyze", "security", "--offline=true", "--no-pager", folder.path("gcore-dump@vm1.service")});
  EXPECT_EQ(done.status, kDone) << done.err;
  EXPECT_THAT(done.out, testing::ContainsRegex("Overall exposure level for gcore-dump@vm1.service: [0-9.]+ OK"));
}

TEST(SystemdUnit, TakesItsTargetFromItsConfiguration) {
  const std::string text = unit_text();
  EXPECT_THAT(text, testing::HasSubstr("\nEnvironment=TARGET=%S/gcore/%i\n"));
  EXPECT_LT(text.find("\nEnvironment=TARGET="), text.find("\nEnvironmentFile=-/etc/gcore/%i.conf\n"));
  EXPECT_THAT(text, testing::ContainsRegex("\nExecStart=[^\n]* \\$\\{TARGET\\}\n"));
}

TEST(SystemdUnit, StartsGcoreDumpWithOptionsThatItHas) {
  const std::string text = unit_text();
  RegexMatch found;
  ASSERT_TRUE(regex_search(text, found, Regex("\nExecStart=(.*)\n")));
  std::string command = found[1];
  const TempDir folder;
  for (const auto& [from, to] : {std::pair<std::string, std::string>{"${QMP}", folder.path("vm1.qmp")},
                                 {"${DEADLINE}", "60"},
                                 {"$OPTIONS", "--compress zstd"},
                                 {"${TARGET}", folder.path()},
                                 {"%i", "vm1"}})
    for (size_t at; (at = command.find(from)) != std::string::npos;) command.replace(at, from.size(), to);
  EXPECT_EQ(command.find_first_of("$%"), std::string::npos) << command;
  Process watcher({"sh", "-c", "exec " + command});
  EXPECT_TRUE(watcher.wait_for_line(Process::Stream::err, "gcore-dump: waiting for QEMU")) << watcher.err();
  watcher.signal(SIGTERM);
  EXPECT_EQ(watcher.wait(), kDone);
}

TEST(LibvirtDomain, IsWellFormedAndSharesTheMemory) {
  const std::string path = source_dir() + "/docs/examples/libvirt-domain.xml";
  const auto value = [&](const std::string& expression) {
    const Completed done = run({"xmllint", "--xpath", "string(" + expression + ")", path});
    EXPECT_EQ(done.status, kDone) << done.err;
    return done.out.substr(0, done.out.find('\n'));
  };
  EXPECT_EQ(value("/domain/memoryBacking/source/@type"), "memfd");
  EXPECT_EQ(value("/domain/memoryBacking/access/@mode"), "shared");
  EXPECT_EQ(value("/domain/devices/watchdog/@action"), "pause");
  EXPECT_EQ(value("//*[@value='-qmp']/following-sibling::*/@value"), "unix:/run/qemu/vm1.qmp,server=on,wait=off");
}

}  // namespace
}  // namespace gcore::tests
