// What a conversion loses: the notes are written in the new dialect, read again, and compared with the old ones.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "tools/common/names.h"
#include "tools/common/program.h"
#include "tools/gcore-convert/dump_guest.h"

namespace gcore::tools::convert {
namespace {

/// The dump's vCPUs with one page of memory.
class NotesOnly : public DumpGuest {
 public:
  explicit NotesOnly(const reader::Dump& dump) : DumpGuest(dump, -1) {}
  std::vector<writer::MemoryRange> memory() override { return {{.address = 0, .size = 4096}}; }
  size_t read_memory(uint64_t, void* to, size_t size) override {
    std::memset(to, 0, size);
    return size;
  }
};

/// A directory that is gone, with the one file in it, when the object goes.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    const char* chosen = std::getenv("TMPDIR");
    path_ = std::string(chosen && *chosen ? chosen : "/tmp") + "/gcore-convert-XXXXXX";
    if (!mkdtemp(path_.data())) path_.clear();
  }
  ~ScratchDirectory() {
    if (path_.empty()) return;
    unlink(file().c_str());
    rmdir(path_.c_str());
  }
  const std::string& path() const { return path_; }
  std::string file() const { return path_ + "/notes"; }

 private:
  std::string path_;
};

std::string sentence(const std::set<std::string>& names, const char* one, const char* many) {
  return list_names({names.begin(), names.end()}, names.size(), one, many);
}

void compare_registers(const reader::Cpu& before, const reader::Cpu& after, std::set<std::string>& lost) {
  const format::Machine machine = before.registers.machine();
  const auto all = format::registers(machine);
  for (size_t slot = 0; slot < all.size(); ++slot) {
    const auto value = before.registers.get_slot(slot);
    if (value && after.registers.get_slot(slot) != value) lost.emplace(all[slot].name);
  }
  for (const auto& [name, value] : before.other_registers) lost.insert(name);
}

/// "2 ELF notes LINUX 0x405, SVE registers, not interpreted by gcore".
std::string note_names(const reader::OtherNotes& notes) {
  constexpr uint32_t kSve = 0x405;  // NT_ARM_SVE
  char type[16];
  std::snprintf(type, sizeof type, "0x%x", notes.type);
  std::string text = std::to_string(notes.count) + (notes.count == 1 ? " ELF note " : " ELF notes ");
  text += printable(notes.name) + " " + type;
  return text + (notes.name == "LINUX" && notes.type == kSve ? ", SVE registers" : "") + ", not interpreted by gcore";
}

void compare(const reader::Dump& before, const reader::Dump& after, std::vector<std::string>& lost) {
  if (before.cpus().size() != after.cpus().size()) {
    lost.push_back(std::to_string(before.cpus().size()) + " vCPUs became " + std::to_string(after.cpus().size()));
    return;
  }
  std::set<std::string> registers, names, numbers;
  for (size_t index = 0; index < before.cpus().size(); ++index) {
    const reader::Cpu& old_cpu = before.cpus()[index];
    const reader::Cpu& new_cpu = after.cpus()[index];
    compare_registers(old_cpu, new_cpu, registers);
    if (old_cpu.process_name != new_cpu.process_name) names.insert(old_cpu.process_name);
    if (old_cpu.number != new_cpu.number) numbers.insert(std::to_string(old_cpu.number));
  }
  if (!registers.empty()) lost.push_back(register_names(registers));
  if (!names.empty()) lost.push_back(sentence(names, "the process name", "the process names"));
  if (!numbers.empty()) lost.push_back(sentence(numbers, "the vCPU number", "the vCPU numbers"));
  if (before.signal() != after.signal()) lost.push_back("the signal number " + std::to_string(before.signal()));
  if (before.faulting_cpu() != after.faulting_cpu())
    lost.push_back("that vCPU " + std::to_string(before.faulting_cpu()) + " is the one to be shown first");
  if (!before.vmcoreinfo().empty() && before.vmcoreinfo() != after.vmcoreinfo()) lost.push_back("the text VMCOREINFO");
  for (const reader::OtherNotes& notes : before.other_notes()) lost.push_back(note_names(notes));
  if (before.byte_order() != after.byte_order()) lost.push_back("the byte order of the file's structures");
  const auto& facts = before.kdump_facts();
  if (facts && (facts->procnto_number || facts->syspage_number || facts->dumpinfo_number))
    lost.push_back("which segments are procnto, the system page and the kernel's messages");
}

}  // namespace

reader::Expected<std::vector<std::string>> losses(const reader::Dump& dump, writer::Dialect dialect) {
  const auto failed = [](std::string text) {
    return std::unexpected(reader::Error{reader::Error::Kind::io, std::move(text)});
  };
  const ScratchDirectory scratch;
  if (scratch.path().empty()) return failed(std::string("cannot make a temporary directory: ") + std::strerror(errno));
  NotesOnly guest(dump);
  writer::Options options;
  options.target = scratch.path();
  options.file_name = "notes";
  options.dialect = dialect;
  options.sync = false;
  const writer::Result written = writer::dump(guest, options, guest.reason());
  if (!written.status) return failed(written.status.text());
  auto again = reader::Dump::open(scratch.file());
  if (!again) return failed(again.error().text);
  std::vector<std::string> lost;
  compare(dump, **again, lost);
  return lost;
}

}  // namespace gcore::tools::convert
