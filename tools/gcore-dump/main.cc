// gcore-dump [options] DIRECTORY | '|COMMAND': dumps a guest that QEMU runs, over its QMP socket.
#include "reader/source/remote/upload.h"
#include "tools/common/built_with.h"
#include "tools/common/dump_limits.h"
#include "tools/gcore-dump/watch.h"

namespace gcore::tools::qemu {
namespace {

ProgramInfo program_info() {
  ProgramInfo info{
      .name = "gcore-dump",
      .usage = "--qmp SOCKET [options] DIRECTORY | s3://BUCKET/PREFIX/ | '|COMMAND'",
      .description =
          "Dumps the guest that a running QEMU has: into a file in DIRECTORY, into an object of S3, or into the\n"
          "standard input of a shell command. The guest is paused meanwhile, and goes on if it ran. Prints the dump's "
          "path.",
      .options =
          {
              {"qmp", "SOCKET",
               "QEMU's QMP socket (-qmp unix:SOCKET,server=on,wait=off), a\npath or tcp:HOST:PORT; required"},
              {"system", "NAME", "file name prefix (default: QEMU's -name, else qvm-guest)"},
              {"watch", "", "stay: dump on SIGUSR2, on the guest's WATCHDOG and on\nGUEST_PANICKED"},
              {"dialect", "qnx|vmcore", "layout of the notes (default: qnx); vmcore is for crash,\ndrgn and gdb"},
              {"compress", "none|gzip|zstd", "default: none; the file name gets .gz or .zst"},
              {"pid-file", "FILE", "write the process id there once connected; removed at the\nend"},
              {"live", "[=try]",
               "the guest goes on while its memory is copied; where that\ncannot be: fail (=try: pause it)",
               [](std::string_view) { return false; }},
              {"aside", "SIZE",
               "most memory for copies of the guest's, so that it goes on\nbefore all of it is written (default: a "
               "quarter of what the\nhost has available; 0: none)"},
              {"set-action", "",
               "with --watch: have QEMU pause a guest that panics or whose\nwatchdog expires, so that it can be "
               "dumped"},
              {"log-format", "text|json", "what is said on standard error (default: text)"},
              {"reconnect", "", "with --watch: wait for QEMU, and when it ends for the\nnext one"},
              {"keep", "N",
               "leave the newest N dumps of this guest in DIRECTORY, and N\npartial ones, and remove the others"},
              {"no-sign-request", "", "to s3:// without credentials, where everybody may write"},
              {"timing", "", "say on standard error what the guest's pause consisted of"},
          },
      .min_operands = 1,
      .max_operands = 1,
      .operands_missing = "where to? Give a directory or '|COMMAND'",
      .epilogue =
          "For --watch start QEMU with -action panic=pause,watchdog=pause, or give --set-action, or the guest may be\n"
          "gone before it is dumped. Exit status: 0 done, 1 failed, 2 wrong usage.\n\n"
          "  gcore-dump --qmp /run/vm1.qmp /var/dumps\n"
          "  gcore-dump --qmp /run/vm1.qmp --dialect vmcore --compress zstd '|ssh host \"cat > vm1.zst\"'\n"
          "  gcore-dump --qmp /run/vm1.qmp --watch --pid-file /run/vm1.pid --keep 5 /var/dumps",
      .built_with = libraries_of_reader(),
  };
  for (Option& option : dump_limit_options()) info.options.push_back(std::move(option));
  return info;
}

std::expected<void, std::string> parse_limits(const Program& program, writer::Options& options) {
  options.pause_deadline = kDefaultPauseDeadline;
  if (const auto text = program.value("deadline")) {
    const auto deadline = parse_seconds(*text);
    if (!deadline) return std::unexpected("--deadline: " + deadline.error());
    options.pause_deadline = *deadline;
  }
  if (const auto text = program.value("rate")) {
    const auto rate = parse_size(*text);
    if (!rate) return std::unexpected("--rate: " + rate.error());
    options.bytes_per_second = *rate;
  }
  options.keep_partial = program.has("keep-partial");
  options.sync = !program.has("no-sync");
  return {};
}

std::expected<void, std::string> parse_dialect(const Program& program, Settings& settings) {
  const std::string dialect = program.value("dialect").value_or("qnx");
  if (dialect != "qnx" && dialect != "vmcore")
    return std::unexpected("--dialect is qnx or vmcore, not \"" + dialect + "\"");
  settings.dump.dialect = dialect == "qnx" ? writer::Dialect::qnx : writer::Dialect::vmcore;
  const std::string compress = program.value("compress").value_or("none");
  if (compress == "none") {
    settings.dump.compression = writer::Compression::none;
  } else if (compress == "gzip" || compress == "zstd") {
    settings.dump.compression = compress == "gzip" ? writer::Compression::gzip : writer::Compression::zstd;
    if (!writer::is_supported(settings.dump.compression))
      return std::unexpected("this gcore-dump was built without " + compress);
  } else {
    return std::unexpected("--compress is none, gzip or zstd, not \"" + compress + "\"");
  }
  return {};
}

/// s3://BUCKET/PREFIX/, where each dump becomes an object.
std::expected<void, std::string> parse_upload(const Program& program, Settings& settings) {
  settings.upload_to = settings.dump.target;
  if (!settings.upload_to.ends_with('/')) settings.upload_to += '/';
  if (const auto place = reader::parse_s3_url(settings.upload_to, true); !place)
    return std::unexpected(reader::shown_url(settings.dump.target) + ": " + place.error());
  settings.upload.anonymous = program.has("no-sign-request");
  settings.upload.if_there = "there is a dump of that name already";
  settings.dump.target = "|" + settings.upload_to;
  return {};
}

std::expected<Settings, std::string> parse(const Program& program) {
  Settings settings;
  const auto socket = program.value("qmp");
  if (!socket) return std::unexpected("which guest? Give QEMU's QMP socket with --qmp");
  settings.socket = *socket;
  settings.system = program.value("system");
  if (auto parsed = parse_dialect(program, settings); !parsed) return std::unexpected(parsed.error());
  if (auto parsed = parse_limits(program, settings.dump); !parsed) return std::unexpected(parsed.error());
  settings.timing = program.has("timing");
  settings.pid_file = program.value("pid-file").value_or("");
  if (program.has("live")) {
    const auto how = program.value("live");
    if (how && *how != "try") return std::unexpected("--live takes nothing or =try, not \"" + *how + "\"");
    settings.live = how ? Live::if_possible : Live::always;
  }
  settings.dump.aside_memory = UINT64_MAX;
  if (const auto text = program.value("aside")) {
    const auto size = parse_size(*text);
    if (!size) return std::unexpected("--aside: " + size.error());
    settings.dump.aside_memory = *size;
  }
  settings.stays = program.has("watch");
  settings.reconnect = program.has("reconnect");
  settings.set_action = program.has("set-action");
  for (const char* option : {"reconnect", "set-action"})
    if (program.has(option) && !settings.stays) return std::unexpected("--" + std::string(option) + " needs --watch");
  const std::string format = program.value("log-format").value_or("text");
  if (format != "text" && format != "json")
    return std::unexpected("--log-format is text or json, not \"" + format + "\"");
  if (format == "json") settings.log = Log::Format::json;
  if (const auto keep = program.value("keep")) {
    const auto number = parse_number(*keep);
    if (!number) return std::unexpected("--keep: " + number.error());
    if (*number == 0) return std::unexpected("--keep 0 would remove the dump that was just written");
    settings.keep = *number;
  }
  settings.dump.target = program.operands().front();
  if (reader::is_url(settings.dump.target)) {
    if (auto parsed = parse_upload(program, settings); !parsed) return std::unexpected(parsed.error());
  }
  if (settings.dump.target.starts_with('|')) {
    if (settings.dump.target.find_first_not_of("| \t") == std::string::npos)
      return std::unexpected("there is no command after the pipe sign");
    for (const auto& [option, given] :
         {std::pair("--keep", settings.keep > 0), std::pair("--keep-partial", settings.dump.keep_partial),
          std::pair("--no-sync", !settings.dump.sync)})
      if (given)
        return std::unexpected(std::string(option) + " is about a directory, and the dump goes to " +
                               (settings.upload_to.empty() ? "a command" : settings.upload_to));
  }
  if (settings.dump.keep_partial && settings.dump.compression != writer::Compression::none)
    return std::unexpected("--keep-partial is for uncompressed dumps: what is left of a compressed one cannot be read");
  settings.dump.program = "gcore-dump " GCORE_VERSION;
  return settings;
}

int run(Program& program) {
  const auto settings = parse(program);
  if (!settings) return program.usage_error(settings.error());
  std::string notice;  // said before the guest is touched
  if (const writer::Status usable = writer::prepare_target(settings->dump, notice); !usable)
    return program.fail("preparing the dump", usable.text());
  // Whoever has no credentials is told so before the guest is touched.
  if (!settings->upload_to.empty())
    if (const auto usable = reader::Upload::prepare(settings->upload_to + "dump", settings->upload); !usable)
      return program.fail("preparing the dump", printable(usable.error().text));
  if (!notice.empty()) Log(program, settings->log).note(notice);
  block_signals();
  return settings->stays ? watch(program, *settings) : dump_once(program, *settings);
}

}  // namespace
}  // namespace gcore::tools::qemu

int main(int argc, char** argv) {
  return gcore::tools::run_program(gcore::tools::qemu::program_info(), argc, argv, gcore::tools::qemu::run);
}
