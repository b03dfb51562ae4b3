// A connection to one QEMU, and the dumps that are taken of its guest.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "tools/common/upload_pipe.h"
#include "tools/gcore-dump/guest.h"
#include "tools/gcore-dump/log.h"
#include "tools/gcore-dump/qmp.h"
#include "tools/gcore-dump/watch.h"
#include "writer/base/unique_fd.h"
#include "writer/dump.h"

namespace gcore::tools::qemu {

/// For one thread. While a dump runs the connection is the dumper's: only poll it, for POLLHUP.
class Connection {
 public:
  /// Connects. `end` (borrowed): a signalfd, readable when the program is to end, which ends every wait.
  static QmpResult<std::unique_ptr<Connection>> open(const Log& log, const Settings& settings, int end);
  ~Connection();

  Qmp& qmp() { return *qmp_; }
  const std::string& name() const { return name_; }  // of the VM; "" when it has none
  bool running() const { return running_; }
  /// Readable when the dump that runs is done.
  int done_fd() const { return done_.get(); }

  struct Cause {
    writer::Reason reason;
    bool leave_paused = false;  // QEMU itself pauses the guest for this
  };
  /// Starts a dump. The error is a sentence: none was started.
  std::expected<void, std::string> start(const Cause& cause);
  /// Gives up the dump that runs, and waits for its end. Told to end once more meanwhile, it waits no longer for a QEMU
  /// that does not resume the guest.
  void cancel();
  /// The connection broke while a dump ran: gives that up.
  void lost();
  /// Tells what came of the dump, once done_fd() is readable: true when it was written and the guest is as before.
  /// Nothing when it is not done.
  std::optional<bool> report();

 private:
  Connection(const Log& log, const Settings& settings, int end) : log_(log), settings_(settings), end_(end) {}
  void finished(const writer::Result& result);
  int open_upload(const std::string& file);
  void tell_failure(const writer::Result& result) const;
  std::string timing(const writer::Result& result) const;

  const Log& log_;
  const Settings& settings_;
  int end_;
  Cause cause_;  // of the last dump
  std::chrono::steady_clock::time_point asked_;
  std::unique_ptr<Qmp> qmp_;
  std::string name_;
  std::unique_ptr<Guest> guest_;
  base::UniqueFd done_, give_up_;
  std::mutex mutex_;  // of the next three
  writer::Result result_;
  std::shared_ptr<UploadPipe> upload_;  // of the dump that runs
  std::string upload_problem_;          // why there is none
  bool running_ = false, lost_ = false, cancelled_ = false;
  std::unique_ptr<writer::Dumper> dumper_;  // goes first: its thread uses the others
};

}  // namespace gcore::tools::qemu
