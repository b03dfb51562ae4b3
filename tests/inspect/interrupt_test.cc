// Long work on a terminal: it shows how far it is, and Ctrl-C ends it then and there, without a result.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <system_error>

#include "tests/inspect/sample.h"
#include "tests/support/paths.h"

namespace gcore::tests {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// A program on a terminal of its own; its standard output is a file.
class OnTerminal {
 public:
  OnTerminal(const std::string& directory, std::vector<std::string> argv, const std::string& out) {
    std::vector<char*> words;
    for (std::string& word : argv) words.push_back(word.data());
    words.push_back(nullptr);
    child_ = forkpty(&terminal_, nullptr, nullptr, nullptr);
    if (child_ < 0) throw std::system_error(errno, std::generic_category(), "forkpty");
    if (child_ == 0) {
      const int fd = open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
      if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || chdir(directory.c_str()) != 0) _exit(126);
      execv(words[0], words.data());
      _exit(127);
    }
  }
  OnTerminal(const OnTerminal&) = delete;
  OnTerminal& operator=(const OnTerminal&) = delete;
  ~OnTerminal() {
    if (child_ > 0) {
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
    }
    close(terminal_);
  }

  /// What the terminal shows up to and with `text`; or all, when the program ends before that.
  std::string read_until(const std::string& text) {
    std::string shown;
    while (shown.find(text) == std::string::npos) {
      pollfd ready{.fd = terminal_, .events = POLLIN, .revents = 0};
      char part[4096];
      if (poll(&ready, 1, 60000) <= 0) break;
      const ssize_t got = read(terminal_, part, sizeof part);
      if (got <= 0) break;  // EIO: nobody has the terminal any more
      shown.append(part, static_cast<size_t>(got));
    }
    return shown;
  }
  /// As if the user did it.
  void press_ctrl_c() { ASSERT_EQ(write(terminal_, "\x03", 1), 1); }
  ExitStatus wait() {
    char part[4096];
    while (read(terminal_, part, sizeof part) > 0) continue;  // a full terminal would stop the program
    int status = 0;
    waitpid(std::exchange(child_, -1), &status, 0);
    return WIFSIGNALED(status) ? ExitStatus{-1, WTERMSIG(status)} : ExitStatus{WEXITSTATUS(status), 0};
  }

 private:
  pid_t child_;
  int terminal_ = -1;
};

constexpr uint64_t kPiece = 64 << 20, kPieces = 1024, kOffset = 1 << 20;

/// 64 GiB of guest memory, all of it the same 64 MiB of the file: long work that needs no room.
void write_large_dump(const std::string& path, char filling) {
  DumpBuilder dump;
  dump.note(sample_note().build());
  for (uint64_t i = 0; i < kPieces; ++i)
    dump.header({.offset = kOffset, .address = i * kPiece, .file_size = kPiece, .memory_size = kPiece});
  dump.write(path);
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(kOffset);
  std::string page(4096, filling);
  for (uint64_t at = 0; at < kPiece; at += page.size()) {
    page[0] = static_cast<char>(at >> 12);
    file.write(page.data(), static_cast<std::streamsize>(page.size()));
  }
  file.flush();
  if (!file) throw std::runtime_error("cannot write " + path);
}

struct Work {
  const char* name;
  std::vector<std::string> arguments;
};
void PrintTo(const Work& work, std::ostream* out) { *out << work.name; }

class LongWork : public testing::TestWithParam<Work> {};

TEST_P(LongWork, ShowsProgressAndEndsAtCtrlC) {
  const TempDir folder, outside;
  write_large_dump(folder.path("large.gcore"), 'l');
  write_large_dump(folder.path("other.gcore"), 'o');
  std::vector<std::string> argv{program("gcore-inspect"), "large.gcore"};
  argv.insert(argv.end(), GetParam().arguments.begin(), GetParam().arguments.end());
  OnTerminal inspect(folder.path(), argv, outside.path("out"));
  EXPECT_THAT(inspect.read_until(" % of 64.0 GiB"), HasSubstr(" % of 64.0 GiB"));
  inspect.press_ctrl_c();
  EXPECT_EQ(inspect.wait(), (ExitStatus{-1, SIGINT}));
  EXPECT_EQ(read_file(outside.path("out")), "");
  auto left = folder.entries();
  std::ranges::sort(left);
  EXPECT_THAT(left, ElementsAre("large.gcore", "other.gcore"));
}

INSTANTIATE_TEST_SUITE_P(Modes, LongWork,
                         testing::Values(Work{"find", {"--find", "nowhere to be found"}}, Work{"stats", {"--stats"}},
                                         Work{"stats_json", {"--json", "--stats"}}, Work{"html", {"--html", "x.html"}},
                                         Work{"diff", {"--diff", "other.gcore"}},
                                         Work{"diff_html", {"--diff", "other.gcore", "--html", "x.html"}}),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace gcore::tests
