#include "tests/embed/projects.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>

#include "tests/support/paths.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {

namespace fs = std::filesystem;

std::string run_well(const Arguments& argv, const Process::Options& options) {
  const Completed done = run(argv, 280s, {}, options);
  std::string command;
  for (const std::string& argument : argv) command += argument + " ";
  EXPECT_EQ(done.status, (ExitStatus{0, 0})) << command << "\n" << done.out << done.err;
  return done.out;
}

void build_project(const std::string& source, const std::string& build, const Arguments& cmake_arguments) {
  Arguments configure{GCORE_CMAKE,
                      "-S",
                      source,
                      "-B",
                      build,
                      "-G",
                      GCORE_GENERATOR,
                      "-DCMAKE_BUILD_TYPE=None",
                      "-DCMAKE_C_COMPILER=" GCORE_C_COMPILER,
                      "-DCMAKE_CXX_COMPILER=" GCORE_CXX_COMPILER,
                      "-DCMAKE_C_FLAGS=" GCORE_C_FLAGS,
                      "-DCMAKE_CXX_FLAGS=" GCORE_CXX_FLAGS,
                      "-DCMAKE_CXX_COMPILER_LAUNCHER=" GCORE_COMPILER_LAUNCHER};
  configure.insert(configure.end(), cmake_arguments.begin(), cmake_arguments.end());
  // The writer-only preset is asked for from within the tree.
  Process::Options there;
  there.directory = source;
  run_well(configure, there);
  if (!testing::Test::HasFailure()) run_well({GCORE_CMAKE, "--build", build});
}

std::string install(const std::string& prefix, const std::string& component) {
  Arguments argv{GCORE_CMAKE, "--install", build_dir(), "--prefix", prefix};
  if (!component.empty()) argv.insert(argv.end(), {"--component", component});
  run_well(argv);
  return prefix;
}

Arguments words(const std::string& text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

Arguments pkg_config(const std::string& prefix, const Arguments& arguments, const std::string& package) {
  std::string folder;
  for (const auto& entry : fs::recursive_directory_iterator(prefix)) {
    if (entry.path().filename() == "gcore-writer.pc") folder = entry.path().parent_path();
  }
  EXPECT_NE(folder, "") << "no gcore-writer.pc under " << prefix;
  Arguments argv{"pkg-config"};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  argv.push_back(package);
  Process::Options options;
  options.environment = {"PKG_CONFIG_PATH=" + folder};
  return words(run_well(argv, options));
}

std::string expect_good_dump(const std::string& vmm, const std::string& scratch) {
  const std::string dumps = scratch + "/dumps-of-" + fs::path(vmm).filename().string();
  fs::create_directory(dumps);
  std::string path = run_well({vmm, dumps});
  EXPECT_THAT(path, testing::MatchesRegex(dumps + "/tiny-[0-9]{8}-[0-9]{6}\\.gcore\n"));
  if (!path.empty()) path.pop_back();
  run_well({program("gcore-inspect"), "--verify", path});
  // What the VMM wrote into its guest's memory is in the dump.
  EXPECT_THAT(read_file(path), testing::HasSubstr("embedded"));
  return path;
}

}  // namespace gcore::tests
