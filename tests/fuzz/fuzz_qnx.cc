// `monitor pid` over guest memory that is hostile: a kernel's process structures that are anything. (What a client may
// send is for fuzz_session.)
//
// Input: one byte of choices, then memory, which repeats for ever and in which virtual addresses are physical, so that
// nearly every pointer leads somewhere. Bits of the choices: 0-1 machine, 2 big-endian, 3 memory does not repeat.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>

#include "gdbstub/protocol/session.h"
#include "tests/gdbstub/fake_target.h"

namespace {

using namespace gcore::gdbstub;  // NOLINT: a program of one file

class HostileTarget : public gcore::tests::FakeTarget {
 public:
  HostileTarget(std::span<const std::byte> bytes, bool repeats) : bytes_(bytes), repeats_(repeats) {}

  std::optional<uint64_t> system_page() const override { return 0; }
  size_t register_set_size() const override { return 64; }

  size_t read(const Space&, uint64_t address, std::span<std::byte> into) const override {
    size_t done = 0;
    while (done < into.size() && !bytes_.empty()) {
      const uint64_t at = repeats_ ? (address + done) % bytes_.size() : address + done;
      if (at >= bytes_.size()) break;
      const size_t count = std::min<size_t>(into.size() - done, bytes_.size() - at);
      std::memcpy(&into[done], &bytes_[at], count);
      done += count;
    }
    return done;
  }
  Walk walk(const Space&, uint64_t address) const override {
    if (repeats_ || address < bytes_.size()) return {.physical = address & ~uint64_t{0xfff}};
    return {.fault = "nothing is mapped there"};
  }

 private:
  std::span<const std::byte> bytes_;
  bool repeats_;
};

void monitor(Session& session, const std::string& command) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string body = "qRcmd,";
  for (const char c : command) {
    body += kDigits[static_cast<uint8_t>(c) >> 4];
    body += kDigits[static_cast<uint8_t>(c) & 15];
  }
  uint8_t sum = 0;
  for (const char c : body) sum = static_cast<uint8_t>(sum + static_cast<uint8_t>(c));
  session.receive("$" + body + "#" + kDigits[sum >> 4] + kDigits[sum & 15]);
  while (session.step()) session.output().clear();
  session.output().clear();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return -1;
  const auto bytes = std::as_bytes(std::span(data, size)).subspan(1);
  HostileTarget target(bytes, (data[0] & 8) == 0);
  target.machine = static_cast<Arch>((data[0] & 3) % 3);
  target.big = (data[0] & 4) != 0;
  Session session(target, {.program = "fuzz 1"});
  for (const char* command : {"pid", "pid 1-1", "info threads", "registers", "pid 1-2", "pid 0-1", "pid 0"})
    monitor(session, command);
  return 0;
}
