// gcore-dump as its users run it, and machines for it to dump.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "reader/dump/dump.h"
#include "tests/dump/bare_machine.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"

namespace gcore::tests {

constexpr char kX86[] = "qemu-system-x86_64";
constexpr ExitStatus kDone{0, 0}, kFailed{1, 0}, kUsage{2, 0};

inline Completed gcore_dump(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), program("gcore-dump"));
  return run(std::move(arguments));
}

/// By somebody who may not look into QEMU's process: QEMU has to copy what is private to it.
inline Completed untraced_gcore_dump(std::vector<std::string> arguments) {
  const std::vector<std::string> without{"setpriv", "--bounding-set", "-sys_ptrace", program("gcore-dump")};
  arguments.insert(arguments.begin(), without.begin(), without.end());
  return run(std::move(arguments));
}

inline std::string line(const std::string& text) { return text.substr(0, text.find('\n')); }

inline std::unique_ptr<reader::Dump> open_dump(const std::string& path) {
  auto dump = reader::Dump::open(path);
  if (!dump) throw std::runtime_error(dump.error().text);
  return std::move(*dump);
}

// mov dx, 0x505; mov al, 1; out dx, al; hlt; jmp $-1: tells pvpanic that the guest has panicked.
inline const std::string kPanic("\xba\x05\x05\xb0\x01\xee\xf4\xeb\xfd", 9);
// mov dx, 0x443; mov al, 0xf; out dx, al; hlt; jmp $-1: has the ib700 watchdog expire at once.
inline const std::string kWatchdog("\xba\x43\x04\xb0\x0f\xee\xf4\xeb\xfd", 9);
// jmp $
inline const std::string kLoop("\xeb\xfe", 2);

inline const std::vector<std::string> kShared{
    "-machine", "q35,memory-backend=mem",
    "-m",       "64M",
    "-object",  "memory-backend-file,id=mem,size=64M,mem-path=FOLDER/ram,share=on"};

inline std::vector<std::string> with(std::vector<std::string> arguments, std::initializer_list<std::string> more) {
  arguments.insert(arguments.end(), more);
  return arguments;
}

/// gcore-dump --watch for a machine, past the line that says so.
inline Process watch(const std::string& socket, std::vector<std::string> more) {
  std::vector<std::string> argv{program("gcore-dump"), "--qmp", socket, "--watch"};
  argv.insert(argv.end(), more.begin(), more.end());
  Process watcher(argv);
  if (!watcher.wait_for_line(Process::Stream::err, "watching"))
    throw std::runtime_error("no watcher: " + watcher.err());
  return watcher;
}

}  // namespace gcore::tests
