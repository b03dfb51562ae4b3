// Takes from a command the system calls by which it could keep memory that was lent to its standard input.
#pragma once

namespace gcore::writer {

/// Makes splice(), tee() and io_uring_setup() fail on the calling thread, and in all that it starts, for good. False
/// when that takes privileges which this thread lacks, or the kernel or this machine has no such filters: then nothing
/// has changed.
bool forbid_splicing();

}  // namespace gcore::writer
