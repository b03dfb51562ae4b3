// QEMU's own dump-guest-memory of a part of guest-physical space, taken into a file of ours.
//
// QEMU writes into a pipe that it is handed over the QMP socket, so neither process needs to reach the other's files.
// What arrives is stored with pages of zeros left out: the file is sparse however much memory it stands for.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "reader/dump/dump.h"
#include "tools/gcore-dump/qmp.h"
#include "writer/base/unique_fd.h"

namespace gcore::tools::qemu {

struct Capture {
  std::unique_ptr<reader::Dump> dump;  // notes and memory of the captured range
  base::UniqueFd file;                 // the same file, for ranges of memory that are given by descriptor
};

struct CaptureLimits {
  std::string directory;  // where what does not fit into memory goes, in a file without a name
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
  int give_up = -1;  // readable when it is to be given up; -1: never
};

inline constexpr char kDeadlineCame[] =
    "it was not copied when the pause deadline came; raise that, or have QEMU share the memory";

/// Captures [address, address + size) and every vCPU's notes. The guest should be paused (QEMU pauses it meanwhile
/// otherwise). Small ranges are kept in memory. At most one capture at a time.
QmpResult<Capture> capture(Qmp& qmp, uint64_t address, uint64_t size, const CaptureLimits& to);

}  // namespace gcore::tools::qemu
