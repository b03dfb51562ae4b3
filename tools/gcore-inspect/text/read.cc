#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <span>

#include "tools/common/progress.h"
#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {
namespace {

constexpr size_t kRow = 16;
constexpr size_t kChunk = 1 << 20;  // a multiple of kRow

/// Rows of 16 bytes. As in hexdump, rows equal to the one before are one line with a star.
class HexDump {
 public:
  void add(uint64_t address, std::span<const std::byte> bytes) {
    for (size_t at = 0; at < bytes.size(); at += kRow) {
      const auto row = bytes.subspan(at, std::min(kRow, bytes.size() - at));
      add_row(address + at, row);
    }
  }
  /// The end of the data: where the last row was left out, its end must be seen.
  void finish(uint64_t end) const {
    if (starred_) std::puts(fmt::format("{:#018x}", end).c_str());
  }

 private:
  void add_row(uint64_t address, std::span<const std::byte> row) {
    const bool same = row.size() == kRow && have_previous_ && std::memcmp(row.data(), previous_, kRow) == 0;
    if (same) {
      if (!starred_) std::puts("*");
      starred_ = true;
      return;
    }
    starred_ = false;
    have_previous_ = row.size() == kRow;
    if (have_previous_) std::memcpy(previous_, row.data(), kRow);
    std::string hex, text;
    for (size_t i = 0; i < row.size(); ++i) {
      const auto byte = static_cast<unsigned>(row[i]);
      hex += fmt::format("{}{:02x}", i == kRow / 2 ? "  " : " ", byte);
      text += byte >= 0x20 && byte < 0x7f ? static_cast<char>(byte) : '.';
    }
    std::puts(fmt::format("{:#018x} {:<{}}  |{}|", address, hex, kRow * 3 + 1, text).c_str());
  }

  std::byte previous_[kRow] = {};
  bool have_previous_ = false, starred_ = false;
};

/// Reads on from an address of either kind. `why` says why fewer bytes than asked for came; what the file does not have
/// of those that came is counted in `zero_filled`.
struct Source {
  const reader::Dump& dump;
  const reader::AddressSpace* space;  // nullptr: guest-physical

  size_t read(uint64_t address, std::span<std::byte> into, std::string& why, uint64_t& zero_filled) const {
    if (space != nullptr) {
      const auto result = space->read(reader::VirtAddr(address), into);
      if (result.bytes < into.size()) why = result.why;
      zero_filled += result.zero_filled;
      return result.bytes;
    }
    const auto result = dump.read(reader::PhysAddr(address), into);
    if (result.bytes < into.size()) why = reader::describe(result);
    zero_filled += result.zero_filled;
    return result.bytes;
  }
};

int copy(const Job& job, const ReadRequest& request, const Source& source) {
  std::vector<std::byte> buffer(static_cast<size_t>(std::min<uint64_t>(request.size, kChunk)));
  HexDump hex;
  uint64_t done = 0, zero_filled = 0;
  std::string why;
  Progress progress(job.program, "read memory", request.size, progress_wanted(job.program, true));
  while (done < request.size && why.empty()) {
    const auto want = static_cast<size_t>(std::min<uint64_t>(request.size - done, kChunk));
    const size_t got = source.read(request.address + done, std::span(buffer).first(want), why, zero_filled);
    const auto bytes = std::span<const std::byte>(buffer).first(got);
    if (request.raw) std::fwrite(bytes.data(), 1, bytes.size(), stdout);
    if (!request.raw) hex.add(request.address + done, bytes);
    if (std::ferror(stdout) != 0) break;  // run_program says why
    done += got;
    progress.add(got);
  }
  if (!request.raw) hex.finish(request.address + done);
  if (zero_filled != 0)
    job.program.note(
        fmt::format("{} of {} bytes are zeros that the file does not have (p_filesz < p_memsz): see "
                    "--segments",
                    zero_filled, done));
  if (why.empty()) return kExitDone;
  return job.program.fail(
      fmt::format("read {} {:#x}", request.physical ? "guest-physical" : "virtual", request.address + done),
      fmt::format("{} ({} of {} bytes read)", why, done, request.size));
}

}  // namespace

int read_memory(const Job& job, const ReadRequest& request) {
  if (request.physical) return copy(job, request, {job.dump, nullptr});
  const auto space = job.chosen_space();
  if (!space)
    return job.program.fail(fmt::format("read virtual {:#x}", request.address),
                            space.error().text + "; --phys reads guest-physical memory");
  // Through a guess the bytes can be those of another address space: who reads them has to know.
  const bool guessed = !job.root && !space->has_root_of_cpu();
  if (guessed || !space->translator().paging().assumed.empty())
    job.program.note(fmt::format("vCPU {}: {}", job.chosen_cpu(), space->describe()));
  return copy(job, request, {job.dump, &*space});
}

}  // namespace gcore::tools::inspect
