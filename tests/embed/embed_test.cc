#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/embed/projects.h"
#include "tests/support/paths.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string here(const std::string& name) { return source_dir() + "/tests/embed/" + name; }

/// Everything that is not the writer's, so that a configuration that looks for it fails.
const Arguments kNoHeavyLibraries{"-DCMAKE_DISABLE_FIND_PACKAGE_LLVM=ON", "-DCMAKE_DISABLE_FIND_PACKAGE_fmt=ON",
                                  "-DCMAKE_DISABLE_FIND_PACKAGE_Boost=ON", "-DCMAKE_DISABLE_FIND_PACKAGE_GTest=ON"};

Arguments operator+(Arguments left, const Arguments& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

class Embed : public testing::Test {
 protected:
  TempDir scratch_;

  std::string prefix() { return scratch_.path("prefix"); }

  /// The one file of that name under the folder.
  static std::string find(const std::string& folder, const std::string& name) {
    std::string found;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      if (entry.path().filename() == name) found = entry.path();
    }
    EXPECT_NE(found, "") << "no " << name << " under " << folder;
    return found;
  }
};

// A vendor copies the folder: nothing else of the tree is there.
TEST_F(Embed, CopiedFolder) {
  const std::string vmm = scratch_.path("vmm");
  fs::create_directory(vmm);
  fs::copy(source_dir() + "/writer", vmm + "/writer", fs::copy_options::recursive);
  fs::copy(here("copied/CMakeLists.txt"), vmm);
  fs::copy(here("vmm.cc"), vmm);

  const std::string build = scratch_.path("build");
  build_project(vmm, build, kNoHeavyLibraries);
  ASSERT_FALSE(HasFailure());
  expect_good_dump(build + "/vmm", scratch_.path());

  // Not only the flags: nothing in the library throws, catches or is asked for its type. With optimization off nothing
  // of that is inlined away.
  const std::string symbols = run_well({"nm", "--format=just-symbols", find(build, "libgcore_writer.a")});
  EXPECT_THAT(symbols, HasSubstr("gcore_dump\n"));
  EXPECT_THAT(symbols, AllOf(Not(HasSubstr("__cxa_throw")), Not(HasSubstr("__cxa_begin_catch")),
                             Not(HasSubstr("__gxx_personality")), Not(HasSubstr("_ZTIN5gcore")),
                             Not(HasSubstr("__dynamic_cast"))));
  // And it installs nothing with the VMM.
  run_well({GCORE_CMAKE, "--install", build, "--prefix", prefix()});
  EXPECT_FALSE(fs::exists(prefix() + "/include"));
}

// As a shared library, from a tree of which nothing but the writer can be built, because the rest is not found.
// Compiled as few large files, as a VMM may do.
TEST_F(Embed, WriterOnlyPreset) {
  const std::string build = scratch_.path("build");
  build_project(
      source_dir(), build,
      Arguments{"--preset", "writer-only", "-DBUILD_SHARED_LIBS=ON", "-DCMAKE_UNITY_BUILD=ON"} + kNoHeavyLibraries);
  ASSERT_FALSE(HasFailure());
  run_well({GCORE_CMAKE, "--install", build, "--prefix", prefix()});
  EXPECT_FALSE(fs::exists(prefix() + "/bin"));

  const std::string library = find(prefix(), "libgcore_writer.so");
  const std::string real = fs::canonical(library).filename();
  EXPECT_THAT(real, testing::MatchesRegex("libgcore_writer\\.so\\.[0-9]+\\.[0-9]+\\.[0-9]+"));
  const std::string soname = real.substr(0, real.rfind('.'));
  EXPECT_THAT(run_well({"objdump", "-p", library}), HasSubstr("SONAME               " + soname + "\n"));

  // Linked by its plain name, found at run time by its SONAME.
  const std::string vmm = scratch_.path("c-vmm");
  const std::string folder = fs::path(library).parent_path();
  run_well(Arguments{GCORE_C_COMPILER} + words(GCORE_C_FLAGS) +
           Arguments{"-std=c11", here("vmm.c"), "-o", vmm, "-Wl,-rpath," + folder} +
           pkg_config(prefix(), {"--cflags", "--libs"}));
  ASSERT_FALSE(HasFailure());
  EXPECT_THAT(run_well({"ldd", vmm}), HasSubstr(folder + "/" + soname));
  expect_good_dump(vmm, scratch_.path());

  const Completed reader = run({GCORE_CMAKE, "-S", here("installed"), "-B", scratch_.path("reader"), "-DGCORE_ALL=ON",
                                "-DCMAKE_PREFIX_PATH=" + prefix()});
  EXPECT_NE(reader.status.code, 0);
  EXPECT_THAT(reader.err, HasSubstr("gcore cannot provide reader, which is not installed"));
}

