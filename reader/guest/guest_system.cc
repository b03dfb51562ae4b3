#include "reader/guest/guest_system.h"

#include <utility>

#include "reader/guest/find_guest.h"
#include "reader/guest/linux/find_linux.h"
#include "reader/guest/qnx/qnx_system.h"

namespace gcore::reader {

const char* to_string(GuestSystem::Kind kind) {
  switch (kind) {
    case GuestSystem::Kind::unknown:
      return "unknown";
    case GuestSystem::Kind::linux_kernel:
      return "linux";
    case GuestSystem::Kind::qnx:
      return "qnx";
  }
  return "";
}

bool worth_more_search(const GuestSystem& guest) {
  return guest.kind != GuestSystem::Kind::qnx && !guest.kernel_paging;
}

GuestSystem find_guest(const Dump& dump, GuestSearch search) {
  GuestSystem guest;
  if (std::string page = qnx_system_page(dump); !page.empty()) {
    guest.kind = GuestSystem::Kind::qnx;
    guest.notes.push_back(std::move(page));
    return guest;
  }
  find_linux(dump, search, guest);
  return guest;
}

}  // namespace gcore::reader
