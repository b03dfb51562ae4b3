// Memory that QEMU does not share: read out of its process, or copied by it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/dump/dump_files.h"
#include "tests/dump/gcore_dump.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;

void expect_as_qemu(BareMachine& machine, const std::string& ours_path) {
  const std::string path = machine.folder().path("oracle");
  machine.qmp().execute("dump-guest-memory", R"({"paging": false, "protocol": )" + Qmp::quote("file:" + path) + "}");
  const CoreFile ours(ours_path), theirs(path);
  EXPECT_EQ(ours.coverage(), theirs.coverage());
  EXPECT_EQ(first_difference(theirs, ours), "");
}

std::vector<std::string> loaded(const TempDir& folder, std::vector<std::string> memory) {
  std::string bytes;
  for (int page = 0; page < 5000; ++page) bytes += std::string(4096, page % 7 == 0 ? '\0' : static_cast<char>(page));
  const std::string file = folder.write("bytes", bytes);
  return with(std::move(memory), {"-vga", "std", "-device", "loader,file=" + file + ",addr=0x200000,force-raw=on"});
}

/// QEMU's default; a file of which QEMU has a copy; memory that is shared and has no file.
std::vector<std::vector<std::string>> kinds(const TempDir& folder) {
  const auto backend = [](const std::string& object) {
    return std::vector<std::string>{"-machine", "q35,memory-backend=mem",   "-m", "32M",
                                    "-object",  object + ",id=mem,size=32M"};
  };
  return {{"-m", "32M"},
          backend("memory-backend-file,share=off,mem-path=" + folder.write("file", std::string(32 << 20, 'f'))),
          backend("memory-backend-ram,share=on"),
          backend("memory-backend-memfd,share=off")};
}

TEST(PrivateMemory, IsReadOutOfQemusProcessWithoutAWord) {
  const TempDir folder, out;
  for (const auto& memory : kinds(folder)) {
    BareMachine machine(kX86, kLoop, loaded(folder, memory));
    // Compressed it is copied aside.
    for (const std::vector<std::string>& way : {std::vector<std::string>(), {"--compress", "gzip"}}) {
      if (!way.empty() && memory.size() > 2) continue;  // once
      std::vector<std::string> arguments{"--qmp", machine.socket(), "--dialect", "vmcore", "--no-sync", out.path()};
      arguments.insert(arguments.begin(), way.begin(), way.end());
      const Completed done = gcore_dump(arguments);
      EXPECT_EQ(done.status, kDone) << done.err;
      EXPECT_THAT(done.err, testing::Not(HasSubstr("copied through QEMU")));
      std::string path = line(done.out);
      if (!way.empty()) {
        EXPECT_EQ(run({"gzip", "-d", "-f", path}).status, kDone);
        path.resize(path.size() - 3);
      }
      expect_as_qemu(machine, path);
    }
  }
}

TEST(PrivateMemory, IsCopiedByQemuForWhoMayNotReadItsProcess) {
  const TempDir folder, out;
  for (const auto& memory : kinds(folder)) {
    BareMachine machine(kX86, kLoop, loaded(folder, memory));
    const Completed done =
        untraced_gcore_dump({"--qmp", machine.socket(), "--dialect", "vmcore", "--no-sync", out.path()});
    EXPECT_EQ(done.status, kDone) << done.err;
    EXPECT_THAT(done.err, testing::ContainsRegex("is copied through QEMU, which is slower: [^;]+; "));
    expect_as_qemu(machine, line(done.out));
  }
}

// As much of it is zeros as the guest never touched, and reading it leaves it untouched.
TEST(PrivateMemory, ThatWasNeverTouchedStaysSo) {
  BareMachine machine(kX86, kLoop, {"-m", "512M"});
  const TempDir out;
  const auto page_tables = [&] {
    const std::string status = read_file("/proc/" + std::to_string(machine.process().pid()) + "/status");
    return std::stoul(status.substr(status.find("VmPTE:") + 6));
  };
  const unsigned long before = page_tables();
  const Completed done = gcore_dump({"--qmp", machine.socket(), out.path()});
  EXPECT_EQ(done.status, kDone) << done.err;
  EXPECT_LT(page_tables(), before + 512);  // KiB; 1,024 would be needed for all of it
  EXPECT_GT(open_dump(line(done.out))->info().pages->zero, 100'000u);
}

TEST(PrivateMemory, ThatIsSharedWithoutAFileIsSaidToBe) {
  BareMachine machine(
      kX86, kLoop,
      {"-machine", "q35,memory-backend=mem", "-m", "64M", "-object", "memory-backend-ram,id=mem,size=64M,share=on"});
  const TempDir out;
  const Completed done = untraced_gcore_dump({"--qmp", machine.socket(), out.path()});
  EXPECT_EQ(done.status, kDone);
  EXPECT_THAT(done.err, testing::ContainsRegex("which is slower: [^;]*(/proc|memory-backend-ram)[^;]*; "));
}

}  // namespace
}  // namespace gcore::tests
