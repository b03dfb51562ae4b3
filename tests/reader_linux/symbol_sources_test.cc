// --symbols with what else than a vmlinux has names: a module with and without debug information, files of debug
// information, folders, a System.map. The module is that of tests/guests/module; its source says which lines are right.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <random>
#include <sstream>

#include "reader/guest/guest.h"
#include "reader/guest/linux/kernel.h"
#include "reader/guest/linux/symbols/place_module.h"
#include "tests/reader_linux/guests.h"
#include "tests/reader_linux/kallsyms.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/regex.h"
#include "tests/support/temp_dir.h"
#include "tests/support/trouble_guest.h"

namespace gcore::tests {
namespace {

namespace fs = std::filesystem;

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// The line of the module's source that has this text, after the start of that function.
std::string line_of(const std::string& function, const std::string& text) {
  std::istringstream source(read_file(source_dir() + "/tests/guests/module/trouble.c"));
  bool inside = false;
  int number = 0;
  for (std::string line; std::getline(source, line);) {
    ++number;
    if (line.find(" " + function + "(") != std::string::npos) inside = true;
    if (inside && line.find(text) != std::string::npos) return "trouble.c:" + std::to_string(number);
  }
  throw std::runtime_error("no " + text + " in " + function);
}

class ModuleFile : public testing::TestWithParam<const char*> {
 protected:
  static void run_tool(std::vector<std::string> argv) {
    const Completed done = run(std::move(argv), 60s);
    if (done.status != ExitStatus{0, 0}) throw std::runtime_error(done.err);
  }
  static void objcopy(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "llvm-objcopy-19");
    run_tool(std::move(arguments));
  }

  std::string built() const { return guests_dir() + "/linux-" + GetParam() + "/trouble.ko"; }
  /// The module without debug information, which is in NAME.debug, and a link to that.
  std::string split(const std::string& folder) const {
    fs::create_directories(folder);
    const std::string file = folder + "/trouble.ko", debug = file + ".debug";
    objcopy({"--only-keep-debug", built(), debug});
    objcopy({"--strip-debug", built(), file});
    objcopy({"--add-gnu-debuglink=" + debug, file});
    return file;
  }
  Completed stacks(const std::vector<std::string>& symbols) const {
    std::vector<std::string> argv{program("gcore-inspect"), dump_, "--backtrace", "--task", "blocked"};
    for (const std::string& path : symbols) argv.insert(argv.end(), {"--symbols", path});
    return run(std::move(argv), 120s);
  }
  static auto has_lines() {
    return AllOf(
        HasSubstr("trouble_first_then_second at " +
                  line_of("trouble_first_then_second", "mutex_lock(&trouble_second)")),
        HasSubstr("trouble_second_then_first at " + line_of("trouble_second_then_first", "mutex_lock(&trouble_first)")),
        HasSubstr("trouble_wants_first at " + line_of("trouble_wants_first", "mutex_lock(&trouble_first)")));
  }

