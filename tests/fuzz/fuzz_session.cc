// Bytes from a debugger that means no good, against a session with a small fake machine. Each input is one whole
// conversation: its first byte chooses the machine and the size of the pieces in which the rest arrives; a line that
// does not start with a framing byte is sent as a packet with a right checksum, so that the fuzzer need not find
// checksums.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "gdbstub/protocol/session.h"
#include "tests/gdbstub/fake_target.h"

namespace {

constexpr size_t kMaxSteps = 2000;

void drain(gcore::gdbstub::Session& session, size_t& steps) {
  while (session.step() && ++steps < kMaxSteps) {
  }
  if (session.output().size() >= gcore::gdbstub::Session::kOutputLimit + (4u << 20)) __builtin_trap();
  session.work_ahead();
  session.output().clear();
}

void send(gcore::gdbstub::Session& session, std::string_view bytes, size_t piece, size_t& steps) {
  for (size_t at = 0; at < bytes.size() && steps < kMaxSteps; at += piece) {
    session.receive(bytes.substr(at, piece));
    drain(session, steps);
  }
}

std::string framed(std::string_view payload) {
  constexpr char kDigits[] = "0123456789abcdef";
  uint8_t sum = 0;
  for (const char c : payload) sum = static_cast<uint8_t>(sum + static_cast<uint8_t>(c));
  return "$" + std::string(payload) + "#" + kDigits[sum >> 4] + kDigits[sum & 15];
}

std::string to_hex(std::string_view text) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const char c : text) {
    out += kDigits[static_cast<uint8_t>(c) >> 4];
    out += kDigits[static_cast<uint8_t>(c) & 15];
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  gcore::tests::FakeTarget target;
  const uint8_t choice = data[0];
  target.machine = static_cast<gcore::gdbstub::Arch>(choice % 3);
  target.flat = (choice & 0x08) != 0;
  target.cpus = (choice & 0x10) != 0 ? 300 : 3;
  if ((choice & 0x20) != 0) target.displacement = 0x1000000;
  if ((choice & 0x80) != 0)
    target.tasks = {{.number = 2, .name = "<a>", .details = "PID 2"}, {.number = 2, .name = "", .details = ""}};
  const size_t piece = (choice & 0x40) != 0 ? 3 : 4096;
  gcore::gdbstub::Session session(target, {.program = "fuzz 1"});

  std::string_view rest(reinterpret_cast<const char*>(data + 1), size - 1);
  size_t steps = 0;
  while (!rest.empty() && steps < kMaxSteps) {
    const size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (!line.empty() && line[0] == '!') {
      send(session, line.substr(1), piece, steps);  // raw bytes
    } else if (!line.empty() && line[0] == '@') {
      send(session, framed("qRcmd," + to_hex(line.substr(1))), piece, steps);  // a monitor command
    } else {
      send(session, framed(line), piece, steps);
    }
  }
  return 0;
}
