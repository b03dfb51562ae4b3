#include "tools/gcore-serve/guest_file.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "reader/guest/guest.h"
#include "reader/guest/linux/kernel.h"
#include "reader/guest/linux/symbols/symbol_file.h"
#include "writer/base/sparse_file.h"

namespace gcore::tools {
namespace {

constexpr int kBehindClients = 5;  // in steps of nice

/// The bytes as a file without a name; -1 when there is no room for it.
int memory_file(const std::vector<std::byte>& bytes) {
  base::UniqueFd file(memfd_create("gcore-symbols", MFD_CLOEXEC));
  return file && base::write_at(file.get(), bytes, 0) == 0 ? file.release() : -1;
}

/// What gdb shows as the file's name: the release, of which nothing but letters, digits and the like is taken.
std::string shown_path(const std::string& release) {
  std::string path = "/gcore/vmlinux-";
  for (const char c : release)
    if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' || c == '-' ||
        c == '_' || c == '+')
      path += c;
  return path;
}

}  // namespace

GuestFile::GuestFile(const reader::Dump& dump) : thread_([this, &dump] { make(dump); }) {}

void GuestFile::make(const reader::Dump& dump) {
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kBehindClients);
  const reader::Guest guest(dump);
  const reader::GuestSystem& system = guest.system();
  if (const auto kernel = reader::linux_guest::Kernel::find(dump, system)) {
    const auto made = make_symbol_file(**kernel, {});
    const int fd = made ? memory_file(made->bytes) : -1;
    if (fd >= 0) file_.emplace(gdbstub::ExecFile::adopt(fd, shown_path(system.release), made->bytes.size()));
  }
  settled_ = true;
}

}  // namespace gcore::tools
