// A file on a server, copied as a whole. Private to the reader.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "reader/error.h"
#include "reader/source/remote/remote.h"
#include "reader/source/remote/target.h"
#include "reader/source/remote/transfers.h"
#include "reader/source/source.h"

namespace gcore::reader {

/// Into an unnamed temporary file. A connection that breaks has it begin again, since the server may serve no ranges.
Expected<std::unique_ptr<Source>> download(const Target& target, const TransferLimits& limits,
                                           const std::function<void(uint64_t, uint64_t)>& progress, RemoteState& state);

}  // namespace gcore::reader
