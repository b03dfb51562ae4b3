// The guest's console: what each vCPU prints comes out a line at a time, so that lines of different vCPUs do not mix.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace gcore::tools::vmm {

class Console {
 public:
  /// Writes to `fd`, which is borrowed. A reader that went away is no error: the guest goes on unheard.
  /// `raw`: all vCPUs share it, and a character comes out as it is put, lines or not: a serial port with a shell.
  Console(int fd, size_t cpus, bool raw = false) : fd_(fd), raw_(raw), lines_(cpus) {}
  ~Console() { flush(); }
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  /// From any thread. NUL is ignored; a line is cut at 4000 bytes. Waits for a reader that is slow.
  void put(size_t cpu, char c);
  /// While on, a line that the reader does not take at once is dropped, and no one waits: pausing or ending the VM must
  /// not depend on who reads its console. From any thread; calls pair up.
  void hurry(bool on) { hurry_ += on ? 1 : -1; }
  /// Unfinished lines too.
  void flush();
  uint64_t lines() const;

 private:
  void write_line(std::string& line);
  void write_out(std::string_view text);

  int fd_;
  const bool raw_;
  std::atomic<int> hurry_ = 0;
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
  uint64_t count_ = 0;
};

}  // namespace gcore::tools::vmm
