#include "tools/gcore-dump/vmcoreinfo.h"

#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <optional>

#include "reader/dump/vmcoreinfo.h"

namespace gcore::tools::qemu {
namespace {

constexpr uint64_t kPage = 4096;
constexpr size_t kBlock = 1 << 20;
constexpr size_t kMostTexts = 16, kMostCpus = 64;  // the guest can make up any number of the former

/// Where, from `offset` on, there may be something else than zeros; `end` when nowhere.
uint64_t next_touched(const Readable& memory, uint64_t offset, uint64_t end) {
  if (memory.process) return offset + memory.process->untouched(offset, end - offset);
  const off_t data = lseek(memory.fd, static_cast<off_t>(offset), SEEK_DATA);
  if (data < 0) return errno == ENXIO ? end : offset;
  return std::min(end, memory.start + (static_cast<uint64_t>(data) - memory.start) / kPage * kPage);
}

ssize_t read_at(const Readable& memory, uint64_t offset, char* to, size_t size) {
  if (memory.process) return static_cast<ssize_t>(memory.process->read(offset, to, size));
  return pread(memory.fd, to, size, static_cast<off_t>(offset));
}

/// `take` returns true when it wants no more.
template <class Take>
void search_pages(const Readable& memory, Take take) {
  const uint64_t end = memory.start + memory.size;
  uint64_t offset = memory.start;
  std::vector<char> block(kBlock + kPage);  // a note may go on in the next page
  while (offset < end) {
    offset = next_touched(memory, offset, end);
    if (offset >= end) return;
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(block.size(), end - offset));
    const ssize_t got = read_at(memory, offset, block.data(), wanted);
    if (got <= 0) return;
    const std::string_view bytes(block.data(), static_cast<size_t>(got));
    for (size_t page = 0; page < std::min(bytes.size(), kBlock); page += kPage)
      if (std::string text = reader::vmcoreinfo_note_at(bytes.substr(page)); !text.empty() && take(std::move(text)))
        return;
    offset += kBlock;
  }
}

/// "gpa: 0x1000000", "Unmapped", or that QEMU (before 4.1) does not know the command.
bool translates(Qmp& qmp, uint64_t address, uint64_t physical, size_t cpu) {
  char command[40], answer[40];
  std::snprintf(command, sizeof command, "gva2gpa 0x%" PRIx64, address);
  std::snprintf(answer, sizeof answer, "gpa: 0x%" PRIx64 "\n", physical);
  const auto said = qmp.human(command, static_cast<int>(cpu));
  return said && *said == answer;
}

}  // namespace

void VmcoreinfoSearch::search(const std::vector<Readable>& memory, Qmp& qmp, format::Machine machine,
                              std::span<const size_t> cpus) {
  bool enough = false;
  const auto take = [&](std::string text) {
    if (std::ranges::find(found_, text) != found_.end()) return false;
    found_.push_back(std::move(text));
    enough = is_confirmed(qmp, machine, cpus) || found_.size() >= kMostTexts;
    return enough;
  };
  for (size_t i = 0; i < memory.size() && !enough; ++i) search_pages(memory[i], take);
}

void VmcoreinfoSearch::put_first(const std::string& text) {
  if (text.empty()) return;
  std::erase(found_, text);
  found_.insert(found_.begin(), text);
  best_ = 0;
  confirmed_ = false;
}

bool VmcoreinfoSearch::is_confirmed(Qmp& qmp, format::Machine machine, std::span<const size_t> cpus) {
  constexpr size_t kFirst[] = {0};
  if (cpus.empty()) cpus = kFirst;
  for (size_t i = 0; i < found_.size() && !confirmed_; ++i)
    if (const auto start = format::kernel_start(machine, format::Vmcoreinfo(found_[i]));
        start && start->physical_address)
      for (const size_t cpu : cpus.first(std::min(cpus.size(), kMostCpus)))
        if (translates(qmp, start->address, *start->physical_address, cpu)) {
          best_ = i;
          confirmed_ = true;
          break;
        }
  return confirmed_;
}

const std::string& VmcoreinfoSearch::best() const {
  static const std::string none;
  return found_.empty() ? none : found_[best_];
}

}  // namespace gcore::tools::qemu
