// The smallest VMM: its guest has 4 MiB and never runs. Dumps it into the directory that is its argument and prints the
// dump's path.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "writer/dump.h"

namespace {

constexpr size_t kSize = 4 << 20;

class TinyGuest : public gcore::writer::Guest {
 public:
  TinyGuest(void* ram, int fd) : ram_(ram), fd_(fd) {}
  std::string_view name() override { return "tiny"; }
  gcore::format::Machine machine() override { return gcore::format::Machine::x86_64; }
  gcore::writer::Status pause() override { return {}; }
  void resume() override {}
  size_t cpu_count() override { return 1; }
  bool read_cpu(size_t, gcore::format::RegisterFile& registers) override {
    return registers.set("rip", 0xfff0) && registers.set("cr0", 0x10);
  }
  std::vector<gcore::writer::MemoryRange> memory() override {
    return {{.address = 0, .size = kSize, .host = ram_, .fd = fd_, .fd_offset = 0}};
  }

 private:
  void* ram_;
  int fd_;
};

}  // namespace

int main(int argc, char** argv) {
  const int fd = memfd_create("guest", MFD_CLOEXEC);
  if (argc != 2 || fd < 0 || ftruncate(fd, kSize) != 0) return 2;
  void* ram = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (ram == MAP_FAILED) return 2;
  std::strcpy(static_cast<char*>(ram) + 0x5000, "embedded");

  TinyGuest guest(ram, fd);
  gcore::writer::Options options;
  options.target = argv[1];
  options.program = "tiny-vmm 1";
  const gcore::writer::Result result = gcore::writer::dump(guest, options);
  if (!result.status.ok()) {
    std::fprintf(stderr, "%s\n", result.status.text().c_str());
    return 1;
  }
  std::puts(result.path.c_str());
  return 0;
}
