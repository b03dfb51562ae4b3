// What the reader finds out about Debian's kernel, from QEMU's dump of it alone, against what the running kernel says
// of itself on its console.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <ostream>
#include <sstream>

#include "reader/dump/vmcoreinfo.h"
#include "reader/guest/guest.h"
#include "reader/space/address_space.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/qemu_guest.h"
#include "tests/support/regex.h"
#include "tests/support/vcpu_states.h"

namespace gcore::tests {
namespace {

using reader::AddressSpace;
using reader::Dump;
using reader::Guest;
using reader::GuestSystem;
using reader::VirtAddr;
using testing::Each;
using testing::HasSubstr;

struct Kind {
  const char* name;
  const char* machine;
  const char* cpu;
  const char* append;
  const char* paging;
  /// Where the packaged kernel is linked to: x86_64's Kconfig; aarch64's image begins 128 MiB (from 6.4 on 2 GiB) into
  /// the upper half, and maps from 64 KiB on.
  uint64_t linked_to;
  const char* kernel = "";

  friend void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }
};

/// Symbols of the running kernel, and its version, as it prints them.
class Console {
 public:
  explicit Console(QemuGuest& guest) {
    guest.command(
        "/bin/busybox grep -E ' (_text|_stext|linux_banner|swapper_pg_dir|init_top_pgt|cpu_do_idle)$' /proc/kallsyms");
    guest.command("/bin/busybox cat /proc/version; echo told''-everything");  // what is typed appears there, too
    if (!guest.process().wait_for_line(Process::Stream::out, "told-everything", 60s))
      throw std::runtime_error("the guest does not answer: " + guest.console());
    text_ = guest.console();
  }

  std::optional<uint64_t> symbol(const std::string& name) const {
    RegexMatch found;
    const bool is_there = regex_search(text_, found, Regex("([0-9a-f]{16}) [A-Za-z] " + name + "[\r\n]"));
    return is_there ? std::optional(std::stoull(found[1], nullptr, 16)) : std::nullopt;
  }
  std::string version() const {
    RegexMatch found;  // messages of the kernel have a time in front
    return regex_search(text_, found, Regex("\n(Linux version [^\r\n]+)")) ? found[1] : "";
  }

 private:
  std::string text_;
};

/// The dump with its notes called NAME (and those in the guest's memory) under another name, so that no reader knows
/// them.
void hide_notes(const std::string& path, const std::string& to, std::string_view name, size_t within = 64 << 10) {
  std::string bytes = read_file(path);
  const size_t notes = std::min(bytes.size(), within);
  for (size_t at = 0; (at = bytes.find(std::string(name) + '\0', at)) < notes; ++at) bytes[at] = '-';
  std::ofstream(to, std::ios::binary) << bytes;
}

void expect_text(const AddressSpace& space, std::optional<uint64_t> address, const std::string& expected) {
  if (!address) return;
  std::string text(expected.size(), '\0');
  const auto read = space.read(VirtAddr(*address), std::as_writable_bytes(std::span(text)));
  EXPECT_EQ(text, expected) << read.why;
}

class GuestSystemOf : public testing::TestWithParam<Kind> {
 protected:
  static constexpr size_t kCpus = 2;
  std::vector<std::string> expected_states_;

