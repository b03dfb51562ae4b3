// Processes, threads and messages of a QNX kernel in guest memory that is hostile: a kernel's structures that are
// anything.
//
// Input: one byte of choices, then memory from address 0 on, which repeats up to 256 KiB. No vCPU has paging on, so
// that virtual addresses are physical and many a pointer leads somewhere. Bits of the choices: 0-1 machine, 2
// big-endian, 3 memory does not repeat.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "reader/dump/dump.h"
#include "reader/guest/guest.h"
#include "reader/guest/qnx/qnx_kernel.h"
#include "tests/fuzz/input_file.h"
#include "tests/support/dump_builder.h"

namespace {

using namespace gcore::reader;  // NOLINT: a program of one file
using gcore::tests::require;

constexpr size_t kMemory = 256 << 10;

/// A dump whose system page and message ring both stand at address 0.
int dump_file(unsigned choices, std::string_view bytes) {
  constexpr uint16_t kMachines[] = {gcore::tests::kEmX86_64, gcore::tests::kEmAarch64, gcore::tests::kEmX86,
                                    gcore::tests::kEmX86_64};
  gcore::tests::QnxNote note;
  note.machine = kMachines[choices & 3];
  note.big_endian = (choices & 4) != 0;
  note.extra_names = {note.machine == gcore::tests::kEmAarch64 ? "sctlr_el1" : "cr0"};
  note.cpus.push_back({});
  std::string memory(bytes);
  const bool repeats = (choices & 8) == 0;
  while (repeats && memory.size() < kMemory) memory.append(bytes.substr(0, kMemory - memory.size()));
  gcore::tests::DumpBuilder builder;
  builder.machine = note.machine;
  builder.big_endian = note.big_endian;
  builder.elf32 = note.machine == gcore::tests::kEmX86;
  return builder.note(note.build()).memory(0, memory).descriptor();
}

void check_processes(const QnxKernel& kernel) {
  const auto processes = kernel.processes();
  require(processes || !processes.error().text.empty());
  if (!processes) return;
  for (size_t i = 0; i < std::min<size_t>(processes->size(), 4); ++i) {
    const QnxProcess& process = (*processes)[i];
    for (const char c : process.name) require(c >= 0x20 && c <= 0x7e);
    const auto ids = kernel.threads(process);
    require(std::ranges::is_sorted(ids));
    for (size_t k = 0; k < std::min<size_t>(ids.size(), 4); ++k) {
      const auto thread = kernel.thread(process.pid, ids[k]);
      require(thread ? thread->process.pid == process.pid : !thread.error().text.empty());
    }
    require(!kernel.thread(process.pid, 0));
  }
  const auto tasks = kernel.tasks();
  require(tasks && tasks->list.size() == processes->size());
  for (size_t i = 0; i < std::min<size_t>(tasks->list.size(), 4); ++i)
    require(tasks->list[i].process.pid == (*processes)[i].pid);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return -1;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto dump = Dump::open_descriptor(dump_file(data[0], bytes), "input");
  require(dump.has_value());
  const Guest guest(**dump);
  require(!guest.space_of_cpu(0) || !guest.space_of_cpu(0)->paging());
  const auto kernel = QnxKernel::find(guest, 0);
  if (kernel)
    check_processes(*kernel);
  else
    require(!kernel.error().text.empty());
  const auto messages = qnx_messages(**dump);
  require(messages ? messages->ends_with('\n') : !messages.error().text.empty());
  return 0;
}