  const std::string dump_ = trouble_guest(GetParam(), "").dump("mutex");
  TempDir folder_;
};

std::string fixed(std::string text) {  // the source's path is that of the place where it was built
  for (size_t at = 0; (at = text.find(" at ", at)) != std::string::npos; at += 4) {
    const size_t slash = text.rfind('/', text.find('\n', at));
    if (slash != std::string::npos && slash > at) text.erase(at + 4, slash - at - 3);
  }
  return text;
}

TEST_P(ModuleFile, HasLines) {
  const Completed done = stacks({built()});
  EXPECT_EQ(done.status, (ExitStatus{0, 0}));
  EXPECT_EQ(done.err, "");
  EXPECT_THAT(fixed(done.out), has_lines());
}

TEST_P(ModuleFile, GivesTheDiagnosisLines) {
  const std::string why = fixed(run({program("gcore-inspect"), dump_, "--why", "--symbols", built()}, 120s).out);
  EXPECT_TRUE(regex_search(why, Regex("trouble_first_then_second\\+0x[0-9a-f/x]+ \\[trouble\\] at " +
                                      line_of("trouble_first_then_second", "mutex_lock(&trouble_second)") + "\n")))
      << why;
  const auto signature = [](const std::string& text) { return text.substr(text.rfind("signature: ")); };
  EXPECT_EQ(signature(why), signature(run({program("gcore-inspect"), dump_, "--why"}, 120s).out));
}

TEST_P(ModuleFile, LeadsToItsDebugInformationBesideIt) {
  const Completed done = stacks({split(folder_.path("here"))});
  EXPECT_EQ(done.err, "");
  EXPECT_THAT(fixed(done.out), has_lines());
  fs::create_directory(folder_.path("here/.debug"));
  fs::rename(folder_.path("here/trouble.ko.debug"), folder_.path("here/.debug/trouble.ko.debug"));
  EXPECT_THAT(fixed(stacks({folder_.path("here/trouble.ko")}).out), has_lines());
}

TEST_P(ModuleFile, WithoutABuildIdLeadsToItsDebugInformationByChecksum) {
  const std::string file = folder_.path("trouble.ko"), debug = file + ".debug";
  objcopy({"--only-keep-debug", "--remove-section=.note.gnu.build-id", built(), debug});
  objcopy({"--strip-debug", "--remove-section=.note.gnu.build-id", built(), file});
  objcopy({"--add-gnu-debuglink=" + debug, file});
  EXPECT_THAT(fixed(stacks({file}).out), has_lines());
  folder_.write("trouble.ko.debug", read_file(debug) + '\0');
  EXPECT_THAT(stacks({file}).err, HasSubstr("trouble.ko.debug is of another build"));
}

TEST_P(ModuleFile, LeadsToItsDebugInformationByItsBuildId) {
  const std::string file = split(folder_.path("here"));
  const std::string notes = run({"readelf", "-nW", file}).out;
  const std::string id = notes.substr(notes.find("Build ID: ") + 10, 40);
  fs::create_directories(folder_.path("root/.build-id/" + id.substr(0, 2)));
  fs::rename(file + ".debug", folder_.path("root/.build-id/" + id.substr(0, 2) + "/" + id.substr(2) + ".debug"));
  const Completed absent = stacks({file});
  EXPECT_THAT(absent.err, HasSubstr("is in a file of its own, trouble.ko.debug, which was not found"));
  EXPECT_THAT(absent.out, HasSubstr("trouble_first_then_second+0x"));
  EXPECT_THAT(fixed(stacks({file, folder_.path("root")}).out), has_lines());
  EXPECT_THAT(fixed(stacks({folder_.path("root")}).out), has_lines());
}

TEST_P(ModuleFile, OfAnotherBuildIsToldOrIgnored) {
  const std::string file = split(folder_.path("here"));
  std::string bytes = read_file(file);
  const std::string notes = run({"readelf", "-nW", file}).out, id = notes.substr(notes.find("Build ID: ") + 10, 40);
  std::string raw;
  for (size_t i = 0; i < id.size(); i += 2) raw += static_cast<char>(std::stoi(id.substr(i, 2), nullptr, 16));
  bytes[bytes.find(raw)] ^= 1;
  folder_.write("here/trouble.ko", bytes);
  const Completed named = stacks({file});
  EXPECT_THAT(named.err, AllOf(HasSubstr("is not the file of the guest's module trouble"),
                               HasSubstr("trouble.ko.debug is of another build")));
  fs::remove(file + ".debug");
  EXPECT_THAT(stacks({folder_.path("here")}).err, HasSubstr("it has no file of the guest's kernel"));
}

TEST_P(ModuleFile, IsFoundInAFolder) {
  split(folder_.path("lib/modules/kernel/drivers"));
  const Completed done = stacks({folder_.path("lib")});
  EXPECT_EQ(done.err, "");
  EXPECT_THAT(fixed(done.out), has_lines());
}

/// As Debian 13 and others have their modules: with debug information here, which theirs have elsewhere.
TEST_P(ModuleFile, MayBePacked) {
  for (const auto& [suffix, packer] : std::map<std::string, std::vector<std::string>>{
           {"gz", {"gzip", "-c"}}, {"xz", {"xz", "-0", "-c"}}, {"zst", {"zstd", "-q", "-c"}}}) {
    std::vector<std::string> argv = packer;
    argv.push_back(built());
    fs::create_directories(folder_.path(suffix));
    const std::string file = folder_.write(suffix + "/trouble.ko." + suffix, run(argv, 60s).out);
    const Completed named = stacks({file});
    EXPECT_EQ(named.err, "") << suffix;
    EXPECT_THAT(fixed(named.out), has_lines()) << suffix;
    EXPECT_THAT(fixed(stacks({folder_.path(suffix)}).out), has_lines()) << suffix;
    const std::string bytes = read_file(file);
    folder_.write(suffix + "/trouble.ko." + suffix, bytes.substr(0, bytes.size() / 2));
    const Completed cut = stacks({file});
    EXPECT_EQ(cut.status, (ExitStatus{1, 0})) << suffix;
    EXPECT_THAT(cut.err, testing::MatchesRegex("gcore-inspect: read symbols: .*/trouble.ko." + suffix +
                                               ": its [a-z]+ data (ends early|is damaged)\n"));
  }
}

TEST_P(ModuleFile, MayHaveCompressedSections) {
  const std::string gnu = std::string(GetParam()) == "x86_64" ? "objcopy" : "aarch64-linux-gnu-objcopy";
  for (const std::string kind : {"zlib", "zstd", "zlib-gnu"}) {
    fs::create_directories(folder_.path(kind));
    const std::string file = folder_.path(kind + "/trouble.ko");
    run_tool({kind == "zlib-gnu" ? gnu : "llvm-objcopy-19", "--compress-debug-sections=" + kind, built(), file});
    ASSERT_LT(fs::file_size(file), fs::file_size(built()));
    const Completed done = stacks({file});
    EXPECT_EQ(done.err, "") << kind;
    EXPECT_THAT(fixed(done.out), has_lines()) << kind;
  }
}

/// Little that claims to be much: one line, little memory, and the guest's own names.
TEST_P(ModuleFile, ThatUnpacksToTooMuchIsTold) {
  const std::string header = read_file(built()).substr(0, 64);
  const std::string zeros = run({"sh", "-c", "{ cat; head -c 400000000 /dev/zero; } | zstd -q -c"}, 60s, header).out;
  ASSERT_LT(zeros.size(), 1U << 20);
  const Completed packed = stacks({folder_.write("trouble.ko.zst", zeros)});
  EXPECT_EQ(packed.status, (ExitStatus{1, 0}));
  EXPECT_THAT(packed.err, HasSubstr("its zstd data unpacks to more than "));

  const std::string file = folder_.path("trouble.ko");
  objcopy({"--compress-debug-sections=zlib", built(), file});
  std::string bytes = read_file(file);
  const std::string size("\0\0\0\0\0\0\1\0", 8);  // 2^48 bytes
  size_t damaged = 0;
  // Each header of a compressed section: ELFCOMPRESS_ZLIB, 0, the size.
  for (size_t at = 0; (at = bytes.find(std::string("\1\0\0\0\0\0\0\0", 8), at)) != std::string::npos; at += 24)
    if (bytes.size() - at > 26 && bytes[at + 24] == '\x78') bytes.replace(at + 8, 8, size), ++damaged;
  ASSERT_GT(damaged, 0U);
  folder_.write("trouble.ko", bytes);
  const Completed done = stacks({file});
  EXPECT_EQ(done.status, (ExitStatus{0, 0}));
  EXPECT_THAT(done.err, HasSubstr("its section .debug_info cannot be unpacked: it claims to unpack from "));
  EXPECT_THAT(done.out, HasSubstr("trouble_first_then_second+0x"));
}

/// gdb without a file: the guest's own names, and the module's lines beside them.
TEST_P(ModuleFile, IsALibraryToGdb) {
  const std::string bare = split(folder_.path("here"));
  fs::create_directories(folder_.path("packed"));
  const std::string packed = folder_.write("packed/trouble.ko.xz", run({"xz", "-0", "-c", built()}, 60s).out);
  for (const std::string& symbols : {built(), bare, folder_.path("here"), packed}) {
    const std::string serve = program("gcore-serve") + " --stdio --threads tasks --symbols " + symbols + " " + dump_;
    const Completed done = run({std::string_view(GetParam()) == "x86_64" ? "gdb" : "gdb-multiarch", "-nx", "-batch",
                                "-ex", "set pagination off", "-ex", "target remote | " + serve, "-ex",
                                "thread apply all -q bt 12", "-ex", "info line trouble_wants_first"},
                               200s);
    EXPECT_THAT(done.out, HasSubstr("/gcore/modules/trouble.ko"));
    EXPECT_THAT(fixed(done.out), HasSubstr("trouble.c\" starts at address"));
    EXPECT_THAT(done.err, Not(HasSubstr("warning: Could not")));
    if (std::string_view(GetParam()) != "x86_64") continue;  // whose return addresses are not signed
    EXPECT_THAT(fixed(done.out), AllOf(HasSubstr(line_of("trouble_wants_first", "mutex_lock(&trouble_first)")),
                                       HasSubstr(line_of("trouble_first_then_second", "mutex_lock(&trouble_second)"))))
        << done.err;
    EXPECT_THAT(done.out, HasSubstr("in kthread ("));
  }
}

TEST_P(ModuleFile, ThatIsNotLoadedHasNoPlace) {
  std::string bytes = read_file(built());
  bytes.replace(bytes.find("name=trouble"), 12, "name=nowhere");
  folder_.write("else.ko", bytes);
  const Completed done = stacks({folder_.path("else.ko")});
  EXPECT_EQ(done.status, (ExitStatus{0, 0}));
  EXPECT_THAT(done.err, HasSubstr("has no place: the guest has not loaded a module of that name"));
  EXPECT_THAT(done.out, HasSubstr("trouble_first_then_second+0x"));
}

TEST_P(ModuleFile, ThatIsDamagedHarmsNobody) {
  const auto dump = reader::Dump::open(dump_);
  ASSERT_TRUE(dump) << dump.error().text;
  const reader::Guest guest(**dump);
  const auto kernel = reader::linux_guest::Kernel::find(**dump, guest.system());
  ASSERT_TRUE(kernel) << kernel.error().text;
  const auto& modules = (*kernel)->modules();
  ASSERT_TRUE(modules) << modules.error().text;
  const auto module = std::ranges::find(*modules, "trouble", &reader::linux_guest::Module::name);
  ASSERT_NE(module, modules->end());
  const std::string good = read_file(built());
  const auto place = [&](const std::string& bytes) {
    return reader::linux_guest::place_module(std::as_bytes(std::span(bytes)), *module);
  };
  const auto placed = place(good);
  ASSERT_TRUE(placed) << placed.error().text;
  EXPECT_EQ(placed->problems, std::vector<std::string>{});
  std::mt19937 random(7);
  size_t refused = 0;
  for (int round = 0; round < 300; ++round) {
    std::string bad = good;
    // Headers and the tables at the end are where it hurts.
    for (int i = 0; i < 8; ++i) {
      const size_t at = random() % 3 == 0   ? random() % 64
                        : random() % 2 == 0 ? bad.size() - 1 - random() % 4096
                                            : random() % bad.size();
      bad[at] = static_cast<char>(random());
    }
    if (round % 5 == 0) bad.resize(random() % bad.size());
    const auto result = place(bad);
    refused += result ? 0 : 1;
    if (result) {
      EXPECT_GE(result->bytes.size(), bad.size());  // more where a section became a compressed one
    }
  }
  EXPECT_GT(refused, 0U);
}

INSTANTIATE_TEST_SUITE_P(Guests, ModuleFile, testing::Values("x86_64", "aarch64"),
                         [](const auto& test) { return std::string(test.param); });

class SystemMap : public testing::TestWithParam<Guest> {
 protected:
  /// What the build of this kernel left as System.map: the kernel's own names, before it moved itself.
  std::string map(uint64_t moved) const {
    std::string text;
    for (const KnownSymbol& symbol : parse_kallsyms(oracle_.said("/proc/kallsyms"))) {
      if (!symbol.module.empty()) continue;
      const uint64_t address = symbol.address < 1ULL << 63 ? symbol.address : symbol.address - moved;
      char line[32];
      std::snprintf(line, sizeof line, "%016llx %c ", static_cast<unsigned long long>(address), symbol.type);
      text += line + symbol.name + "\n";
    }
    return text;
  }
  Completed inspect(const std::string& file, std::vector<std::string> more) const {
    more.insert(more.begin(), {program("gcore-inspect"), oracle_.dump(), "--symbols", file});
    return run(std::move(more), 120s);
  }

