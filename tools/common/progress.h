// How far long work is: a line on standard error.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

#include "tools/common/program.h"

namespace gcore::tools {

/// Is a progress line wanted: standard error is a terminal, or --progress was given. `results_meanwhile`: the work
/// prints results while it runs, which on a terminal would get between the line's redraws; then only --progress counts
/// there.
bool progress_wanted(const Program& program, bool results_meanwhile = false);

/// "NAME: WHAT: 35 % of 4.0 GiB, 1.9 GiB/s". Nothing is shown of work that ends within half a second, unless standard
/// error is no terminal (where --progress asked for it: there, each line stays, one a second, and the last one always).
class Progress {
 public:
  /// `total`: bytes of work; 0 when that is unknown.
  Progress(const Program& program, std::string what, uint64_t total, bool wanted);
  /// Takes the line away again.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// So many bytes more are done. Any thread may call it, often.
  void add(uint64_t bytes);

 private:
  using Clock = std::chrono::steady_clock;
  void draw(uint64_t done);

  const std::string heading_;
  const uint64_t total_;
  const bool wanted_, terminal_;
  const Clock::time_point start_;
  std::atomic<uint64_t> done_ = 0;
  std::atomic<Clock::rep> next_draw_;
  std::mutex drawing_;
  bool drawn_ = false;
};

}  // namespace gcore::tools
