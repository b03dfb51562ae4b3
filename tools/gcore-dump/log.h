// What gcore-dump says on standard error: lines for people, or a JSON object a line.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "tools/common/program.h"
#include "writer/dump.h"

namespace gcore::tools::qemu {

/// From any thread. As JSON every line is an object with `time` (UTC, RFC 3339), `event` and what belongs to that:
///
///     "note"   text
///     "error"  attempted, why
///     "dump"   path, reason {kind, detail}, bytes, pause_ns, duration_ns
class Log {
 public:
  enum class Format : uint8_t { text, json };

  Log(Program& program, Format format) : program_(program), format_(format) {}

  void note(std::string_view text) const;
  /// Returns kExitFailed.
  int fail(std::string_view attempted, std::string_view why) const;
  /// A dump is written. `duration`: since it was asked for.
  void dumped(const writer::Result& result, const writer::Reason& reason, std::chrono::nanoseconds duration) const;

  Format format() const { return format_; }

 private:
  Program& program_;
  Format format_;
};

/// "12.3": to a tenth of a millisecond.
std::string milliseconds(std::chrono::nanoseconds time);

}  // namespace gcore::tools::qemu
