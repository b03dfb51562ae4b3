#include "tests/oracle/stopped_guest.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <stdexcept>

#include "tests/support/paths.h"
#include "tests/support/vcpu_states.h"

namespace gcore::tests {
namespace {

constexpr size_t kInFlight = 64;  // requests; the stub answers them in order

QemuGuest::Options busy(QemuGuest::Options options) {
  options.append += " gcore.processes=" + std::to_string(options.cpus - 1);  // init itself is busy too
  return options;
}

std::string hex(uint64_t number) {
  char digits[17];
  std::snprintf(digits, sizeof digits, "%llx", static_cast<unsigned long long>(number));
  return digits;
}

std::unique_ptr<reader::Dump> opened(const std::string& path) {
  auto dump = reader::Dump::open(path);
  if (!dump) throw std::runtime_error(dump.error().text);
  return std::move(*dump);
}

/// The text that the stub's monitor prints for a command whose request has been sent.
std::string monitor_answer(RspClient& stub) {
  stub.console.clear();
  if (const std::string reply = stub.receive(); reply != "OK") throw std::runtime_error("QEMU's monitor gave " + reply);
  return stub.console;
}

std::optional<uint64_t> parse_gpa(const std::string& text) {
  if (text.starts_with("Unmapped")) return std::nullopt;
  if (!text.starts_with("gpa: ")) throw std::runtime_error("gva2gpa gave " + text);
  return std::stoull(text.substr(5), nullptr, 16);  // "0x1000", and "0"
}

}  // namespace

StoppedGuest::StoppedGuest(QemuGuest::Options options)
    : cpus_(options.cpus),
      is_x86_(options.machine == "x86_64"),
      memory_mib_(options.memory_mib),
      isolates_page_tables_(options.append.find("pti=on") != std::string::npos),
      guest_(busy(std::move(options))) {
  guest_.wait_until_booted();
  guest_.command("echo 1 >/proc/sys/kernel/printk; /bin/busybox ps -o pid,comm; echo told''-everything");
  if (!guest_.process().wait_for_line(Process::Stream::out, "told-everything", 120s))
    throw std::runtime_error("the guest does not answer: " + guest_.console());
  ps_ = guest_.console();
  ps_.erase(0, ps_.find("PID "));
  guest_.stop();
  while (std::ranges::none_of(vcpu_states_by_qemu(guest_, cpus_),
                              [](const std::string& state) { return state.starts_with("user"); })) {
    guest_.resume();
    guest_.stop();
  }
  // Before the stub has a client: gcore-dump takes the aarch64 system registers from there.
  qnx_path_ = dump("qnx");
  vmcore_path_ = dump("vmcore");
  qnx_ = opened(qnx_path_);
  vmcore_ = opened(vmcore_path_);
  connect_stub();
}

std::string StoppedGuest::dump(const std::string& dialect) {
  const Completed done = run({program("gcore-dump"), "--qmp", guest_.qmp_socket(), "--dialect", dialect, "--system",
                              dialect, folder().path()});
  if (done.status != ExitStatus{0, 0}) throw std::runtime_error("gcore-dump: " + done.err);
  std::string path = folder().path(dialect + ".gcore");
  std::filesystem::rename(done.out.substr(0, done.out.find('\n')), path);
  return path;
}

void StoppedGuest::connect_stub() {
  stub_.emplace(RspClient::unix_socket(guest_.gdb_socket()));
  stub_->handshake();
}

reader::AddressSpace StoppedGuest::space_of(size_t cpu) const {
  auto space = reader::AddressSpace::of_cpu(*qnx_, cpu, {.kpti_fallback = false});
  if (!space) throw std::runtime_error(space.error().text);
  return std::move(*space);
}

bool StoppedGuest::is_vhe_host() const {
  constexpr uint64_t kE2h = uint64_t{1} << 34;
  return (qnx_->cpus()[0].registers.get("hcr_el2").value_or(0) & kE2h) != 0;
}

void StoppedGuest::allow_everything() {
  if (is_x86_) return;
  stub_->target_xml();  // QEMU's stub takes no register of one that has not asked for them
  for (const std::string& thread : stub_->threads()) {
    stub_->select(thread);
    // Register 33 is cpsr: EL1h, or EL2h in a host with VHE, with interrupts masked, PAN off.
    if (stub_->request(is_vhe_host() ? "P21=c9030000" : "P21=c5030000") != "OK")
      throw std::runtime_error("QEMU's stub does not set cpsr");
  }
}

std::vector<std::optional<uint64_t>> StoppedGuest::gva2gpa(size_t cpu, const std::vector<uint64_t>& addresses) {
  stub_->send("qRcmd," + to_hex("cpu " + std::to_string(cpu)));
  monitor_answer(*stub_);
  std::vector<std::optional<uint64_t>> answers;
  for (size_t at = 0; at < addresses.size(); at += kInFlight) {
    const size_t end = std::min(addresses.size(), at + kInFlight);
    for (size_t i = at; i < end; ++i) stub_->send("qRcmd," + to_hex("gva2gpa 0x" + hex(addresses[i])));
    for (size_t i = at; i < end; ++i) answers.push_back(parse_gpa(monitor_answer(*stub_)));
  }
  return answers;
}

std::vector<std::string> StoppedGuest::read_all(const std::vector<uint64_t>& addresses, size_t size) {
  std::vector<std::string> answers;
  for (size_t at = 0; at < addresses.size(); at += kInFlight) {
    const size_t end = std::min(addresses.size(), at + kInFlight);
    for (size_t i = at; i < end; ++i) stub_->send("m" + hex(addresses[i]) + "," + hex(size));
    for (size_t i = at; i < end; ++i) {
      const std::string reply = stub_->receive();
      answers.push_back(reply.size() == 2 * size ? from_hex(reply) : "");
    }
  }
  return answers;
}

std::vector<std::string> StoppedGuest::read_virtual(size_t cpu, const std::vector<uint64_t>& addresses, size_t size) {
  stub_->select(stub_->threads().at(cpu));
  return read_all(addresses, size);
}

std::vector<std::string> StoppedGuest::read_physical(const std::vector<uint64_t>& addresses, size_t size) {
  if (stub_->request("Qqemu.PhyMemMode:1") != "OK") throw std::runtime_error("QEMU's stub reads no physical memory");
  auto answers = read_all(addresses, size);
  stub_->request("Qqemu.PhyMemMode:0");
  return answers;
}

}  // namespace gcore::tests