  void stop_with_a_halted_vcpu(QemuGuest& guest, const Console& console);
  static bool is_idle(QemuGuest& guest, const Console& console, size_t cpu);
  void expect_states(QemuGuest& guest, const std::string& qemus_dump) const;
  static void expect_tables_alone(const std::string& path, const Console& console);
  /// x86_64 says nowhere where it has memory; Documentation/arch/x86/x86_64/mm.rst does for when KASLR is off.
  static void expect_direct_map(const Dump& dump, const GuestSystem& guest) {
    EXPECT_EQ(guest.page_size, 4096u);
    ASSERT_TRUE(guest.page_offset);
    const reader::Vmcoreinfo info(guest.vmcoreinfo);
    if (dump.machine() == format::Machine::aarch64) {
      const auto bits = info.number("NUMBER(VA_BITS)"), start = info.number("NUMBER(PHYS_OFFSET)");
      ASSERT_TRUE(bits && start);
      EXPECT_EQ(*guest.page_offset, (~uint64_t{0} << *bits) - *start);
    } else if (guest.kaslr_offset == 0) {
      const bool five_levels = info.number("NUMBER(pgtable_l5_enabled)") == 1;
      EXPECT_EQ(*guest.page_offset, five_levels ? 0xff11000000000000 : 0xffff888000000000);
    } else {
      EXPECT_EQ(*guest.page_offset % (1 << 30), 0u);
      EXPECT_GT(*guest.page_offset, 0xff00000000000000);
    }
  }
  void expect_known(const std::string& path, const Console& console) {
    SCOPED_TRACE(path);
    auto opened = Dump::open(path);
    ASSERT_TRUE(opened) << opened.error().text;
    const Dump& dump = **opened;
    const reader::Guest found(dump);
    const GuestSystem& guest = found.system();
    EXPECT_EQ(guest.kind, GuestSystem::Kind::linux_kernel);
    EXPECT_EQ(guest.banner, console.version());
    EXPECT_THAT(guest.banner, HasSubstr(guest.release));
    const bool x86 = dump.machine() == format::Machine::x86_64;
    // Debian's 6.1 of aarch64 does not list data.
    EXPECT_EQ(console.symbol("linux_banner").has_value(), x86 || *GetParam().kernel != '\0');
    const auto start = console.symbol("_stext");
    ASSERT_TRUE(start);
    ASSERT_TRUE(guest.image_address);
    EXPECT_EQ(guest.image_address->value, *start);
    ASSERT_TRUE(guest.kaslr_offset);
    EXPECT_EQ(*start - *guest.kaslr_offset, GetParam().linked_to);
    EXPECT_EQ(*guest.kaslr_offset == 0, std::string(GetParam().append) == "nokaslr");
    expect_direct_map(dump, guest);
    for (const reader::Cpu& cpu : dump.cpus()) {
      const auto space = found.space_of_cpu(cpu.index);
      ASSERT_TRUE(space) << space.error().text;
      const auto there = space->translate(VirtAddr(*start));
      ASSERT_TRUE(there) << there.error().text << " with " << space->describe();
      EXPECT_EQ(there->address, guest.image_physical);
      expect_text(*space, console.symbol("linux_banner"), console.version());
      // aarch64's kernel does not list its data: struct utsname in init_uts_ns has the release as its third text.
      const reader::Vmcoreinfo info(guest.vmcoreinfo);
      const auto names = info.symbol("init_uts_ns");
      ASSERT_TRUE(names);
      constexpr uint64_t kField = 65;
      expect_text(*space, *names + info.number("OFFSET(uts_namespace.name)").value_or(0) + 2 * kField, guest.release);
    }
  }
};

/// Neither a register nor a note says where the tables are: memory that looks like some must not be taken for them.
void GuestSystemOf::expect_tables_alone(const std::string& path, const Console& console) {
  auto opened = Dump::open(path);
  ASSERT_TRUE(opened) << opened.error().text;
  const Guest found(**opened);
  const GuestSystem& guest = found.system(reader::GuestSearch::thorough);
  EXPECT_EQ(guest.vmcoreinfo, "");
  EXPECT_EQ(guest.banner, console.version());
  const auto space = found.space_of_cpu(0);
  ASSERT_TRUE(space) << space.error().text;
  EXPECT_THAT(space->describe(), HasSubstr("where these tables map a Linux kernel"));
  const auto version = console.symbol("linux_banner");
  expect_text(*space, version, console.version());
  const auto start = console.symbol("_stext");
  ASSERT_TRUE(start && guest.image_address && guest.image_physical);
  const auto there = space->translate(VirtAddr(*start));
  ASSERT_TRUE(there) << there.error().text << " with " << space->describe();
  EXPECT_EQ(there->address.value - guest.image_physical->value, *start - guest.image_address->value);
}

/// What every vCPU was doing, of QEMU's own dump and of gcore-dump's of the same moment.
void GuestSystemOf::expect_states(QemuGuest& guest, const std::string& qemus_dump) const {
  const Completed done = run({program("gcore-dump"), "--qmp", guest.qmp_socket(), guest.folder().path()});
  ASSERT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
  for (const std::string& path : {qemus_dump, done.out.substr(0, done.out.find('\n'))}) {
    const InspectedVcpus inspected = vcpu_states_by_inspect(path);
    EXPECT_EQ(inspected.states, expected_states_) << path;
    EXPECT_THAT(inspected.paging, Each(HasSubstr(GetParam().paging))) << path;
  }
}

/// Whether an aarch64 vCPU is in the kernel's cpu_do_idle, behind its WFI: QEMU does not say whether one is halted.
bool GuestSystemOf::is_idle(QemuGuest& guest, const Console& console, size_t cpu) {
  const auto idle = console.symbol("cpu_do_idle");
  const std::string registers = guest.qmp().human("info registers", static_cast<int>(cpu));
  RegexMatch found;
  if (!idle || !regex_search(registers, found, Regex("PC=([0-9a-f]{16})"))) return false;
  constexpr uint64_t kIdleSize = 256;
  const uint64_t pc = std::stoull(found[1], nullptr, 16);
  if (pc - *idle >= kIdleSize) return false;
  std::ostringstream command;
  command << "x/wx 0x" << std::hex << pc - 4;
  return guest.qmp().human(command.str(), static_cast<int>(cpu)).find("0xd503207f") != std::string::npos;
}

/// Lets the guest run until one vCPU is halted and another one is in a process.
void GuestSystemOf::stop_with_a_halted_vcpu(QemuGuest& guest, const Console& console) {
  for (;; guest.resume()) {
    guest.stop();
    expected_states_ = vcpu_states_by_qemu(guest, kCpus);
    for (size_t cpu = 0; cpu < kCpus; ++cpu)
      if (is_idle(guest, console, cpu)) expected_states_[cpu] += ", halted";
    const std::string all = testing::PrintToString(expected_states_);
    if (all.find("halted") != std::string::npos && all.find("user") != std::string::npos) return;
  }
}

TEST_P(GuestSystemOf, IsWhatTheConsoleSays) {
  QemuGuest::Options options;
  options.machine = GetParam().machine;
  options.cpu = GetParam().cpu;
  options.append = GetParam().append;
  options.kernel = GetParam().kernel;
  options.cpus = kCpus;
  options.memory_mib = 256;  // a quick search looks at so many pages, and the note may be in any of them
  QemuGuest guest(options);
  guest.wait_until_booted();
  const Console console(guest);
  ASSERT_NE(console.version(), "");
  stop_with_a_halted_vcpu(guest, console);
  const std::string path = guest.folder().path("guest.elf");
  guest.dump_guest_memory(path);
  expect_known(path, console);
  expect_states(guest, path);
  // Nor does it need the control registers.
  const std::string rootless = guest.folder().path("rootless.elf");
  hide_notes(path, rootless, "QEMU");
  expect_known(rootless, console);

  const Completed summary = run({program("gcore-inspect"), rootless});
  EXPECT_EQ(summary.status, (ExitStatus{0, 0})) << summary.err;
  EXPECT_THAT(summary.out, HasSubstr("guest     " + console.version() + "\n"));
  EXPECT_THAT(summary.out, HasSubstr("VMCOREINFO, found in guest memory at 0x"));

  const std::string bare = guest.folder().path("bare.elf");
  hide_notes(rootless, bare, "VMCOREINFO", SIZE_MAX);
  expect_tables_alone(bare, console);
}

INSTANTIATE_TEST_SUITE_P(
    Kernels, GuestSystemOf,
    testing::Values(Kind{"X86", "x86_64", "max", "", "x86_64, 5-level", 0xffffffff81000000},
                    Kind{"X86WithoutKaslr", "x86_64", "max,la57=off", "nokaslr", "x86_64, 4-level", 0xffffffff81000000},
                    Kind{"Aarch64", "aarch64", "cortex-a57", "", "48-bit", 0xffff800008010000},
                    Kind{"Aarch64With52Bits", "aarch64", "max", "", "52-bit", 0xffff800080010000, "6.12"}),
    [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace gcore::tests
