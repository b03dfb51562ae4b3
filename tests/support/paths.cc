#include "tests/support/paths.h"

#include <cstdlib>

namespace gcore::tests {

std::string program(std::string_view name) {
  const char* folder = std::getenv("GCORE_BIN_DIR");
  std::string path = folder ? folder : build_dir() + "/bin";
  return path.append("/").append(name);
}

std::string source_dir() { return GCORE_TEST_SOURCE_DIR; }

std::string build_dir() { return GCORE_TEST_BUILD_DIR; }

std::string guests_dir() {
  const char* folder = std::getenv("GCORE_GUESTS_DIR");
  return folder ? folder : source_dir() + "/build/guests";
}

}  // namespace gcore::tests
