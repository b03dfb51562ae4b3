// What is given is not what it should be: one clear line says so, and what can be shown is shown.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "reader/guest/guest.h"
#include "reader/guest/linux/kernel.h"
#include "tests/dump/bare_machine.h"
#include "tests/reader_linux/guests.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/regex.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

namespace fs = std::filesystem;
using reader::VirtAddr;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

struct LinuxBadInput : testing::Test {
  TempDir folder;
  const LinuxOracle& guest = linux_oracle(kGuests[0].recipe());

  static Completed inspect(const std::string& dump, std::vector<std::string> arguments, ExitStatus status = {0, 0}) {
    arguments.insert(arguments.begin(), {program("gcore-inspect"), dump});
    Completed done = run(arguments, 120s);
    EXPECT_EQ(done.status, status) << done.err;
    return done;
  }
  static void expect_one_line(const std::string& text) {
    EXPECT_THAT(text, StartsWith("gcore-inspect: "));
    EXPECT_EQ(std::ranges::count(text, '\n'), 1) << text;
  }

  static std::string frames_of(const std::string& backtrace) {
    std::string frames;
    std::istringstream lines(backtrace);
    for (std::string line; std::getline(lines, line);)
      if (line.starts_with("  #")) frames += line + '\n';
    EXPECT_THAT(frames, HasSubstr("+0x"));
    return frames;
  }

  /// The guest's dump, with zeros where these stretches of the kernel were.
  std::string without(const std::string& name, const std::vector<std::pair<const char*, const char*>>& stretches) {
    const std::string path = folder.path(name);
    fs::copy_file(guest.dump(), path);
    fs::permissions(path, fs::perms::owner_write, fs::perm_options::add);
    const auto dump = open_dump(guest);
    const reader::Guest found(*dump);
    const auto kernel = reader::linux_guest::Kernel::find(*dump, found.system());
    if (!kernel) throw std::runtime_error(kernel.error().text);
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    const std::string zeros(4096, '\0');
    for (const auto& [first, end] : stretches)
      for (VirtAddr at = (*kernel)->address_of(first).value(); at < (*kernel)->address_of(end).value();
           at = at + 4096) {
        const auto there = (*kernel)->memory().space().translate(at);
        if (!there) throw std::runtime_error(there.error().text);
        for (const reader::Segment& segment : dump->segments()) {
          const uint64_t distance = there->address.value - segment.address.value;
          if (there->address < segment.address || distance >= segment.file_size) continue;
          file.seekp(static_cast<std::streamoff>(segment.offset.value + distance));
          file.write(zeros.data(), static_cast<std::streamsize>(zeros.size()));
        }
      }
    return path;
  }
};

TEST_F(LinuxBadInput, AnotherKernelsSymbolsAreToldAndTheKernelsOwnNamesShown) {
  const std::string other = folder.path("vmlinux");
  inspect(linux_oracle(kGuests[1].recipe()).dump(), {"--write-symbols", other});
  const Completed done = inspect(guest.dump(), {"--backtrace", "--task", "2", "--symbols", other});
  expect_one_line(done.err);
  EXPECT_THAT(done.err, HasSubstr("is not the file of the guest's kernel"));
  EXPECT_EQ(frames_of(done.out), frames_of(inspect(guest.dump(), {"--backtrace", "--task", "2"}).out));
}

TEST_F(LinuxBadInput, ACompressedKernelImageIsToldFromOneWithSymbols) {
  for (const char* machine : {"x86_64", "aarch64"}) {
    const std::string image = guests_dir() + "/linux-" + machine + "/vmlinuz";
    ASSERT_TRUE(fs::exists(image) || !linux_oracle(kGuests[2].recipe()).dump().empty());
    const Completed done = inspect(guest.dump(), {"--backtrace", "--symbols", image}, {1, 0});
    expect_one_line(done.err);
    EXPECT_THAT(done.err, AllOf(HasSubstr("kernel image for a boot loader"), HasSubstr("vmlinux")));
  }
}

TEST_F(LinuxBadInput, WithoutTheKernelsTextAllElseIsShown) {
  const std::string dump = without("textless", {{"_stext", "_etext"}});
  for (const char* mode : {"--tasks", "--backtrace", "--dmesg", "--modules", "--why"}) {
    const Completed done = inspect(dump, {mode});
    // Whether a vCPU is halted is what its last instruction says.
    const Regex halted(", halted");
    EXPECT_EQ(done.out, regex_replace(inspect(guest.dump(), {mode}).out, halted, "")) << mode;
    EXPECT_EQ(done.err, "") << mode;
  }
}

TEST_F(LinuxBadInput, WithoutTheKernelsNamesThatIsSaid) {
  const std::string dump = without("nameless", {{"__start_rodata", "__end_rodata"}});
  for (const char* mode : {"--tasks", "--dmesg", "--modules"}) {
    const Completed done = run({program("gcore-inspect"), dump, mode}, 120s);
    if (done.status == ExitStatus{0, 0}) {
      EXPECT_THAT(done.out, Not(IsEmpty())) << mode;
    } else {
      EXPECT_EQ(done.status, (ExitStatus{1, 0})) << mode;
      expect_one_line(done.err);
    }
  }
  EXPECT_THAT(inspect(dump, {}).out, HasSubstr("vCPU"));
  EXPECT_THAT(inspect(dump, {"--registers"}).out, HasSubstr("rip"));
}

TEST_F(LinuxBadInput, OfACutOffFileWhySaysThatItIsOne) {
  const std::string dump = folder.path("cut");
  fs::copy_file(guest.dump(), dump);
  fs::permissions(dump, fs::perms::owner_write, fs::perm_options::add);
  // The kernel is still there, or only what the notes say of it.
  for (const uintmax_t size : {fs::file_size(dump) - (1 << 20), fs::file_size(dump) / 8}) {
    fs::resize_file(dump, size);
    const std::string why = inspect(dump, {"--why"}).out;
    EXPECT_THAT(
        why, HasSubstr("\nnot looked at: a part of memory: the file is truncated at " + std::to_string(size) + "\n"));
    EXPECT_THAT(why, Not(HasSubstr("nothing found: ")));
    std::istringstream lines(why);
    std::vector<std::string> problems;
    for (std::string line; std::getline(lines, line);)
      if (line.starts_with("not looked at: ")) problems.push_back(line);
    std::ranges::sort(problems);
    EXPECT_EQ(std::ranges::adjacent_find(problems), problems.end()) << why;
  }
}

TEST_F(LinuxBadInput, WithFirmwareAloneThereIsNoLinux) {
  BareMachine machine("qemu-system-x86_64", "", {"-m", "64M"});
  const std::string dump = folder.path("firmware");
  machine.qmp().execute("dump-guest-memory", R"({"paging": false, "protocol": )" + Qmp::quote("file:" + dump) + "}");
  for (const char* mode : {"--tasks", "--dmesg", "--modules", "--why"}) {
    const Completed done = inspect(dump, {mode}, {1, 0});
    EXPECT_EQ(done.out, "");
    expect_one_line(done.err);
    EXPECT_THAT(done.err, HasSubstr("no Linux kernel was found")) << mode;
  }
  EXPECT_THAT(inspect(dump, {}).out, HasSubstr("real mode"));
  EXPECT_THAT(inspect(dump, {"--registers"}).out, HasSubstr("eip 0x0000fff0"));
}

}  // namespace
}  // namespace gcore::tests
