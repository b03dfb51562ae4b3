// What IDEs say to a debugger, over MI and over DAP, in the order in which they say it: each ends where a user can go
// on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/gdbstub/small_dump.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;

struct MiTest : testing::Test {
  MiTest() : dump(write_small_dump(folder.path())), symbols(write_small_symbols(folder.path())) {}

  void start() {
    Process::Options options;
    options.pipe_stdin = options.merge_stderr = true;
    options.environment = {"LC_ALL=C", "TERM=dumb", "HOME=/nonexistent"};
    gdb.emplace(std::vector<std::string>{"gdb", "-nx", "-q", "--interpreter=mi"}, options);
    ASSERT_TRUE(gdb->wait_for_line(Process::Stream::out, "\\(gdb\\)"));
  }
  /// Sends a command and waits for a line.
  void says(const std::string& command, const std::string& answer) {
    ASSERT_TRUE(gdb->write_stdin(command + "\n"));
    ASSERT_TRUE(gdb->wait_for_line(Process::Stream::out, answer)) << command << "\n" << gdb->out();
  }

  TempDir folder;
  std::string dump, symbols;
  std::optional<Process> gdb;
};

/// The commands of Microsoft's C/C++ extension (cpptools, MIEngine) for "miDebuggerServerAddress".
TEST_F(MiTest, CpptoolsSessionStopsWhereverItWantsToGo) {
  start();
  int token = 1000;
  const auto done = [&](const std::string& command) {
    const std::string number = std::to_string(++token);
    says(number + command, "^" + number + "\\^(done|connected)");
  };
  for (const char* command : {"-gdb-set target-async on", "-gdb-set breakpoint pending on",
                              "-gdb-set solib-search-path \"\"", "-gdb-set stop-on-solib-events 1"})
    done(command);
  done("-file-exec-and-symbols " + symbols);
  done("-break-insert -f guest_loop");
  says("2000-target-select remote | " + program("gcore-serve") + " --stdio " + dump, "^2000\\^connected");
  done("-thread-info");
  done("-stack-list-frames --thread 1 0 20");
  // Each of these says that it runs, and then that it has stopped.
  for (const char* command : {"-exec-continue", "-exec-next", "-exec-step", "-exec-step-instruction",
                              "-exec-until *0xffffffff80008004", "-exec-continue"}) {
    const std::string number = std::to_string(++token);
    ASSERT_TRUE(gdb->write_stdin(number + command + "\n"));
    ASSERT_TRUE(gdb->wait_for_line(Process::Stream::out, "^" + number + "\\^running")) << command << gdb->out();
    ASSERT_TRUE(gdb->wait_for_line(Process::Stream::out, "^\\*stopped")) << command << gdb->out();
  }
  done("-stack-list-frames --thread 1 0 20");
  EXPECT_THAT(gdb->out(), HasSubstr("cannot run or step"));
  EXPECT_THAT(gdb->out(), testing::Not(HasSubstr("Cannot insert breakpoint")));
  ASSERT_TRUE(gdb->write_stdin("-gdb-exit\n"));
  EXPECT_TRUE(gdb->wait().has_value());
}

/// The commands of VS Code's "Native Debug" (code-debug) for a remote target: sent without waiting for one another.
TEST_F(MiTest, NativeDebugSessionShowsThreadsAndStops) {
  start();
  std::string all;
  const std::string commands[]{
      "gdb-set target-async on",
      "list-features",
      "environment-directory \"" + folder.path() + "\"",
      "target-select remote | " + program("gcore-serve") + " --stdio --symbols " + symbols + " " + dump,
      "interpreter-exec console \"monitor info\"",
      "break-insert -f \"guest_loop\""};
  int token = 100;
  for (const std::string& command : commands) all += std::to_string(++token) + "-" + command + "\n";
  ASSERT_TRUE(gdb->write_stdin(all));
  for (int number = 101; number <= token; ++number)
    ASSERT_TRUE(gdb->wait_for_line(Process::Stream::out, "^" + std::to_string(number) + "\\^(done|connected)"))
        << commands[number - 101] << "\n"
        << gdb->out();
  says("200-thread-info", "^200\\^done,.*vCPU 1 .*vCPU 0 ");
  says("201-stack-info-depth --thread 1 20", "^201\\^done");
  says("202-stack-list-frames --thread 1 0 19", "^202\\^done,.*guest_loop");
  says("203-stack-list-variables --thread 1 --frame 0 --simple-values", "^203\\^done");
  says("204-data-list-register-names", "^204\\^done,.*\"rip\"");
  says("205-data-list-register-values x", "^205\\^done");
  says("206-data-evaluate-expression --thread 1 --frame 0 $pc", "^206\\^done,.*guest_loop");
  says("207-exec-continue", "^207\\^running");
  ASSERT_TRUE(gdb->wait_for_line(Process::Stream::out, "^\\*stopped")) << gdb->out();
  says("208-target-detach", "^208\\^done");
  ASSERT_TRUE(gdb->write_stdin("209-gdb-exit\n"));
  EXPECT_TRUE(gdb->wait().has_value());
}

