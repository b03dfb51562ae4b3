// What a conversion loses: the notes are written in the new dialect, read again, and compared with the old ones.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

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

constexpr size_t kMaxNamed = 200;  // a file may claim any number of names

std::string sentence(const std::vector<std::string>& names, size_t count, const char* one, const char* many) {
  std::string list;
  for (size_t i = 0; i < names.size() && i < kMaxNamed; ++i) list += ' ' + names[i];
  if (names.size() > kMaxNamed) list += " and more";
  return std::string(count == 1 ? one : many) + list;
}

std::string sentence(const std::set<std::string>& names, const char* one, const char* many) {
  return sentence({names.begin(), names.end()}, names.size(), one, many);
}

/// "xmm12" as "xmm" and 12; names without a number behind, or with one that is no index, as they are.
std::pair<std::string, std::optional<unsigned>> split_number(const std::string& name) {
  const size_t digits = name.find_last_not_of("0123456789") + 1;
  if (digits == 0 || digits == name.size() || name.size() - digits > 3 ||
      (name[digits] == '0' && digits + 1 < name.size()))
    return {name, std::nullopt};
  return {name.substr(0, digits), static_cast<unsigned>(std::stoul(name.substr(digits)))};
}

/// Registers as people write them: "cr8 dr0..dr3 efer xmm0..xmm15".
std::vector<std::string> in_runs(const std::set<std::string>& names) {
  std::set<std::pair<std::string, std::optional<unsigned>>> parts;
  for (const std::string& name : names) parts.insert(split_number(name));
  std::vector<std::string> runs;
  for (auto at = parts.begin(); at != parts.end();) {
    const auto& [base, first] = *at;
    std::optional<unsigned> last = first;
    while (++at != parts.end() && last && at->first == base && at->second == *last + 1) last = at->second;
    runs.push_back(first ? base + std::to_string(*first) : base);
    if (last != first) runs.back() += ".." + base + std::to_string(*last);
  }
  return runs;
}

void compare_registers(const reader::Cpu& before, const reader::Cpu& after, std::set<std::string>& lost) {
  const format::Machine machine = before.registers.machine();
  const auto all = format::registers(machine);
  for (size_t slot = 0; slot < all.size(); ++slot) {
    const auto value = before.registers.get_slot(slot);
    if (value && after.registers.get_slot(slot) != value) {
      std::string name(all[slot].name);
      for (const char* half : {".lo", ".hi"})
        if (name.ends_with(half)) name.resize(name.size() - 3);
      lost.insert(name);
    }
  }
  for (const auto& [name, value] : before.other_registers) lost.insert(name);
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
  if (!registers.empty()) lost.push_back(sentence(in_runs(registers), registers.size(), "register", "registers"));
  if (!names.empty()) lost.push_back(sentence(names, "the process name", "the process names"));
  if (!numbers.empty()) lost.push_back(sentence(numbers, "the vCPU number", "the vCPU numbers"));
  if (before.signal() != after.signal()) lost.push_back("the signal number " + std::to_string(before.signal()));
  if (before.faulting_cpu() != after.faulting_cpu())
    lost.push_back("that vCPU " + std::to_string(before.faulting_cpu()) + " is the one to be shown first");
  if (!before.vmcoreinfo().empty() && before.vmcoreinfo() != after.vmcoreinfo()) lost.push_back("the text VMCOREINFO");
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
