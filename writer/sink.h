// Where a dump goes: one interface for a file and a pipe, so that nothing above knows which it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "writer/control.h"
#include "writer/memory.h"

namespace gcore::writer {

/// Takes the dump's bytes in order. Calls: write() and skip(), then finish() once; after any failure explain() and
/// abandon(). Destroying a sink that was not finished abandons it.
class Sink {
 public:
  virtual ~Sink() = default;

  virtual Status write(std::span<const std::byte> bytes) = 0;
  /// `size` zero bytes; costs a file nothing.
  virtual Status skip(uint64_t size) = 0;
  /// Takes the first whole pages of `memory` without a copy; `taken` is how many bytes these are. The caller write()s
  /// the rest. Memory that was lent must not change before return_lent() has returned.
  virtual Status lend(const Stretch& /*memory*/, uint64_t& taken) {
    taken = 0;
    return {};
  }
  /// Waits until no memory that was lent is in use any more. After a failure it may be, by a command that abandon()
  /// kills.
  virtual Status return_lent() { return {}; }
  /// All bytes are there: makes the dump appear, or waits for the command.
  virtual Status finish() = 0;
  /// After a failure, when the guest runs again: waits a moment for the cause, and returns the error with it.
  virtual Status explain(Status error) { return error; }
  /// Removes all that was made; a command is killed with its process group.
  virtual void abandon() = 0;

  /// How much room there is, or UINT64_MAX when nobody knows.
  virtual uint64_t room() const { return UINT64_MAX; }
  /// Files only: the file, into which what comes after a skip() may be written by others. Else -1.
  virtual int file() const { return -1; }
  /// Files only: writes anywhere, whatever the limits say, so that an unfinished dump can be made valid.
  virtual bool can_patch() const { return false; }
  virtual Status patch(uint64_t /*offset*/, std::span<const std::byte> /*bytes*/) { return {}; }
  /// Files only: takes room for `size` bytes at `offset` now, so that they can be written when the disk is full.
  virtual Status reserve(uint64_t /*offset*/, uint64_t /*size*/) { return {}; }
  /// Files only: gives up what is beyond `size`, and the room that it takes.
  virtual Status truncate(uint64_t /*size*/) { return {}; }
  /// Files only: finish() under the name that tells that the dump is not complete.
  virtual Status finish_partial() { return {}; }

  /// After finish(): the file, or "|COMMAND".
  virtual std::string path() const = 0;
  virtual uint64_t bytes() const = 0;  // that went out, holes included
  virtual int command_status() const { return 0; }
  virtual int command_signal() const { return 0; }
};

/// The name that a finished file gets.
struct FileName {
  std::string stem;       // "qnx7-20170821-120619"
  std::string extension;  // ".gcore"
  bool numbered = true;   // -1 to -9 go between them when the name is taken
  bool replace = false;   // an existing file is replaced
};

/// How a file stays invisible until it is finished: without a name (O_TMPFILE) where the file system can, else under a
/// hidden one. To insist on the latter is for tests.
enum class Invisible : uint8_t { automatic, hidden_name };

/// A file in `directory`, which may be a symbolic link to one. `sync`: fsync file and directory.
std::unique_ptr<Sink> open_file_sink(const std::string& directory, FileName name, bool sync, Control& control,
                                     Status& status, Invisible invisible = Invisible::automatic);

/// The standard input of `/bin/sh -c command`, which has the VMM's environment and, NAME=VALUE, what `environment` adds
/// to it. SIGPIPE must be blocked on this thread.
std::unique_ptr<Sink> open_pipe_sink(const std::string& command, std::vector<std::string> environment,
                                     PipeMemory memory, Control& control, Status& status);

/// A pipe that is there already, as Options::open_pipe; `name` is what errors call it. Owns `fd`, also on failure.
std::unique_ptr<Sink> open_descriptor_sink(int fd, const std::string& name, PipeMemory memory, Control& control,
                                           Status& status);

/// Compresses what is written to it, and writes that to `next`.
std::unique_ptr<Sink> compress(Compression compression, std::unique_ptr<Sink> next);

}  // namespace gcore::writer