/// lldb-dap, as VS Code's LLDB extension starts it.
struct DapTest : testing::Test {
  DapTest() {
    const std::string dump = write_small_dump(folder.path()), symbols = write_small_symbols(folder.path());
    server.emplace(std::vector<std::string>{program("gcore-serve"), dump, "--listen", "127.0.0.1:0"});
    const auto line = server->wait_for_line(Process::Stream::err, "gcore-serve: listening on ");
    address = line ? line->substr(line->rfind(' ') + 1) : "";
    Process::Options options;
    options.pipe_stdin = options.merge_stderr = true;
    options.environment = {"LC_ALL=C", "TERM=dumb", "HOME=" + folder.path()};
    dap.emplace(std::vector<std::string>{"lldb-dap-19"}, options);
    says("initialize", R"({"adapterID":"lldb-dap","linesStartAt1":true,"columnsStartAt1":true,"pathFormat":"path"})",
         R"("command":"initialize".*"success":true)");
    // Without these lldb-dap 19 looks at the process before it is there.
    const std::string wait = "script lldb.debugger.SetAsync(False)", go_on = "script lldb.debugger.SetAsync(True)";
    request("attach", "{\"program\":\"" + symbols + "\",\"attachCommands\":[\"" + wait +
                          "\",\"target create --arch x86_64 " + symbols + "\",\"gdb-remote " + address + "\",\"" +
                          go_on + "\"],\"stopOnEntry\":true}");
    EXPECT_TRUE(dap->wait_for_line(Process::Stream::out, R"("event":"initialized")")) << dap->out();
  }

  void request(const std::string& command, const std::string& arguments) {
    const std::string body = "{\"type\":\"request\",\"seq\":" + std::to_string(++sequence) + ",\"command\":\"" +
                             command + "\",\"arguments\":" + arguments + "}";
    ASSERT_TRUE(dap->write_stdin("Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body));
  }
  void says(const std::string& command, const std::string& arguments, const std::string& answer) {
    request(command, arguments);
    ASSERT_TRUE(dap->wait_for_line(Process::Stream::out, answer)) << command << "\n" << dap->out();
  }

  TempDir folder;
  std::optional<Process> server, dap;
  std::string address;
  int sequence = 0;
};

TEST_F(DapTest, ASessionOfLldbDapStopsWhereverItWantsToGo) {
  says("setFunctionBreakpoints", R"({"breakpoints":[{"name":"guest_loop"}]})",
       R"("command":"setFunctionBreakpoints".*"success":true)");
  says("configurationDone", "{}", R"("command":"configurationDone".*"success":true)");
  says("threads", "{}", R"("vCPU 1 \[kernel, CPL 0\])");
  for (const char* command : {"continue", "next", "stepIn"}) {
    request(command, R"({"threadId":2})");
    ASSERT_TRUE(dap->wait_for_line(Process::Stream::out, R"("event":"stopped")")) << command << "\n" << dap->out();
  }
  says("stackTrace", R"({"threadId":2,"startFrame":0,"levels":20})", "guest_loop");
  says("disconnect", R"({"terminateDebuggee":false})", R"("command":"disconnect".*"success":true)");
}

}  // namespace
}  // namespace gcore::tests
