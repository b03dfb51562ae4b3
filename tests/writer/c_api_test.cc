#include "tests/writer/c_api_test.h"

#include <gmock/gmock.h>

#include <cerrno>

#include "tests/writer/fake_guest.h"
#include "writer/gcore_registers.h"

namespace gcore::tests {
namespace {

class CApi : public testing::Test {
 protected:
  CApi() : page_(kPage, 'p'), guest_{"c-guest", page_.data(), 40, 0, 0, 0, 0} { gcore_result_init(&result_); }
  std::string page_;
  c_guest guest_;
  TempDir directory_;
  gcore_result result_;
};

TEST_F(CApi, DumpsSynchronously) {
  gcore_result& result = result_;
  ASSERT_EQ(c_dump(&guest_, directory_.path().c_str(), &result), 0) << result.error;
  EXPECT_EQ(result.ok, 1);
  EXPECT_EQ(result.pages_written, 40U);
  EXPECT_THAT(result.path, testing::MatchesRegex(".*/c-guest-[0-9]{8}-[0-9]{6}\\.gcore"));
  const DumpBytes file(read_file(result.path));
  EXPECT_EQ(file.u16(56), 41) << "more ranges than the first call has room for";
  EXPECT_EQ(file.text(file.p_offset(40), kPage), page_);
  EXPECT_EQ(file.u8(file.p_offset(0) + 1), 6) << "a watchdog's signal";
  EXPECT_THAT(file.info(), testing::HasSubstr("\"program\": \"c-vmm 1\""));
  EXPECT_EQ(guest_.pauses, 1);
  EXPECT_EQ(guest_.resumes, 1);
}

TEST_F(CApi, ErrorIsASentence) {
  gcore_result& result = result_;
  EXPECT_EQ(c_dump(&guest_, "/nonexistent/at/all", &result), -1);
  EXPECT_EQ(result.error_code, ENOENT);
  EXPECT_STREQ(result.error,
               "the dump directory '/nonexistent/at/all': No such file or directory; make it with mkdir -p");
  EXPECT_STREQ(result.path, "");
}

TEST_F(CApi, FailedPauseIsNotResumed) {
  guest_.pause_error = EBUSY;
  gcore_result& result = result_;
  EXPECT_EQ(c_dump(&guest_, directory_.path().c_str(), &result), -1);
  EXPECT_STREQ(result.error, "pausing the guest: Device or resource busy");
  EXPECT_EQ(guest_.resumes, 0);
}

TEST_F(CApi, DumperAnswersRequests) {
  gcore_guest functions;
  c_guest_functions(&functions, &guest_);
  gcore_options options;
  gcore_options_init(&options);
  const std::string target = directory_.path();
  options.target = target.c_str();
  int done = 0;
  const auto on_done = [](void* self, const gcore_result* result) { *static_cast<int*>(self) += result->ok; };
  char error[100];
  gcore_dumper* dumper = gcore_dumper_create(&functions, &options, on_done, &done, error, sizeof error);
  ASSERT_NE(dumper, nullptr) << error;
  EXPECT_STREQ(error, "");
  gcore_dumper_request(dumper);
  gcore_result& result = result_;
  EXPECT_EQ(gcore_dumper_wait(dumper, &result), 0) << result.error;
  gcore_dumper_request_for(dumper, GCORE_REASON_API, nullptr, 0);
  EXPECT_EQ(gcore_dumper_wait(dumper, nullptr), 0);
  gcore_dumper_cancel(dumper);
  uint64_t bytes_done = 1, total = 1;
  gcore_dumper_progress(dumper, &bytes_done, &total);
  EXPECT_EQ(bytes_done + total, 0U) << "none runs";
  EXPECT_EQ(gcore_dumper_dumps(dumper), 2U);
  EXPECT_EQ(gcore_dumper_phase(dumper), GCORE_PHASE_IDLE);
  gcore_dumper_destroy(dumper);
  gcore_dumper_destroy(nullptr);
  EXPECT_EQ(done, 2);
  EXPECT_EQ(directory_.entries().size(), 2U);
}

TEST_F(CApi, GuestWithoutItsFunctionsIsRefused) {
  gcore_guest functions;
  c_guest_functions(&functions, &guest_);
  functions.resume = nullptr;
  gcore_options options;
  gcore_options_init(&options);
  options.target = "/tmp";
  char error[100];
  EXPECT_EQ(gcore_dumper_create(&functions, &options, nullptr, nullptr, error, sizeof error), nullptr);
  EXPECT_STREQ(error, "struct gcore_guest lacks what is not optional: resume; set it after gcore_guest_init()");
}

TEST_F(CApi, StructuresThatWereNotSetUpAreToldWhatToCall) {
  gcore_guest functions;
  c_guest_functions(&functions, &guest_);
  gcore_options options;
  gcore_options_init(&options);
  const std::string target = directory_.path();
  options.target = target.c_str();
  const auto error_of = [](const gcore_guest* guest, const gcore_options* given) {
    gcore_result result;
    gcore_result_init(&result);
    EXPECT_EQ(gcore_dump(guest, given, GCORE_REASON_API, nullptr, 0, &result), -1);
    char error[1024] = "";
    EXPECT_EQ(gcore_dumper_create(guest, given, nullptr, nullptr, error, sizeof error), nullptr);
    EXPECT_STREQ(error, result.error);
    return std::string(result.error);
  };
  const gcore_guest zeroed = {};
  EXPECT_EQ(error_of(&zeroed, &options),
            "struct gcore_guest has a struct_size of 0: call gcore_guest_init() first, then set pause, resume, "
            "cpu_count, read_cpu, memory");
  gcore_guest not_set_up = functions;
  not_set_up.struct_size = 0;
  EXPECT_THAT(error_of(&not_set_up, &options), testing::StartsWith("struct gcore_guest has a struct_size of 0: call "));
  const gcore_options zeroed_options = {};
  EXPECT_EQ(error_of(&functions, &zeroed_options),
            "struct gcore_options has a struct_size of 0: call gcore_options_init() first, then set target");
  EXPECT_EQ(error_of(nullptr, &options), "the pointer to struct gcore_guest is NULL");
  EXPECT_EQ(error_of(&functions, nullptr), "the pointer to struct gcore_options is NULL");
  EXPECT_EQ(gcore_register_set(nullptr, "rip", 1), -1);
  EXPECT_EQ(guest_.pauses, 0);

  gcore_result result = {};
  EXPECT_EQ(gcore_dump(&functions, &options, GCORE_REASON_API, nullptr, 0, &result), -1);
  EXPECT_THAT(result.error, testing::HasSubstr("call gcore_result_init() first"));
  EXPECT_EQ(guest_.pauses, 0) << "found out before anything is done";
  EXPECT_TRUE(directory_.entries().empty());
}

// A newer library knows more fields than the program: it writes none of them. An older one leaves what it does not
// know.
TEST_F(CApi, ResultIsWrittenAsFarAsItsSizeSays) {
  struct {
    gcore_result result;
    char after[64];
  } room;
  std::memset(&room, 'z', sizeof room);
  gcore_result_init(&room.result);
  EXPECT_EQ(c_dump(&guest_, directory_.path().c_str(), &room.result), 0) << room.result.error;
  EXPECT_EQ(std::string(room.after, sizeof room.after), std::string(64, 'z'));
  room.result.struct_size = sizeof room;
  EXPECT_EQ(c_dump(&guest_, directory_.path().c_str(), &room.result), 0) << room.result.error;
  EXPECT_EQ(room.result.struct_size, sizeof room);
  EXPECT_EQ(std::string(room.after, sizeof room.after), std::string(64, 'z'));
}

TEST_F(CApi, CpuNumbersArriveInTheDump) {
  guest_.first_number = 5;
  ASSERT_EQ(c_dump(&guest_, directory_.path().c_str(), &result_), 0) << result_.error;
  const DumpBytes file(read_file(result_.path));
  EXPECT_EQ(file.u32(file.p_offset(0) + 40 + file.u32(file.p_offset(0) + 28) + 8), 5U) << "cpunum of the record";
}

TEST_F(CApi, DirectoryThatIsMadeIsSaid) {
  const std::string dumps = directory_.path("dumps");
  gcore_guest functions;
  c_guest_functions(&functions, &guest_);
  gcore_options options;
  gcore_options_init(&options);
  options.target = dumps.c_str();
  gcore_dumper* dumper = gcore_dumper_create(&functions, &options, nullptr, nullptr, nullptr, 0);
  ASSERT_NE(dumper, nullptr);
  EXPECT_EQ(gcore_dumper_notice(dumper), "made the dump directory '" + dumps + "' (mode 0700)");
  gcore_dumper_destroy(dumper);
  ASSERT_EQ(c_dump(&guest_, (dumps + "2").c_str(), &result_), 0) << result_.error;
  EXPECT_EQ(result_.notice, "made the dump directory '" + dumps + "2' (mode 0700)");
}

TEST_F(CApi, RegistersCanBeListed) {
  ASSERT_EQ(gcore_register_count(GCORE_MACHINE_X86_64), format::registers(format::Machine::x86_64).size());
  EXPECT_STREQ(gcore_register_name(GCORE_MACHINE_X86_64, 0), "rdi");
  EXPECT_EQ(gcore_register_bytes(GCORE_MACHINE_X86_64, 16), 4) << "cs";
  EXPECT_STREQ(gcore_register_name(GCORE_MACHINE_AARCH64, 32), "elr");
  EXPECT_EQ(gcore_register_name(GCORE_MACHINE_X86, 1000), nullptr);
  EXPECT_EQ(gcore_register_bytes(GCORE_MACHINE_X86, 1000), 0);
  EXPECT_EQ(gcore_register_count(40), 0U);
}

TEST_F(CApi, NumbersOutsideTheEnumerationsAreRefused) {
  gcore_guest functions;
  c_guest_functions(&functions, &guest_);
  const std::string target = directory_.path();
  const auto error_of = [&](void (*spoil)(gcore_guest&, gcore_options&)) -> std::string {
    gcore_guest spoilt = functions;
    gcore_options options;
    gcore_options_init(&options);
    options.target = target.c_str();
    spoil(spoilt, options);
    gcore_result result;
    gcore_result_init(&result);
    EXPECT_EQ(gcore_dump(&spoilt, &options, GCORE_REASON_API, nullptr, 0, &result), -1);
    return result.error;
  };
  EXPECT_EQ(error_of([](auto&, auto& options) { options.dialect = 256; }), "there is no such dump dialect");
  EXPECT_EQ(error_of([](auto&, auto& options) { options.compression = -1; }),
            "this build of the writer was made without that compression");
  EXPECT_EQ(error_of([](auto&, auto& options) { options.pipe_memory = 3; }), "there is no such way into a pipe");
  EXPECT_EQ(error_of([](auto& guest, auto&) { guest.machine = 40; }), "a guest of ELF machine 40 cannot be dumped");
  EXPECT_TRUE(directory_.entries().empty());
}

TEST_F(CApi, OptionsArriveInTheDump) {
  gcore_guest functions;
  c_guest_functions(&functions, &guest_);
  gcore_options options;
  gcore_options_init(&options);
  const std::string target = directory_.path();
  options.target = target.c_str();
  options.dialect = GCORE_DIALECT_VMCORE;
  options.program = "c-vmm 2";
  options.signal = 11;
  gcore_result& result = result_;
  ASSERT_EQ(gcore_dump(&functions, &options, GCORE_REASON_PANIC, "oops", 0, &result), 0) << result.error;
  const DumpBytes file(read_file(result.path));
  EXPECT_THAT(file.info(), testing::HasSubstr(R"("program": "c-vmm 2")"));
  EXPECT_THAT(file.info(), testing::HasSubstr(R"("dialect": "vmcore")"));
  EXPECT_THAT(file.info(), testing::HasSubstr(R"({"kind": "panic", "detail": "oops", "signal": 11, "cpu": 0})"));

  ASSERT_EQ(gcore_compression_supported(GCORE_COMPRESSION_ZSTD), 1);
  EXPECT_EQ(gcore_compression_supported(99), 0);
  options.compression = GCORE_COMPRESSION_ZSTD;
  ASSERT_EQ(gcore_dump(&functions, &options, GCORE_REASON_API, nullptr, 0, &result), 0) << result.error;
  EXPECT_THAT(result.path, testing::EndsWith(".gcore.zst"));

  options.compression = GCORE_COMPRESSION_NONE;
  options.target = "|sleep 1000";
  options.pipe_memory = GCORE_PIPE_MEMORY_LEND;  // so that the guest waits for the command
  options.pause_deadline_ms = 20;
  EXPECT_EQ(gcore_dump(&functions, &options, GCORE_REASON_API, nullptr, 0, &result), -1);
  EXPECT_EQ(result.error_code, ETIMEDOUT) << result.error;
  EXPECT_EQ(guest_.pauses, guest_.resumes);
}

TEST_F(CApi, CancelLeavesAPartialDumpWhenTold) {
  gcore_guest functions;
  guest_.ranges = 200;
  c_guest_functions(&functions, &guest_);
  gcore_options options;
  gcore_options_init(&options);
  const std::string target = directory_.path();
  options.target = target.c_str();
  options.bytes_per_second = 200'000;
  options.keep_partial = 1;
  gcore_dumper* dumper = gcore_dumper_create(&functions, &options, nullptr, nullptr, nullptr, 0);
  ASSERT_NE(dumper, nullptr);
  gcore_dumper_request_for(dumper, GCORE_REASON_API, "slow", 0);
  uint64_t done = 0, total = 0;
  while (done < 4096) gcore_dumper_progress(dumper, &done, &total);
  EXPECT_EQ(total, 200U * 4096);
  gcore_dumper_cancel(dumper);
  gcore_result& result = result_;
  EXPECT_EQ(gcore_dumper_wait(dumper, &result), -1);
  EXPECT_EQ(result.cancelled, 1);
  EXPECT_THAT(result.path, testing::EndsWith(".gcore.partial"));
  EXPECT_EQ(guest_.resumes, 1);
  gcore_dumper_destroy(dumper);
}

TEST_F(CApi, StructureOfAnOlderHeaderIsCompletedWithDefaults) {
  gcore_guest functions;
  c_guest_functions(&functions, &guest_);
  functions.struct_size = offsetof(gcore_guest, read_memory);
  functions.process_name = reinterpret_cast<const char* (*)(void*, size_t)>(1);  // beyond what an old program set
  gcore_options options;
  gcore_options_init(&options);
  options.struct_size = offsetof(gcore_options, sync);
  options.sync = 0;
  const std::string target = directory_.path();
  options.target = target.c_str();
  gcore_result& result = result_;
  EXPECT_EQ(gcore_dump(&functions, &options, GCORE_REASON_API, nullptr, 0, &result), 0) << result.error;
}

}  // namespace
}  // namespace gcore::tests