  const LinuxOracle& oracle_ = linux_oracle(GetParam().recipe());
  TempDir folder_;
};

TEST_P(SystemMap, NamesAddresses) {
  const std::string file = folder_.write("System.map", map(0x1000000));
  uint64_t address = 0;
  for (const KnownSymbol& symbol : parse_kallsyms(oracle_.said("/proc/kallsyms")))
    if (symbol.name == "kthreadd") address = symbol.address;
  const std::string inside = std::to_string(address + 4);
  const Completed done = inspect(file, {"--translate", inside});
  EXPECT_EQ(done.status, (ExitStatus{0, 0}));
  EXPECT_EQ(done.err, "");
  EXPECT_THAT(done.out, HasSubstr("  kthreadd+0x4\n"));
  EXPECT_THAT(inspect(folder_.path(), {"--translate", inside}).out, HasSubstr("  kthreadd+0x4\n"));
  EXPECT_THAT(inspect(file, {"--backtrace", "--task", "2"}).out, HasSubstr("  kthreadd+0x"));
}

TEST_P(SystemMap, OfAnotherKernelIsTold) {
  std::string text = map(0);
  // Of another build: the functions in the second half of the kernel lie elsewhere.
  std::istringstream lines(text);
  std::string other;
  size_t number = 0;
  for (std::string line; std::getline(lines, line); ++number) {
    if (number > 200 && line.starts_with("ffff")) line[14] = line[14] == '0' ? '8' : '0';
    other += line + "\n";
  }
  const Completed done = inspect(folder_.write("System.map", other), {});
  EXPECT_THAT(done.err, HasSubstr("is not the map of the guest's kernel"));
}

TEST_P(SystemMap, WithoutAddressesIsRefused) {
  std::string text = map(0);
  std::istringstream lines(text);
  std::string hidden;
  for (std::string line; std::getline(lines, line);) hidden += "0000000000000000" + line.substr(16) + "\n";
  const Completed done = inspect(folder_.write("kallsyms", hidden), {});
  EXPECT_EQ(done.status, (ExitStatus{1, 0}));
  EXPECT_THAT(done.err, HasSubstr("it was read without the right to see them"));
  EXPECT_THAT(inspect(folder_.write("kallsyms", text + "nonsense\n"), {}).err,
              HasSubstr("is not \"ADDRESS TYPE NAME\""));
}

INSTANTIATE_TEST_SUITE_P(Guests, SystemMap, testing::Values(kGuests[0], kGuests[2]), guest_name);

}  // namespace
}  // namespace gcore::tests
