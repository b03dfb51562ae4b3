// gcore-convert IN OUT: the same memory and registers, in another dialect or compression.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "tools/common/built_with.h"
#include "tools/common/names.h"
#include "tools/common/open_dump.h"
#include "tools/common/program.h"
#include "tools/common/upload_pipe.h"
#include "tools/gcore-convert/dump_guest.h"
#include "tools/gcore-convert/write.h"
#include "writer/unique_fd.h"

namespace gcore::tools::convert {
namespace {

ProgramInfo program_info() {
  return {
      .name = "gcore-convert",
      .usage = "IN OUT [options]",
      .description =
          "Writes the memory and the registers of the dump IN into the new dump OUT. IN may be of either dialect\n"
          "and compressed, https://..., s3://BUCKET/KEY, or - for standard input; OUT may be s3://BUCKET/KEY. What\n"
          "OUT's dialect has no place for is named.",
      .options =
          {
              {"dialect", "qnx|vmcore",
               "of OUT; vmcore is for crash, drgn and gdb (default: the one\nthat IN is not; with --compress alone, "
               "that of IN)"},
              {"compress", "none|gzip|zstd", "default: none"},
              {"pids", "vcpus|tasks",
               "of the vmcore dialect: what the notes number vCPUs by (default:\nvcpus, as QEMU does; tasks is for "
               "drgn "
               "before 0.0.27)"},
              {"range", "ADDRESS:SIZE", "only this guest-physical memory, in whole pages; may be given more than once",
               nullptr, true},
              kRawMemory,
              kMemoryMap,
              kDownload,
              kNoSignRequest,
              {"force", "", "replace OUT if it exists"},
              {"progress", "", "show how far it is, also when standard error is no\nterminal"},
          },
      .min_operands = 2,
      .max_operands = 2,
      .operands_missing = "which dump, and where to? Give IN and OUT",
      .epilogue =
          "OUT appears when it is complete. Exit status: 0 done, 1 failed, 2 wrong usage.\n\n"
          "  gcore-convert vm-20261123-020000.gcore vm.vmcore --dialect vmcore\n"
          "  gcore-convert vm.vmcore vm.gcore.zst --dialect qnx --compress zstd",
      .built_with = libraries_of_reader(),
  };
}

/// What the command line asks for.
struct Settings {
  std::string in, out;
  std::optional<writer::Dialect> dialect;
  writer::Compression compression = writer::Compression::none;
  bool force = false;
  bool pids_of_tasks = false;
  std::vector<ChosenRange> ranges;  // ascending, apart from each other; empty: all memory
};

/// "0x100000:64K" as the whole pages that have any of it.
std::expected<ChosenRange, std::string> parse_range(const std::string& text) {
  constexpr uint64_t kPage = 4096;
  const auto wrong = [&](const std::string& why) {
    return std::unexpected("--range is ADDRESS:SIZE, such as 0x100000:64K, not \"" + text + "\": " + why);
  };
  const size_t colon = text.find(':');
  if (colon == std::string::npos) return wrong("there is no colon");
  const auto address = parse_number(text.substr(0, colon)), size = parse_size(text.substr(colon + 1));
  if (!address) return wrong(address.error());
  if (!size) return wrong(size.error());
  if (*size == 0) return wrong("it is empty");
  if (*size - 1 > UINT64_MAX - *address) return wrong("it ends past the last address");
  return ChosenRange{*address & ~(kPage - 1), (*address + (*size - 1)) | (kPage - 1)};
}

std::expected<std::vector<ChosenRange>, std::string> parse_ranges(const std::vector<std::string>& texts) {
  std::vector<ChosenRange> all, merged;
  for (const std::string& text : texts) {
    const auto range = parse_range(text);
    if (!range) return std::unexpected(range.error());
    all.push_back(*range);
  }
  std::ranges::sort(all, {}, &ChosenRange::first);
  for (const ChosenRange& range : all) {
    if (!merged.empty() && (range.first <= merged.back().last || range.first - 1 == merged.back().last)) {
      merged.back().last = std::max(merged.back().last, range.last);
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

std::expected<Settings, std::string> parse(const Program& program) {
  Settings settings;
  settings.in = program.operands()[0];
  settings.out = program.operands()[1];
  settings.force = program.has("force");
  if (const auto dialect = program.value("dialect")) {
    if (*dialect != "qnx" && *dialect != "vmcore")
      return std::unexpected("--dialect is qnx or vmcore, not \"" + *dialect + "\"");
    settings.dialect = *dialect == "qnx" ? writer::Dialect::qnx : writer::Dialect::vmcore;
  }
  const std::string pids = program.value("pids").value_or("vcpus");
  if (pids != "vcpus" && pids != "tasks") return std::unexpected("--pids is vcpus or tasks, not \"" + pids + "\"");
  settings.pids_of_tasks = pids == "tasks";
  const std::string compress = program.value("compress").value_or("none");
  if (compress == "gzip" || compress == "zstd") {
    settings.compression = compress == "gzip" ? writer::Compression::gzip : writer::Compression::zstd;
    if (!writer::is_supported(settings.compression))
      return std::unexpected("this gcore-convert was built without " + compress);
  } else if (compress != "none") {
    return std::unexpected("--compress is none, gzip or zstd, not \"" + compress + "\"");
  }
  auto ranges = parse_ranges(program.values("range"));
  if (!ranges) return std::unexpected(ranges.error());
  settings.ranges = std::move(*ranges);
  const size_t slash = settings.out.rfind('/');
  if (settings.out.empty() || slash + 1 == settings.out.size())
    return std::unexpected("OUT is a file, not \"" + reader::shown_url(settings.out) + "\"");
  if (settings.out == "-" || settings.out.starts_with('|'))
    return std::unexpected("OUT is a file, not standard output or a command; one of that name is ./" + settings.out);
  return settings;
}

/// Whether the memory of the dump can be read from its own file: only a regular file has holes and is at the same place
/// each time it is read.
bool is_plain_file(const reader::Dump& dump, int fd) {
  struct stat facts;
  return fd >= 0 && dump.compression() == "none" && dump.has_file_offsets() && fstat(fd, &facts) == 0 &&
         S_ISREG(facts.st_mode);
}

bool is_in_itself(const Settings& settings, int in) {
  struct stat a, b;
  return fstat(in, &a) == 0 && lstat(settings.out.c_str(), &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

std::string would_lose(const Settings& settings, const std::string& what) {
  return settings.out + " is IN itself, and would lose " + what + "; give OUT another name";
}

std::string repairable(const std::string& defect) { return "what can be repaired of it (" + defect + ")"; }

/// Why OUT, which is IN, is not replaced: what it would then have less of. "" when nothing is against it.
std::string less_than_itself(const Settings& settings, const reader::Dump& dump, const std::vector<std::string>& lost) {
  const std::string what = !lost.empty()              ? lost.front()
                           : !settings.ranges.empty() ? "memory outside of --range"
                           : !dump.damage().empty()   ? repairable(dump.damage().front())
                                                      : "";
  return what.empty() ? "" : would_lose(settings, what);
}

writer::Options writer_options(const Settings& settings, writer::Dialect dialect, const DumpGuest& guest,
                               const reader::Dump& dump) {
  writer::Options options;
  const size_t slash = settings.out.rfind('/');
  options.target = slash == std::string::npos ? "." : slash == 0 ? "/" : settings.out.substr(0, slash);
  if (options.target.starts_with('|')) options.target.insert(0, "./");
  options.file_name = settings.out.substr(slash + 1);
  options.replace = settings.force;
  options.dialect = dialect;
  options.compression = settings.compression;
  options.earlier = guest.taken();
  options.program = "gcore-convert " GCORE_VERSION;
  const std::string by = guest.program().empty() ? "" : " by " + guest.program();
  const std::string cut = dump.truncated() ? " that was cut off" : "";
  if (!by.empty() || !cut.empty()) options.program += " (from a dump" + by + cut + ")";
  return options;
}

/// By default the other dialect; but whoever only wants to compress a dump keeps what it is.
writer::Dialect choose_dialect(const Settings& settings, const reader::Dump& dump) {
  if (settings.dialect) return *settings.dialect;
  const bool is_qnx = dump.dialect() == reader::Dialect::qnx;
  const bool want_qnx = settings.compression == writer::Compression::none ? !is_qnx : is_qnx;
  return want_qnx ? writer::Dialect::qnx : writer::Dialect::vmcore;
}

/// Why OUT cannot be written; "" when nothing is against it. A device (/dev/null) or a pipe is never replaced by a
/// file.
std::string trouble_with(const Settings& settings) {
  struct stat facts;
  if (reader::is_url(settings.out)) return "";
  if (lstat(settings.out.c_str(), &facts) != 0) return "";
  if (S_ISDIR(facts.st_mode)) return settings.out + " is a directory";
  const bool is_link = S_ISLNK(facts.st_mode);
  if (!is_link || stat(settings.out.c_str(), &facts) == 0)
    if (!S_ISREG(facts.st_mode))
      return settings.out + (is_link ? " leads to something that is no regular file" : " is no regular file") +
             ", and is not replaced by one";
  return settings.force ? "" : settings.out + " exists; --force replaces it";
}

int run(Program& program) {
  const auto settings = parse(program);
  if (!settings) return program.usage_error(settings.error());
  const std::string in_name = reader::shown_url(settings->in);
  const std::string attempted = "convert " + in_name + " to " + settings->out;
  if (const std::string trouble = trouble_with(*settings); !trouble.empty()) return program.fail(attempted, trouble);
  std::unique_ptr<UploadPipe> upload;
  if (reader::is_url(settings->out)) {
    auto prepared = reader::Upload::prepare(
        settings->out, {.replace = settings->force, .anonymous = program.has(kNoSignRequest.name)});
    if (!prepared) return program.fail(printable(prepared.error().text));
    upload = std::make_unique<UploadPipe>(std::move(*prepared));
  }
  // The file is opened once: whatever has its name later on is not what is converted.
  const writer::UniqueFd in(
      settings->in == "-" || reader::is_url(settings->in) ? -1 : open(settings->in.c_str(), O_RDONLY | O_CLOEXEC));
  const auto dump = open_dump(program, settings->in, in.get());
  if (!dump && dump.error().kind == reader::Error::Kind::usage) return fail_to_open(program, dump.error());
  if (!dump) return program.fail(attempted, dump.error().text);
  const writer::Dialect dialect = choose_dialect(*settings, **dump);
  if (dialect == writer::Dialect::vmcore && (*dump)->machine() == format::Machine::x86)
    return program.fail(attempted, "the vmcore dialect is for x86_64 and aarch64; this dump is of a 32-bit x86");

  DumpGuest guest(**dump, is_plain_file(**dump, in.get()) ? in.get() : -1, settings->ranges);
  if (guest.memory().empty() && !settings->ranges.empty())
    return program.fail(attempted, "the dump has no memory in the range of --range");
  const auto lost = losses(**dump, dialect);
  if (!lost) return program.fail(attempted, lost.error().text);
  const bool replaces_itself = is_in_itself(*settings, in.get());
  if (const std::string why = replaces_itself ? less_than_itself(*settings, **dump, *lost) : ""; !why.empty())
    return program.fail(attempted, why);
  if (dialect == writer::Dialect::vmcore && settings->pids_of_tasks) guest.find_running_threads();
  writer::Options options = writer_options(*settings, dialect, guest, **dump);
  if (upload) {
    options.target = "|" + upload->name();
    options.open_pipe = [&](const std::string&) { return upload->open(); };
  }
  const writer::Result result =
      write_dump(program, guest, options, {.upload = upload.get(), .damage_ends_it = replaces_itself});
  if (const std::string trouble = (*dump)->trouble(); !trouble.empty()) return program.fail(attempted, trouble);
  const std::vector<std::string> found = guest.found_meanwhile();
  if (replaces_itself && !found.empty()) return program.fail(attempted, would_lose(*settings, repairable(found[0])));
  if (!result.status) return program.fail(attempted, result.status.text());
  for (const std::string& note : guest.notes()) program.note(note);
  if (const uint64_t missing = result.pages.missing)
    program.note((missing == 1 ? "1 page of memory is" : std::to_string(missing) + " pages of memory are") +
                 " not in " + in_name + ((*dump)->truncated() ? ", which is cut off," : "") +
                 " and marked as missing in " + settings->out);
  for (const std::string& what : *lost)
    program.note(not_carried_over(dialect == writer::Dialect::qnx ? "qnx" : "vmcore", what));
  for (const std::string& notice : (*dump)->notices()) program.note("in " + in_name + ": " + notice);
  std::vector<std::string> damage = (*dump)->damage();
  damage.insert(damage.end(), found.begin(), found.end());
  if (damage.empty()) return kExitDone;
  for (const std::string& what : damage) program.note("in " + in_name + ": " + what);
  return program.fail(attempted, settings->out + " is written, but of a damaged dump, as it says itself");
}

}  // namespace
}  // namespace gcore::tools::convert

int main(int argc, char** argv) {
  return gcore::tools::run_program(gcore::tools::convert::program_info(), argc, argv, gcore::tools::convert::run);
}
