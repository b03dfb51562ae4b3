#include "tools/gcore-dump/log.h"

#include <llvm/Support/JSON.h>

#include <cstdio>
#include <ctime>
#include <utility>

namespace gcore::tools::qemu {
namespace {

namespace json = llvm::json;

std::string text_of(std::string_view bytes) { return json::fixUTF8(llvm::StringRef(bytes.data(), bytes.size())); }

std::string now() {
  timespec time{};
  clock_gettime(CLOCK_REALTIME, &time);
  tm parts{};
  gmtime_r(&time.tv_sec, &parts);
  char text[40], whole[64];
  (void)std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(whole, sizeof whole, "%s.%03ldZ", text, time.tv_nsec / 1'000'000);
  return whole;
}

void print(const char* event, json::Object facts) {
  json::Object line{{"time", now()}, {"event", event}};
  for (auto& [name, value] : facts) line[name] = std::move(value);
  std::string text;
  llvm::raw_string_ostream(text) << json::Value(std::move(line));
  std::fprintf(stderr, "%s\n", text.c_str());
}

const char* kind_name(writer::Reason::Kind kind) {
  switch (kind) {
    case writer::Reason::Kind::api:
      return "api";
    case writer::Reason::Kind::signal:
      return "signal";
    case writer::Reason::Kind::watchdog:
      return "watchdog";
    case writer::Reason::Kind::panic:
      return "panic";
  }
  return "unknown";
}

}  // namespace

std::string milliseconds(std::chrono::nanoseconds time) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", static_cast<double>(time.count()) / 1e6);
  return text;
}

void Log::note(std::string_view text) const {
  if (format_ == Format::text) return program_.note(text);
  print("note", json::Object{{"text", text_of(text)}});
}

int Log::fail(std::string_view attempted, std::string_view why) const {
  if (format_ == Format::text) return program_.fail(attempted, why);
  print("error", json::Object{{"attempted", text_of(attempted)}, {"why", text_of(why)}});
  return kExitFailed;
}

void Log::dumped(const writer::Result& result, const writer::Reason& reason, std::chrono::nanoseconds duration) const {
  if (format_ == Format::text)
    return program_.note("dumped for " + printable(reason.detail) + ": " + printable(result.path) + " (" +
                         std::to_string(result.bytes) + " bytes, guest paused " + milliseconds(result.paused) +
                         " ms, done in " + milliseconds(duration) + " ms)");
  print("dump",
        json::Object{{"path", text_of(result.path)},
                     {"reason", json::Object{{"kind", kind_name(reason.kind)}, {"detail", text_of(reason.detail)}}},
                     {"bytes", static_cast<int64_t>(result.bytes)},
                     {"pause_ns", static_cast<int64_t>(result.paused.count())},
                     {"duration_ns", static_cast<int64_t>(duration.count())}});
}

}  // namespace gcore::tools::qemu
