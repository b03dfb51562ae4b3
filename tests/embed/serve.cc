// What a program does with the installed reader and stub: opens the dump that is its argument, says what memory holds
// at 0x5000, and makes a debugger's session of it.
#include <array>
#include <cstdio>

#include "gdbstub/dump_target.h"
#include "gdbstub/protocol/server.h"
#include "reader/dump/dump.h"
#include "reader/space/address_space.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto dump = gcore::reader::Dump::open(argv[1]);
  if (!dump) {
    std::fprintf(stderr, "%s\n", dump.error().text.c_str());
    return 1;
  }
  std::array<std::byte, 16> bytes{};
  (*dump)->read(gcore::reader::PhysAddr{0x5000}, bytes);
  std::printf("%s, %zu vCPU\n", reinterpret_cast<const char*>(bytes.data()), (*dump)->cpus().size());

  const auto target = gcore::gdbstub::make_dump_target(**dump);
  gcore::gdbstub::Server server(*target, {});
  const auto address = server.listen_tcp({"127.0.0.1", "0"});
  std::puts(address ? "listening" : address.error().c_str());
  return address ? 0 : 1;
}
