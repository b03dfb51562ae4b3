// Builds kdump-compressed dumps for tests, after makedumpfile's diskdump_mod.h.
#pragma once

#include <string>

namespace gcore::tests {

/// Page i of the map is: '.' no memory, '-' left out, a letter a page of it ('b': not compressed).
struct KdumpBuilder {
  std::string machine = "x86_64", map = ".ab-c", notes{}, vmcoreinfo{}, system{};

  std::string build() const;
};

}  // namespace gcore::tests
