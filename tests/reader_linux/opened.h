// A dump, and the kernel in it.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "reader/dump/dump.h"
#include "reader/guest/guest.h"
#include "reader/guest/linux/kernel.h"

namespace gcore::tests {

struct Opened {
  explicit Opened(const std::string& path) {
    auto opened = reader::Dump::open(path);
    if (!opened) throw std::runtime_error(opened.error().text);
    dump = std::move(*opened);
    guest = std::make_unique<reader::Guest>(*dump);
    auto found = reader::linux_guest::Kernel::find(*dump, guest->system());
    if (!found) throw std::runtime_error(found.error().text);
    kernel = std::move(*found);
  }
  std::unique_ptr<reader::Dump> dump;
  std::unique_ptr<reader::Guest> guest;
  std::unique_ptr<reader::linux_guest::Kernel> kernel;
};

}  // namespace gcore::tests