TEST_F(Embed, FindPackage) {
  install(prefix(), "writer");
  const std::string build = scratch_.path("build");
  build_project(here("installed"), build, Arguments{"-DCMAKE_PREFIX_PATH=" + prefix()} + kNoHeavyLibraries);
  ASSERT_FALSE(HasFailure());
  expect_good_dump(build + "/vmm", scratch_.path());
}

TEST_F(Embed, FindPackageFromPlainC) {
  install(prefix(), "writer");
  const std::string build = scratch_.path("build");
  build_project(here("installed-c"), build, Arguments{"-DCMAKE_PREFIX_PATH=" + prefix()} + kNoHeavyLibraries);
  ASSERT_FALSE(HasFailure());
  expect_good_dump(build + "/c-vmm", scratch_.path());
}

TEST_F(Embed, PkgConfigFromCxx) {
  install(prefix(), "writer");
  const std::string vmm = scratch_.path("vmm");
  run_well(Arguments{GCORE_CXX_COMPILER} + words(GCORE_CXX_FLAGS) +
           Arguments{"-std=c++20", "-Wall", "-Wextra", "-Werror", here("vmm.cc"), "-o", vmm,
                     "-Wl,-rpath," + prefix() + "/lib"} +
           pkg_config(prefix(), {"--cflags", "--libs", "--static"}));
  ASSERT_FALSE(HasFailure());
  expect_good_dump(vmm, scratch_.path());
}

TEST_F(Embed, PkgConfigFromPlainC) {
  install(prefix(), "writer");
  const std::string vmm = scratch_.path("c-vmm");
  run_well(Arguments{GCORE_C_COMPILER} + words(GCORE_C_FLAGS) +
           Arguments{"-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", here("vmm.c"), "-o", vmm,
                     "-Wl,-rpath," + prefix() + "/lib"} +
           pkg_config(prefix(), {"--cflags", "--libs", "--static"}));
  ASSERT_FALSE(HasFailure());
  expect_good_dump(vmm, scratch_.path());
}

// The whole: programs with their manuals, and the libraries that read.
TEST_F(Embed, EverythingInstalled) {
  install(prefix(), "");
  for (const char* name : {"gcore-inspect", "gcore-serve", "kdserver", "gcore-dump", "gcore-convert", "gcore-vmm"}) {
    EXPECT_THAT(run_well({prefix() + "/bin/" + name, "--version"}), HasSubstr(name));
    EXPECT_THAT(find(prefix(), std::string(name) + ".1"), HasSubstr("/man1/"));
  }
  const std::string build = scratch_.path("build");
  build_project(here("installed"), build, {"-DGCORE_ALL=ON", "-DCMAKE_PREFIX_PATH=" + prefix()});
  ASSERT_FALSE(HasFailure());
  const std::string dump = expect_good_dump(build + "/vmm", scratch_.path());
  EXPECT_EQ(run_well({build + "/serve", dump}), "embedded, 1 vCPU\nlistening\n");
  // The gdb helper finds the server that was installed with it.
  const Arguments gdb{"gdb", "-nx", "-q", "-batch", "-ex", "source " + find(prefix(), "guest.py")};
  EXPECT_THAT(run_well(gdb + Arguments{"-ex", "guest open " + dump, "-ex", "guest vcpus"}), HasSubstr("* 1    vCPU 0"));
}

// No installed header needs one that is not, nor another before it.
TEST_F(Embed, InstalledHeadersStandAlone) {
  install(prefix(), "");
  const std::string root = prefix() + "/include/gcore";
  size_t headers = 0;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (!entry.is_regular_file()) continue;
    const std::string path = entry.path();
    const bool writer = path.starts_with(root + "/writer/");
    const bool c = path.ends_with("/gcore_dump.h") || path.ends_with("/gcore_kvm.h");
    const Arguments common{"-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I" + root, "-include", path};
    if (c)
      run_well(Arguments{GCORE_C_COMPILER, "-std=c11", "-pedantic", "-Wstrict-prototypes"} + common +
               Arguments{"-x", "c", "/dev/null"});
    run_well(Arguments{GCORE_CXX_COMPILER, writer ? "-std=c++20" : "-std=c++23"} + common +
             Arguments{"-x", "c++", "/dev/null"});
    headers++;
  }
  EXPECT_GE(headers, 20U);
}

}  // namespace
}  // namespace gcore::tests
