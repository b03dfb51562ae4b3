// Dumps into directories: names, permissions, and that a failure leaves nothing.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cerrno>
#include <csignal>
#include <filesystem>

#include "tests/support/small_disk.h"
#include "tests/writer/fake_guest.h"
#include "writer/naming.h"
#include "writer/sink.h"

namespace gcore::tests {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;
using writer::Options;
using writer::Result;

Options to(const std::string& target) {
  Options options;
  options.target = target;
  return options;
}

TEST(File, HasItsNameAndIsPrivate) {
  TempDir directory;
  FakeGuest guest;
  const mode_t before = umask(0);
  const Result result = writer::dump(guest, to(directory.path() + "/"));
  umask(before);
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  ASSERT_EQ(directory.entries().size(), 1U);
  const std::string name = directory.entries()[0];
  EXPECT_THAT(name, MatchesRegex("qnx7-[0-9]{8}-[0-9]{6}\\.gcore"));
  EXPECT_EQ(result.path, directory.path() + "/" + name);
  struct stat info;
  ASSERT_EQ(stat(result.path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600U);
  EXPECT_EQ(static_cast<uint64_t>(info.st_size), result.bytes);
  EXPECT_EQ(guest.pauses, 1);
  EXPECT_GT(result.paused.count(), 0);
}

TEST(File, ZerosAreHoles) {
  TempDir directory;
  FakeGuest guest(4096, FakeGuest::Backing::host);  // 16 MiB
  guest.fill(0, 0, 4096);
  guest.fill(17, 'x');
  const Result result = writer::dump(guest, to(directory.path()));
  ASSERT_TRUE(result.status.ok());
  EXPECT_EQ(result.pages.written, 1U);
  EXPECT_EQ(result.pages.zero, 4095U);
  struct stat info;
  ASSERT_EQ(stat(result.path.c_str(), &info), 0);
  EXPECT_GT(info.st_size, 16 << 20);
  EXPECT_LT(info.st_blocks * 512, 1 << 20);
}

// The names are those of one second, so the files are made through the sink, whose stem is given.
class Names : public testing::TestWithParam<writer::Invisible> {
 protected:
  std::string write_one(writer::Status& status, bool numbered = true, bool replace = false) {
    Options options;
    writer::Control control(options, {});
    auto sink = open_file_sink(directory_.path(), {"qnx7-20170821-120619", ".gcore", numbered, replace}, true, control,
                               status, GetParam());
    if (!status) return {};
    status = sink->write(std::as_bytes(std::span("new", 3)));
    if (status) status = sink->finish();
    return sink->path();
  }
  TempDir directory_;
};

TEST_P(Names, NumbersAreTakenInOrder) {
  directory_.write("qnx7-20170821-120619.gcore", "0");
  directory_.write("qnx7-20170821-120619-1.gcore", "1");
  writer::Status status;
  EXPECT_EQ(write_one(status), directory_.path() + "/qnx7-20170821-120619-2.gcore");
  EXPECT_TRUE(status.ok()) << status.text();
  EXPECT_EQ(directory_.entries().size(), 3U);
  EXPECT_EQ(read_file(directory_.path("qnx7-20170821-120619.gcore")), "0");
  EXPECT_EQ(read_file(directory_.path("qnx7-20170821-120619-2.gcore")), "new");
}

TEST_P(Names, AllTenTakenCreatesNothing) {
  for (int number = 0; number < 10; ++number)
    directory_.write(writer::candidate({"qnx7-20170821-120619", ".gcore"}, number), "old");
  const auto before = directory_.entries();
  writer::Status status;
  EXPECT_EQ(write_one(status), "");
  EXPECT_THAT(status.text(), HasSubstr("'qnx7-20170821-120619.gcore' (the names with -1 to -9 are taken too)"));
  EXPECT_EQ(directory_.entries(), before);
  for (const std::string& name : before) EXPECT_EQ(read_file(directory_.path(name)), "old");
}

TEST_P(Names, NamesTakenWhileTheDumpIsWrittenAreRespected) {
  Options options;
  writer::Control control(options, {});
  writer::Status status;
  const writer::FileName name{"qnx7-20170821-120619", ".gcore"};
  auto sink = open_file_sink(directory_.path(), name, false, control, status, GetParam());
  ASSERT_TRUE(status.ok()) << status.text();
  for (int number = 0; number < 10; ++number) directory_.write(writer::candidate(name, number), "old");
  ASSERT_TRUE(sink->write(std::as_bytes(std::span("new", 3))).ok());
  EXPECT_THAT(sink->finish().text(), HasSubstr("File exists"));
  sink.reset();
  EXPECT_EQ(directory_.entries().size(), 10U);
  for (const std::string& file : directory_.entries()) EXPECT_EQ(read_file(directory_.path(file)), "old");
}

TEST_P(Names, DanglingLinkIsATakenNameAndIsNotFollowed) {
  TempDir elsewhere;
  const std::string victim = elsewhere.path("victim");
  ASSERT_EQ(symlink(victim.c_str(), directory_.path("qnx7-20170821-120619.gcore").c_str()), 0);
  writer::Status status;
  EXPECT_EQ(write_one(status), directory_.path() + "/qnx7-20170821-120619-1.gcore");
  EXPECT_THAT(elsewhere.entries(), IsEmpty());
}

TEST_P(Names, ExactNameReplacesOnlyWhenTold) {
  directory_.write("qnx7-20170821-120619.gcore", "old");
  writer::Status status;
  write_one(status, false);
  EXPECT_EQ(status.error().code, EEXIST);
  EXPECT_EQ(read_file(directory_.path("qnx7-20170821-120619.gcore")), "old");
  write_one(status, false, true);
  EXPECT_TRUE(status.ok()) << status.text();
  EXPECT_THAT(directory_.entries(), ElementsAre("qnx7-20170821-120619.gcore"));
  EXPECT_EQ(read_file(directory_.path("qnx7-20170821-120619.gcore")), "new");
}

TEST_P(Names, LeftoversOfAKilledWriterAreNotTouched) {
  const std::string leftover = ".qnx7-20170821-120619.gcore." + std::to_string(getpid());
  directory_.write(leftover, "left");
  directory_.write("qnx7-20170821-120619.gcore", "old");
  writer::Status status;
  write_one(status, false, true);
  EXPECT_TRUE(status.ok()) << status.text();
  EXPECT_THAT(directory_.entries(), ElementsAre(leftover, "qnx7-20170821-120619.gcore"));
  EXPECT_EQ(read_file(directory_.path(leftover)), "left");
  EXPECT_EQ(read_file(directory_.path("qnx7-20170821-120619.gcore")), "new");
}

TEST_P(Names, AbandonedFileLeavesNothing) {
  Options options;
  writer::Control control(options, {});
  writer::Status status;
  auto sink = open_file_sink(directory_.path(), {"x", ".gcore"}, true, control, status, GetParam());
  ASSERT_TRUE(sink->write(std::as_bytes(std::span("new", 3))).ok());
  sink.reset();
  EXPECT_THAT(directory_.entries(), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(BothWays, Names, testing::Values(writer::Invisible::automatic, writer::Invisible::hidden_name),
                         [](const auto& instance) {
                           return instance.param == writer::Invisible::automatic ? "nameless" : "hidden";
                         });

TEST(File, DirectoryThatIsMissingIsOneSentenceAndNoPause) {
  FakeGuest guest;
  const Result result = writer::dump(guest, to("/nonexistent/dumps"));
  EXPECT_EQ(result.status.text(),
            "the dump directory '/nonexistent/dumps': No such file or directory; make it with mkdir -p");
  EXPECT_EQ(result.path, "");
  EXPECT_EQ(guest.pauses, 0);
}

TEST(File, LastComponentOfTheDirectoryIsMadeAndThatIsSaid) {
  TempDir above;
  const std::string dumps = above.path("dumps");
  FakeGuest guest;
  const mode_t before = umask(0);
  const Result result = writer::dump(guest, to(dumps));
  umask(before);
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  EXPECT_EQ(result.notice, "made the dump directory '" + dumps + "' (mode 0700)");
  EXPECT_EQ(std::filesystem::status(dumps).permissions(), std::filesystem::perms::owner_all);
  EXPECT_EQ(writer::dump(guest, to(dumps)).notice, "") << "it is there now";
}

TEST(File, DirectoryOfAnExactFileNameIsNotMade) {
  TempDir above;
  FakeGuest guest;
  Options options = to(above.path("none"));
  options.file_name = "x";
  EXPECT_EQ(writer::dump(guest, options).status.error().code, ENOENT);
  EXPECT_THAT(above.entries(), IsEmpty());
}

TEST(File, FileInsteadOfDirectory) {
  TempDir directory;
  FakeGuest guest;
  const Result result = writer::dump(guest, to(directory.write("file", "x")));
  EXPECT_EQ(result.status.error().code, ENOTDIR);
  EXPECT_EQ(guest.pauses, 0);
}

TEST(File, DirectoryThatCannotBeWrittenTo) {
  SmallDisk small("1m");
  small.make_read_only();
  FakeGuest guest;
  const Result result = writer::dump(guest, to(small.directory().path()));
  EXPECT_EQ(result.status.error().code, EROFS);
  EXPECT_THAT(result.status.text(), HasSubstr(small.directory().path()));
  EXPECT_EQ(guest.pauses, 0);
}

TEST(File, DirectoryMayBeALink) {
  TempDir directory, elsewhere;
  const std::string link = elsewhere.path("link");
  ASSERT_EQ(symlink(directory.path().c_str(), link.c_str()), 0);
  FakeGuest guest;
  EXPECT_TRUE(writer::dump(guest, to(link)).status.ok());
  EXPECT_EQ(directory.entries().size(), 1U);
}

TEST(File, TooSmallADiskIsFoundOutBeforehand) {
  const SmallDisk small("256k");
  FakeGuest guest(128);
  guest.fill(0, 'x', 128);
  const Result result = writer::dump(guest, to(small.directory().path()));
  EXPECT_EQ(result.status.error().code, ENOSPC);
  EXPECT_THAT(result.status.text(), HasSubstr("it needs "));
  EXPECT_EQ(result.pages.written, 0U);
  EXPECT_THAT(small.directory().entries(), IsEmpty());
  EXPECT_EQ(guest.resumes, 1);
}

/// On a disk of 1 MiB, a guest of which every `every`-th page is full of 'x' and the others are zeros.
void expect_what_fits(uint64_t pages, uint64_t every) {
  const SmallDisk small("1m");
  FakeGuest guest(pages, FakeGuest::Backing::host);
  guest.ranges = {guest.range(0, 0, pages * kPage)};
  for (uint64_t page = 0; page < pages; page += every) guest.fill(page, 'x');
  Options options = to(small.directory().path());
  options.keep_partial = true;
  const Result result = writer::dump(guest, options);
  EXPECT_EQ(result.status.error().code, ENOSPC) << result.status.text();
  ASSERT_THAT(result.path, testing::EndsWith(".gcore.partial"));
  const DumpBytes file(read_file(result.path));
  EXPECT_THAT(file.info(), HasSubstr(R"("complete": false)"));
  EXPECT_EQ(file.u16(file.p_offset(0) + 4), 2) << "vCPUs in the note";
  const uint64_t kept = file.p_filesz(1) / kPage;
  EXPECT_GE(kept / every, 200U) << "of 256 that the disk holds, with room for the rest of the file";
  for (uint64_t page = 0; page < kept; ++page)
    ASSERT_EQ(file.text(file.p_offset(1) + page * kPage, kPage), std::string(kPage, page % every == 0 ? 'x' : '\0'));
}

TEST(File, WhatFitsIsKeptWhenTheDiskIsTooSmallFromTheStart) { expect_what_fits(512, 1); }

TEST(File, WhatFitsOfASparseGuestIsKept) { expect_what_fits(65536, 128); }

TEST(File, RegistersAreKeptWhereNoMemoryFits) {
  const SmallDisk small("64k");
  FakeGuest guest(128);
  guest.fill(0, 'x', 128);
  guest.cpus = 64;
  Options options = to(small.directory().path());
  options.keep_partial = true;
  const Result result = writer::dump(guest, options);
  ASSERT_THAT(result.path, testing::EndsWith(".gcore.partial")) << result.status.text();
  const DumpBytes file(read_file(result.path));
  EXPECT_EQ(file.u16(file.p_offset(0) + 4), 64) << "the number of vCPUs in the note";
  EXPECT_EQ(file.p_filesz(0), 40U + 64 * (128 + 160));
}

TEST(File, ZerosNeedNoRoom) {
  const SmallDisk small("256k");
  FakeGuest guest(1024, FakeGuest::Backing::host);
  guest.fill(0, 0, 1024);  // touched: only reading tells that these are zeros
  guest.fill(5, 'x');
  const Result result = writer::dump(guest, to(small.directory().path()));
  EXPECT_TRUE(result.status.ok()) << result.status.text();
  EXPECT_EQ(result.pages.zero, 1023U);
}

TEST(File, DiskThatGetsFullLeavesNothing) {
  const SmallDisk small("1m");
  FakeGuest guest(128, FakeGuest::Backing::callback);
  guest.fill(0, 'x', 128);
  // Somebody else takes the room after it was looked at.
  guest.on_read_memory = [&](uint64_t) { small.directory().write("other", std::string(700 << 10, 'y')); };
  const Result result = writer::dump(guest, to(small.directory().path()));
  EXPECT_EQ(result.status.error().code, ENOSPC) << result.status.text();
  EXPECT_THAT(small.directory().entries(), ElementsAre("other"));
  EXPECT_EQ(guest.resumes, 1);
}

TEST(File, FileSizeLimitIsAnErrorNotASignal) {
  TempDir directory;
  FakeGuest guest(64);
  guest.fill(0, 'x', 64);
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small = {64 * 1024, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const Result result = writer::dump(guest, to(directory.path()));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(result.status.error().code, EFBIG) << result.status.text();
  EXPECT_THAT(directory.entries(), IsEmpty());
  sigset_t pending;
  sigpending(&pending);
  EXPECT_EQ(sigismember(&pending, SIGXFSZ), 0);
}

TEST(File, PartialFileIsValidAndSaysSo) {
  TempDir directory;
  FakeGuest guest(96, FakeGuest::Backing::callback);
  guest.ranges = {guest.range(0, 0, 32 * kPage), guest.range(32 * kPage, 0, 32 * kPage),
                  guest.range(64 * kPage, 0, 32 * kPage)};
  guest.fill(0, 'x', 96);
  Options options = to(directory.path());
  options.keep_partial = true;
  writer::Status status;
  const auto dumper = writer::Dumper::create(guest, options, {}, status);
  ASSERT_TRUE(status.ok());
  guest.on_read_memory = [&](uint64_t address) {
    if (address == 32 * kPage) dumper->cancel();
  };
  dumper->request();
  const Result result = dumper->wait();
  EXPECT_TRUE(result.cancelled);
  EXPECT_THAT(result.path, testing::EndsWith(".gcore.partial"));
  ASSERT_EQ(directory.entries().size(), 1U);
  const DumpBytes file(read_file(result.path));
  EXPECT_EQ(file.size(), result.bytes);
  EXPECT_THAT(file.info(), HasSubstr(R"("complete": false)"));
  ASSERT_EQ(file.u16(56), 4);
  EXPECT_EQ(file.u32(file.phdr(0)), 4U);
  for (unsigned i = 1; i <= 2; ++i) {
    EXPECT_EQ(file.u32(file.phdr(i)), 1U);
    EXPECT_EQ(file.u64(file.phdr(i) + 40), 32 * kPage);
    EXPECT_EQ(file.text(file.p_offset(i), file.p_filesz(i)), std::string(32 * kPage, 'x'));
  }
  EXPECT_EQ(file.u32(file.phdr(3)), 1U);
  EXPECT_EQ(file.p_filesz(3), 0U) << "what was not written is left out, not zero";
  EXPECT_EQ(file.u64(file.phdr(3) + 40), 32 * kPage);
}

TEST(File, FailedPauseLeavesNothing) {
  TempDir directory;
  FakeGuest guest;
  guest.pause_error = "vCPU 1 does not stop";
  const Result result = writer::dump(guest, to(directory.path()));
  EXPECT_EQ(result.status.text(), "vCPU 1 does not stop");
  EXPECT_EQ(guest.resumes, 0);
  EXPECT_THAT(directory.entries(), IsEmpty());
}

TEST(File, NoTargetIsAUsageError) {
  FakeGuest guest;
  EXPECT_THAT(writer::dump(guest, to("")).status.text(), HasSubstr("needs a directory"));
  EXPECT_THAT(writer::dump(guest, to("|")).status.text(), HasSubstr("needs a directory"));
}

}  // namespace
}  // namespace gcore::tests
