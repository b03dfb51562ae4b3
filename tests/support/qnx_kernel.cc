#include "tests/support/qnx_kernel.h"

#include <algorithm>

namespace gcore::tests {
namespace {

constexpr uint64_t kSystemPage = 0x10000000, kRing = 0x11000000;
constexpr uint64_t kPidAt = 0x10, kNameAt = 0x18, kThreadsAt = 0x40, kMemoryAt = 0x80, kRegistersAt = 0x100;
constexpr uint64_t kPointed = 0x8000, kTableAt = 0x28, kProcess = 0x200, kThread = 0x200, kObject = 0x80;
constexpr uint64_t kFree = 1;  // of a vector's entry

/// Memory that grows at its end.
class Memory {
 public:
  Memory(std::string bytes, uint64_t base) : base_(base) { bytes_.text(bytes).align(4096); }
  /// The address of so many zeros.
  uint64_t room(size_t size) {
    const uint64_t at = bytes_.size();
    bytes_.zeros(size).align(16);
    return at;
  }
  void put(uint64_t at, uint64_t value, int size) { bytes_.put(at, value, size); }
  void point(uint64_t at, uint64_t to) { put(at, base_ + to, 8); }
  std::string take() { return bytes_.str(); }

 private:
  Bytes bytes_;
  uint64_t base_;
};

}  // namespace

std::string QnxKernelBuilder::with_tables(std::string bytes, uint64_t& kdebug_info) const {
  Memory memory(std::move(bytes), base);
  const uint64_t info = memory.room(128), debug = memory.room(128), dump = memory.room(64), vector = memory.room(32),
                 entries = memory.room(processes.size() * 8 + 8);
  kdebug_info = base + info;
  memory.point(info + 40, debug);
  memory.point(info + 72, dump);
  memory.point(debug + 32, vector);
  memory.put(debug + 40, 1, 2);
  memory.put(debug + 44, kRegistersAt, 2);
  memory.put(debug + 48, kPidAt, 2);
  memory.put(debug + 50, kNameAt, 2);
  memory.put(debug + 54, kThreadsAt, 2);
  memory.put(debug + 60, kPointed | kMemoryAt, 2);
  memory.put(dump + 16, kTableAt, 2);
  memory.point(vector + 8, entries);
  memory.put(vector + 16, processes.size() + 1, 2);
  memory.put(entries, kFree, 8);
  for (size_t i = 0; i < processes.size(); ++i) {
    const Process& process = processes[i];
    const uint64_t at = memory.room(kProcess), name = memory.room(process.name.size() + 1),
                   object = memory.room(kObject);
    memory.point(entries + (i + 1) * 8, at);
    memory.put(at + kPidAt, process.pid, 4);
    for (size_t c = 0; c < process.name.size(); ++c) memory.put(name + c, static_cast<uint8_t>(process.name[c]), 1);
    memory.point(at + kNameAt, name);
    const uint64_t slot = memory.room(8);  // where the pointer to the memory object stands
    memory.point(at + kMemoryAt, slot);
    memory.point(slot, object);
    memory.point(object + kTableAt, process.root);
    uint64_t most = 0;
    for (const Thread& thread : process.threads) most = std::max(most, thread.id);
    const uint64_t threads = memory.room(most * 8 + 8);
    memory.point(at + kThreadsAt + 8, threads);
    memory.put(at + kThreadsAt + 16, most, 2);
    for (uint64_t id = 1; id <= most; ++id) memory.put(threads + (id - 1) * 8, kFree, 8);
    for (const Thread& thread : process.threads) {
      const uint64_t place = memory.room(kThread);
      memory.point(threads + (thread.id - 1) * 8, place);
      memory.put(place + kRegistersAt + 64, thread.rbp, 8);
      memory.put(place + kRegistersAt + 120, thread.rip, 8);
      memory.put(place + kRegistersAt + 144, thread.rsp, 8);
    }
  }
  return memory.take();
}

DumpBuilder QnxKernelBuilder::dump(std::string memory, QnxNote note) const {
  uint64_t info = 0;
  const std::string all = with_tables(std::move(memory), info);
  Bytes page;  // struct syspage_entry; docs/format.md
  page.u16(512).u16(1024).u16(0x100).u16(note.cpus.size()).u16(64).u16(256).pad_to(64 + 160).u64(info).pad_to(1024);
  note.syspage = 1;
  if (!messages.empty()) note.dumpinfo = 2;
  DumpBuilder dump;
  dump.note(note.build()).memory(0, all).memory(kSystemPage, page.str());
  if (messages.empty()) return dump;
  Bytes ring;
  ring.u32(1).u32(0).u32(0).u32(0).u64(0).u32(0).u32(0).u32(0).u32(messages.size()).u32(0).text(messages);
  return dump.memory(kRing, ring.str());
}

}  // namespace gcore::tests
