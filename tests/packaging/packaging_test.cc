// The Debian packages: built from this tree by cpack, judged by lintian, unpacked into an empty root, and used from
// there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <map>
#include <sstream>

#include "tests/docs/markdown.h"
#include "tests/embed/projects.h"
#include "tests/support/paths.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

const Arguments kPrograms{"gcore-convert", "gcore-dump", "gcore-inspect", "gcore-serve", "gcore-vmm", "kdserver"};
constexpr const char* kLibraryPackage = "libgcore" GCORE_SOVERSION;

Arguments operator+(Arguments left, const Arguments& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

/// What `dpkg-deb --contents` lists, as absolute paths; links without their targets.
std::vector<std::string> contents(const std::string& package) {
  std::vector<std::string> paths;
  std::istringstream lines(run_well({"dpkg-deb", "--contents", package}));
  for (std::string line; std::getline(lines, line);) {
    const size_t start = line.find(" ./");
    if (start == std::string::npos) continue;
    const std::string path = line.substr(start + 2);
    paths.push_back(path.substr(0, path.find(" -> ")));
  }
  return paths;
}

// One test: ctest runs each in a process of its own, and the packages take seconds to build.
class Packages : public testing::Test {
 protected:
  TempDir scratch_;
  std::string root_ = scratch_.path("root");
  std::string usr_ = root_ + "/usr";
  std::map<std::string, std::string> packages_;  // name to path

  void build() {
    const std::string out = scratch_.path("packages");
    // gzip instead of xz: it is the contents that are tested, and xz takes longer than all the rest.
    run_well({GCORE_CPACK, "--config", build_dir() + "/CPackConfig.cmake", "-G", "DEB", "-B", out, "-D",
              "CPACK_DEBIAN_COMPRESSION_TYPE=gzip"});
    if (HasFailure()) return;
    for (const auto& entry : fs::directory_iterator(out)) {
      const std::string file = entry.path().filename();
      if (file.ends_with(".deb")) packages_[file.substr(0, file.find('_'))] = entry.path();
    }
    fs::create_directory(root_);
    for (const auto& [name, path] : packages_) run_well({"dpkg-deb", "--extract", path, root_});
  }

  std::string field(const std::string& package, const std::string& name) {
    return run_well({"dpkg-deb", "--field", packages_.at(package), name});
  }

  std::string library_folder() {
    for (const auto& entry : fs::recursive_directory_iterator(usr_ + "/lib"))
      if (entry.path().filename() == "libgcore_writer.so." GCORE_SOVERSION) return entry.path().parent_path();
    ADD_FAILURE() << "no libgcore_writer.so." GCORE_SOVERSION " under " << usr_ << "/lib";
    return "";
  }

  Process::Options with_libraries() {
    Process::Options options;
    options.environment = {"LD_LIBRARY_PATH=" + library_folder()};
    return options;
  }

  void expect_fields() {
    for (const auto& [name, path] : packages_) {
      EXPECT_EQ(field(name, "Version"), GCORE_VERSION_TEXT "-1\n");
      EXPECT_THAT(field(name, "Installed-Size"), testing::MatchesRegex("[1-9][0-9]*\n"));
    }
    // From dpkg-shlibdeps: the packages of the libraries that the files need, in the versions that have what they use.
    EXPECT_THAT(field("gcore-tools", "Depends"),
                AllOf(HasSubstr("libc6 (>= "), HasSubstr("libunicorn2"), HasSubstr("libzstd1"), HasSubstr("zlib1g"),
                      Not(HasSubstr("libgcore")), Not(HasSubstr("libllvm"))));
    EXPECT_THAT(field(kLibraryPackage, "Depends"), AllOf(HasSubstr("libc6"), HasSubstr("libzstd1"),
                                                         Not(HasSubstr("unicorn")), Not(HasSubstr("libgcore"))));
    // What is loaded when a dump needs it, which no tool can see. The names are those of Debian 12.
    for (const std::string& package : {std::string("gcore-tools"), std::string(kLibraryPackage)})
      EXPECT_EQ(field(package, "Recommends"),
                "libkdumpfile10, liblzma5, libbz2-1.0, liblzo2-2, libsnappy1v5, libcurl4 | libcurl3-gnutls\n");
    EXPECT_THAT(field("libgcore-dev", "Depends"),
                HasSubstr(std::string(kLibraryPackage) + " (= " GCORE_VERSION_TEXT "-1)"));
  }

  void expect_contents() {
    const auto tools = contents(packages_.at("gcore-tools"));
    for (const std::string& program : kPrograms) {
      EXPECT_THAT(tools, Contains("/usr/bin/" + program));
      EXPECT_THAT(tools, Contains("/usr/share/man/man1/" + program + ".1.gz"));
      EXPECT_THAT(tools, Contains("/usr/share/bash-completion/completions/" + program));
    }
    EXPECT_THAT(tools, Contains("/usr/share/man/man5/gcore.5.gz"));
    EXPECT_THAT(tools, Contains("/usr/share/zsh/vendor-completions/_gcore"));
    EXPECT_THAT(tools, Contains("/usr/share/doc/gcore-tools/docs/format.md"));
    const auto development = contents(packages_.at("libgcore-dev"));
    for (const char* guide : {"writer/README.md", "docs/embedding.md", "docs/format.md"})
      EXPECT_THAT(development, Contains(std::string("/usr/share/doc/libgcore-dev/") + guide));
    EXPECT_THAT(development, Contains("/usr/share/man/man7/gcore-registers.7.gz"));
    EXPECT_THAT(development, Contains("/usr/include/gcore_registers.h"));
    for (const auto& [name, path] : packages_) {
      const auto files = contents(path);
      EXPECT_THAT(files, Contains("/usr/share/doc/" + name + "/copyright"));
      EXPECT_THAT(files, Contains("/usr/share/doc/" + name + "/changelog.Debian.gz"));
    }
    // Nothing but what a program needs at run time is with the libraries.
    for (const std::string& path : contents(packages_.at(kLibraryPackage)))
      EXPECT_THAT(path, testing::AnyOf(HasSubstr(".so." GCORE_SOVERSION), testing::EndsWith("/"),
                                       HasSubstr("/share/doc/"), HasSubstr("/share/lintian/")));
    EXPECT_THAT(run_well({"dpkg-deb", "--info", packages_.at(kLibraryPackage), "shlibs"}),
                HasSubstr("libgcore_writer " GCORE_SOVERSION " libgcore" GCORE_SOVERSION " (>= "));
  }

  /// The pages as a user of the package reads them.
  void expect_links_lead_somewhere() {
    for (const char* package : {"gcore-tools", "libgcore-dev"}) expect_links_lead_somewhere_in(package);
  }
  void expect_links_lead_somewhere_in(const std::string& package) {
    size_t pages = 0;
    for (const auto& entry : fs::recursive_directory_iterator(usr_ + "/share/doc/" + package)) {
      if (entry.path().extension() != ".md") continue;
      pages++;
      for (const std::string& link : links_of(read_file(entry.path()))) {
        if (link.starts_with("http") || link.starts_with("#")) continue;
        EXPECT_TRUE(fs::exists(entry.path().parent_path() / link.substr(0, link.find('#'))))
            << entry.path() << " links to " << link;
      }
    }
    EXPECT_GE(pages, package == "gcore-tools" ? 10U : 3U);
  }

  void expect_only_our_names() {
    for (const char* name : {"writer", "reader", "gdbstub"}) {
      const std::string library = library_folder() + "/libgcore_" + name + ".so." GCORE_SOVERSION;
      std::istringstream symbols(run_well({"nm", "-D", "--defined-only", "--format=just-symbols", library}));
      size_t count = 0;
      for (std::string symbol; std::getline(symbols, symbol); count++)
        EXPECT_THAT(symbol, testing::AnyOf(testing::ContainsRegex("^_Z.*5gcore"), testing::StartsWith("gcore_")));
      EXPECT_GT(count, 10U) << library;
      EXPECT_THAT(run_well({"ldd", "-r", library}, with_libraries()),
                  AllOf(Not(HasSubstr("not found")), Not(HasSubstr("undefined symbol"))));
    }
  }

  /// The programs without their libraries: a guest is run, dumped, and judged.
  void expect_programs_work() {
    for (const std::string& program : kPrograms) {
      const std::string path = usr_ + "/bin/" + program;
      EXPECT_THAT(run_well({"ldd", path}), AllOf(Not(HasSubstr("not found")), Not(HasSubstr("libgcore"))));
      EXPECT_THAT(run_well({path, "--version"}), HasSubstr(program + " " GCORE_VERSION_TEXT "\n"));
    }
    const std::string dumps = scratch_.path("dumps");
    fs::create_directory(dumps);
    Process vmm({usr_ + "/bin/gcore-vmm", "--demo", "--dump-directory", dumps});
    ASSERT_TRUE(vmm.wait_for_line(Process::Stream::out, "heartbeat"));
    vmm.signal(SIGUSR2);
    const auto line = vmm.wait_for_line(Process::Stream::err, "dump (written|failed): ");
    ASSERT_TRUE(line);
    EXPECT_THAT(*line, HasSubstr("dump written: "));
    vmm.signal(SIGTERM);
    EXPECT_EQ(vmm.wait(), (ExitStatus{0, 0}));
    for (const auto& entry : fs::directory_iterator(dumps)) {
      run_well({usr_ + "/bin/gcore-inspect", "--verify", entry.path()});
      EXPECT_THAT(run_well({usr_ + "/bin/gcore-inspect", "--backtrace", "--symbols",
                            usr_ + "/share/gcore/builtin-guest.elf", entry.path()}),
                  HasSubstr(".c:"))
          << "the built-in guest has lost its debug information";
    }
  }

  void expect_development_works() {
    const std::string build = scratch_.path("build");
    build_project(source_dir() + "/tests/packaging/installed", build, {"-DCMAKE_PREFIX_PATH=" + usr_});
    ASSERT_TRUE(fs::exists(build + "/vmm") && fs::exists(build + "/serve-shared"));
    expect_good_dump(build + "/vmm", scratch_.path());
    EXPECT_THAT(run_well({"objdump", "-p", build + "/vmm"}), Not(HasSubstr("libgcore")));
    const std::string shared = build + "/vmm-shared";
    EXPECT_THAT(run_well({"objdump", "-p", shared}), HasSubstr("libgcore_writer.so." GCORE_SOVERSION));
    const std::string dump = expect_good_dump(shared, scratch_.path());
    EXPECT_EQ(run_well({build + "/serve-shared", dump}, with_libraries()), "embedded, 1 vCPU\nlistening\n");

    // Without what the static reader is made of: the shared one has it inside.
    const std::string apart = scratch_.path("apart");
    build_project(source_dir() + "/tests/packaging/shared-only", apart,
                  {"-DCMAKE_PREFIX_PATH=" + usr_, "-DCMAKE_DISABLE_FIND_PACKAGE_LLVM=ON"});
    EXPECT_EQ(run_well({apart + "/serve", dump}, with_libraries()), "embedded, 1 vCPU\nlistening\n");
    const std::string by_pkg_config = scratch_.path("serve-by-pkg-config");
    run_well(Arguments{GCORE_CXX_COMPILER} + words(GCORE_CXX_FLAGS) +
             Arguments{"-std=c++23", source_dir() + "/tests/embed/serve.cc", "-o", by_pkg_config,
                       "-Wl,-rpath," + library_folder()} +
             pkg_config(usr_, {"--cflags", "--libs"}, "gcore-gdbstub"));
    EXPECT_EQ(run_well({by_pkg_config, dump}, with_libraries()), "embedded, 1 vCPU\nlistening\n");

    const std::string c_vmm = scratch_.path("c-vmm");
    run_well(Arguments{GCORE_C_COMPILER} + words(GCORE_C_FLAGS) +
             Arguments{"-std=c11", source_dir() + "/tests/embed/vmm.c", "-o", c_vmm, "-Wl,-rpath," + library_folder()} +
             pkg_config(usr_, {"--cflags", "--libs"}));
    ASSERT_TRUE(fs::exists(c_vmm));
    EXPECT_THAT(run_well({"objdump", "-p", c_vmm}), HasSubstr("libgcore_writer.so." GCORE_SOVERSION));
    expect_good_dump(c_vmm, scratch_.path());
  }
};

TEST_F(Packages, ThreeThatWork) {
  build();
  ASSERT_EQ(packages_.size(), 3U);
  ASSERT_TRUE(packages_.contains(kLibraryPackage));
  expect_fields();
  expect_contents();
  expect_links_lead_somewhere();
  expect_only_our_names();
  expect_programs_work();
  expect_development_works();

  Arguments lintian{"lintian", "--profile", "debian", "--fail-on", "error", "--tag-display-limit", "0"};
  for (const auto& [name, path] : packages_) lintian.push_back(path);
  run_well(lintian);
}

}  // namespace
}  // namespace gcore::tests
