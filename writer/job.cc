#include "writer/job.h"

#include <cerrno>
#include <utility>

#include "writer/aside.h"
#include "writer/base/available_memory.h"
#include "writer/compress.h"
#include "writer/info.h"
#include "writer/layout.h"
#include "writer/memory.h"
#include "writer/naming.h"
#include "writer/notes.h"
#include "writer/sink.h"
#include "writer/snapshot.h"
#include "writer/unique_fd.h"

namespace gcore::writer {
namespace {

// Kept free for the end of a partial dump on a full disk: .gcore.info, in the file system's blocks whatever their size.
constexpr uint64_t kRoomForInfo = 64 * 1024;
static_assert(kRoomForInfo >= 2 * kInfoSize);

constexpr size_t kMissingKept = 1024;  // more ranges than fit into .gcore.info

// The guest, paused. Resumed at the latest when this goes out of scope, and then told that the dump has ended.
class Pause {
 public:
  Pause(Guest& guest, Control& control) : guest_(guest), control_(control) {}
  ~Pause() { end(); }

  Status begin() {
    start_ = Control::Clock::now();
    if (Status status = guest_.pause(); !status) return status;
    paused_ = has_begun_ = true;
    control_.pause_started();
    return {};
  }
  void resume() {
    if (!paused_) return;
    paused_ = false;
    guest_.resume();
    control_.pause_ended();
    duration_ = Control::Clock::now() - start_;
  }
  std::chrono::nanoseconds duration() const { return duration_; }
  bool has_begun() const { return has_begun_; }
  /// No memory is read any more.
  void end() {
    resume();
    if (std::exchange(has_begun_, false)) guest_.dump_ended();
  }

 private:
  Guest& guest_;
  Control& control_;
  bool paused_ = false, has_begun_ = false;  // has_begun_: and not ended
  Control::Clock::time_point start_{};
  std::chrono::nanoseconds duration_{0};
};

// Two threads take part, one after the other: the Dumper's (or dump()'s caller) calls the guest, and `io` calls the
// sink, which may block for ever. Then the latter is left behind with this object, whose last owner it is.
class Job : public std::enable_shared_from_this<Job> {
 public:
  Job(Guest& guest, const Options& options, const Request& request, std::shared_ptr<Control> control)
      : guest_(guest),
        options_(options),
        request_(request),
        control_owner_(std::move(control)),
        control_(*control_owner_),
        source_(guest, control_) {}

  Result run(IoThread& io);

 private:
  Status take(IoThread& io);
  Status on_io(IoThread& io, Status (Job::*step)(), std::chrono::milliseconds grace = kGrace);
  void begin_on_io(IoThread& io, Status (Job::*step)());
  Status finish_on_io(IoThread& io, std::chrono::milliseconds grace = kGrace);
  Result left_behind(Status status) const;
  Status open_sink();
  Status take_live(Pause& pause);
  Status protect_memory();
  void go_paused(const Status& why);
  std::vector<std::string> command_environment() const;
  std::string file_name() const;  // that a file would get
  Status capture_guest();
  Status lay_out_guest();
  Status find_in_place(uint64_t& memory_at);
  Status choose_aside(IoThread& io);
  Status copy_memory();
  Status copy_rest();
  Status copy_all();
  Status check_room();
  Status write_memory(size_t end);
  Status finish();
  Status clean_up();
  void count(const Piece& piece, uint64_t address);
  void note_missing(uint64_t address, uint64_t size);
  void add_notice(const std::string& text) { result_.notice += (result_.notice.empty() ? "" : "; ") + text; }
  // What is to be kept half-way may as well be begun on a disk that is too small for all of it.
  bool partial_will_do() const { return options_.keep_partial && sink_->can_patch(); }
  bool keep_partial();
  std::string info(bool complete) const;
  const std::string& trouble() const {
    return source_.trouble().empty() && aside_ ? aside_->trouble() : source_.trouble();
  }

  static constexpr std::chrono::milliseconds kGrace{40};              // for a thread that is told to stop
  static constexpr std::chrono::milliseconds kGraceForCommand{1000};  // to die; the guest runs meanwhile
  static constexpr std::chrono::milliseconds kGraceForPartial{5000};  // to be made whole; likewise

  Guest& guest_;
  const Options options_;
  const Request request_;
  const std::shared_ptr<Control> control_owner_;
  Control& control_;
  MemorySource source_;
  std::string vm_;
  std::unique_ptr<Sink> sink_;
  UniqueFd page_store_;  // of a live dump, with how it went
  Status page_store_status_;
  std::shared_ptr<Snapshot> snapshot_;  // likewise
  std::unique_ptr<Aside> aside_;        // of a paused one
  GuestState state_{};
  Layout layout_{};
  bool in_place_ = false;    // the guest has written its memory into the dump
  bool has_room_ = false;    // that is known
  size_t first_copies_ = 0;  // from here on all of state_.memory is copies
  size_t next_range_ = 0;    // of state_.memory, to be written
  Consistency consistency_ = Consistency::paused;
  uint64_t missing_ranges_ = 0;
  std::vector<std::pair<uint64_t, uint64_t>> missing_;
  Result result_;
  std::chrono::nanoseconds paused_{0};
  Status step_;  // of the last on_io()
};

Result Job::run(IoThread& io) {
  result_.requests = request_.count;
  Status status = take(io);
  if (io.is_left_behind()) {
    status = Error{status.error().code, status.text() + "; what the dump is written to does not answer"};
    return left_behind(std::move(status));
  }
  result_.status = std::move(status);
  if (sink_) {
    const bool partial = options_.keep_partial && !result_.status.ok();
    const bool command = options_.target.starts_with('|');
    status = result_.status;
    static_cast<void>(on_io(io, &Job::clean_up, partial ? kGraceForPartial : command ? kGraceForCommand : kGrace));
    if (io.is_left_behind()) return left_behind(std::move(status));
  }
  result_.cancelled = !result_.status.ok() && result_.status.error().code == ECANCELED;
  return std::move(result_);
}

// Everything that the other thread may be at stays untouched.
Result Job::left_behind(Status status) const {
  Result result;
  result.requests = request_.count;
  result.paused = paused_;
  result.cancelled = !status.ok() && status.error().code == ECANCELED;
  result.status = std::move(status);
  result.command_status = -1;
  return result;
}

Status Job::on_io(IoThread& io, Status (Job::*step)(), std::chrono::milliseconds grace) {
  begin_on_io(io, step);
  return finish_on_io(io, grace);
}

void Job::begin_on_io(IoThread& io, Status (Job::*step)()) {
  io.begin([self = shared_from_this(), step] { self->step_ = (self.get()->*step)(); });
}

Status Job::finish_on_io(IoThread& io, std::chrono::milliseconds grace) {
  return io.finish(control_, grace) ? std::move(step_) : control_.check();
}

Status Job::take(IoThread& io) {
  if (Status status = control_.check(); !status) return status;
  if (Status status = check_options(options_); !status) return status;
  vm_ = guest_.name();
  state_.machine = guest_.machine();
  if (format::registers(state_.machine).empty())
    return Status("a guest of ELF machine " + std::to_string(static_cast<int>(state_.machine)) + " cannot be dumped");
  if (Status status = check_heap(heap_size(options_.compression)); !status) return status;
  control_.phase = Progress::Phase::opening;
  if (Status status = on_io(io, &Job::open_sink); !status) return status;

  guest_.dump_file(options_.bytes_per_second == 0 ? sink_->file() : -1);
  if (options_.live)
    if (Status status = protect_memory(); !status) return status;
  control_.phase = Progress::Phase::pausing;
  Pause pause(guest_, control_);
  Status status = pause.begin();
  if (status) status = capture_guest();
  if (status && snapshot_) pause.resume();  // the rest concerns nobody
  if (status) status = lay_out_guest();
  if (status) status = choose_aside(io);
  if (status && aside_) {
    begin_on_io(io, &Job::copy_all);
    aside_->copy();
    aside_->wait();
    if (!control_.check()) status = finish_on_io(io);  // which knows why
  } else if (status && first_copies_ > 0) {
    status = on_io(io, &Job::copy_memory);
  }
  pause.resume();
  paused_ = pause.duration();
  if (pause.has_begun()) consistency_ = guest_.consistency();
  if (const auto paused = guest_.paused()) paused_ = *paused;
  if (status && aside_) {
    status = finish_on_io(io);
  } else {
    if (status && first_copies_ == 0) status = on_io(io, &Job::copy_memory);
    if (status && first_copies_ < state_.memory.size()) status = on_io(io, &Job::copy_rest);
  }
  if (snapshot_) {
    snapshot_->end();
    if (consistency_ == Consistency::paused) consistency_ = Consistency::snapshot;
    Status taken = snapshot_->status();
    if (!taken) consistency_ = Consistency::torn;  // as what is kept of it says
    if (status) status = std::move(taken);
    result_.live = true;
  }
  pause.end();
  if (!status) return status;

  control_.phase = Progress::Phase::finishing;
  return on_io(io, &Job::finish);
}

// Of a dump that failed, and of one that did not.
Status Job::clean_up() {
  bool has_path = result_.status.ok();
  if (!has_path) {
    result_.status = sink_->explain(std::move(result_.status));
    has_path = keep_partial();
    if (!has_path) sink_->abandon();
  }
  result_.bytes = sink_->bytes();
  result_.command_status = sink_->command_status();
  result_.command_signal = sink_->command_signal();
  if (result_.pages.missing > 0 && result_.status.ok())
    add_notice(std::to_string(result_.pages.missing) + (result_.pages.missing == 1 ? " page" : " pages") +
               " of guest memory could not be read, the first one " + trouble());
  result_.paused = paused_;
  if (has_path || options_.target.starts_with('|')) result_.path = sink_->path();
  return {};
}

Status Job::open_sink() {
  Status status = look_at_target(options_, result_.notice);
  if (!status) return status;
  if (options_.target.starts_with('|')) {
    const bool compressed = options_.compression != Compression::none;
    // What may change any time is not lent; should it be paused after all, copies will do.
    const PipeMemory memory = compressed || options_.live ? PipeMemory::copy : options_.pipe_memory;
    const std::string name = options_.target.substr(1);
    if (options_.open_pipe) {
      const int fd = options_.open_pipe(file_name());
      if (fd < 0) return system_error(errno, "dump to " + name);
      sink_ = open_descriptor_sink(fd, name, memory, control_, status);
    } else {
      sink_ = open_pipe_sink(name, command_environment(), memory, control_, status);
    }
  } else {
    FileName name;
    name.stem = dump_stem(vm_, request_.time.tv_sec);
    name.extension = dump_extension(options_.compression);
    if (!options_.file_name.empty()) name = {options_.file_name, "", false, options_.replace};
    sink_ = open_file_sink(options_.target, std::move(name), options_.sync, control_, status);
  }
  if (status && options_.compression != Compression::none) sink_ = compress(options_.compression, std::move(sink_));
  if (status && options_.live && !options_.page_store.empty())
    page_store_status_ = Snapshot::open_store(options_.page_store, page_store_);
  return status;
}

// What a script needs to name what it gets.
std::vector<std::string> Job::command_environment() const {
  char time[32] = "";
  struct tm utc = {};
  gmtime_r(&request_.time.tv_sec, &utc);
  std::strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return {"GCORE_NAME=" + dump_prefix(vm_), std::string("GCORE_REASON=") + kind_name(request_.reason.kind),
          std::string("GCORE_TIME=") + time, "GCORE_FILE=" + file_name()};
}

std::string Job::file_name() const {
  return dump_stem(vm_, request_.time.tv_sec) + dump_extension(options_.compression);
}

// While the guest runs. Fails only when the dump is to stop: what cannot be had live is had paused.
Status Job::protect_memory() {
  control_.phase = Progress::Phase::protecting;
  std::vector<MemoryRange> memory = guest_.memory();
  Status status = page_store_status_;
  if (status) status = check_memory(memory);
  if (status) snapshot_ = Snapshot::protect(memory, options_, std::move(page_store_), control_, status);
  if (!snapshot_) go_paused(status);
  Status stop = control_.check();
  if (!stop) snapshot_.reset();
  return stop;
}

void Job::go_paused(const Status& why) {
  snapshot_.reset();
  source_.use(nullptr);
  if (control_.check()) add_notice("the guest was paused while it was dumped: " + why.text());
}

// What the guest has to be asked for while it is paused.
Status Job::capture_guest() {
  if (Status status = capture(guest_, state_.machine, state_); !status || !snapshot_) return status;
  Status frozen = snapshot_->freeze();
  if (frozen && !snapshot_->is_of(state_.memory))
    frozen = Status(std::string("Guest::memory() said another thing before the pause"));
  if (frozen) {
    source_.use(snapshot_.get());
  } else {
    go_paused(frozen);
  }
  return {};
}

Status Job::lay_out_guest() {
  std::vector<std::byte> notes;
  if (options_.dialect == Dialect::qnx) {
    notes = qnx_notes(state_, request_.reason);
  } else if (Status status = vmcore_notes(state_, notes); !status) {
    return status;
  }
  std::optional<KernelImage> kernel;
  if (options_.dialect == Dialect::vmcore) kernel = find_kernel_image(state_.machine, state_.vmcoreinfo);
  uint64_t memory_at = 0;
  if (Status status = find_in_place(memory_at); !status) return status;
  layout_ = lay_out(state_.machine, options_.dialect, notes, state_.memory, kernel, kInfoSize, memory_at);
  if (in_place_ && layout_.segments.front().offset != memory_at)
    return Status("the guest left " + std::to_string(memory_at) + " bytes before its memory, and " +
                  std::to_string(layout_.head.size()) + " are needed");
  uint64_t total = 0;
  for (size_t index = 0; index < state_.memory.size(); ++index) {
    total += state_.memory[index].size;
    if (!state_.memory[index].is_copy && !snapshot_) first_copies_ = index + 1;
  }
  control_.memory_total = total;
  control_.phase = Progress::Phase::writing;
  return {};
}

Status Job::choose_aside(IoThread& io) {
  if (options_.aside_memory == 0 || first_copies_ == 0 || snapshot_ || !io.has_thread()) return {};
  // Whether there is room may have to be read in the guest's memory, which goes on when all of it was read once.
  if (Status status = on_io(io, &Job::check_room); !status) return status;
  const uint64_t available = base::available_memory(), wanted = options_.aside_memory;
  const uint64_t most = wanted == UINT64_MAX ? available / 4 : std::min(wanted, available / 8 * 7);
  aside_ = Aside::make(guest_, control_, state_.memory, most);
  source_.share_with(aside_.get());
  return {};
}

// Whether memory stands in the dump already, from `memory_at` on.
Status Job::find_in_place(uint64_t& memory_at) {
  const int file = sink_->file();
  const auto is_there = [&](const MemoryRange& range) { return range.fd == file; };
  if (file < 0 || std::none_of(state_.memory.begin(), state_.memory.end(), is_there)) return {};
  uint64_t at = memory_at = state_.memory.front().fd_offset;
  for (const MemoryRange& range : state_.memory) {
    if (!is_there(range) || !range.is_copy || range.fd_offset != at || at % kPageSize != 0)
      return Status(std::string("the guest's memory is not in order in the dump's file"));
    at += range.size;
  }
  in_place_ = true;
  return {};
}

// What the guest has to stand still for; it has gone on already when that is nothing.
Status Job::copy_memory() {
  if (Status status = check_room(); !status) return status;
  if (Status status = sink_->write(layout_.head); !status) return status;
  if (Status status = sink_->skip(layout_.segments.front().offset - layout_.head.size()); !status) return status;
  if (partial_will_do())
    if (Status status = sink_->reserve(layout_.info_offset, kRoomForInfo); !status) return status;
  if (Status status = write_memory(first_copies_); !status) return status;
  return sink_->return_lent();
}

// While the waiting thread copies aside. It is told when nothing is written any more, be it for an error.
Status Job::copy_all() {
  Status status = copy_memory();
  if (status) status = copy_rest();
  aside_->end();
  return status;
}

Status Job::copy_rest() {
  if (Status status = write_memory(state_.memory.size()); !status) return status;
  return sink_->return_lent();
}

// A disk that is too small is found out now, not when it is full and the guest has stood still for nothing.
Status Job::check_room() {
  if (partial_will_do() || std::exchange(has_room_, true)) return {};
  const uint64_t room = sink_->room();
  if (room == UINT64_MAX || in_place_) return {};
  if (layout_.info_offset + kInfoSize <= room) return {};
  uint64_t needed = layout_.head.size() + kInfoSize;
  for (const MemoryRange& range : state_.memory) needed += source_.touched(range);
  if (needed <= room) return {};

  // Much of it may be zeros, which take no room. Only reading it tells, and a live dump reads once only.
  if (snapshot_) return {};
  needed = layout_.head.size() + kInfoSize;
  for (const MemoryRange& range : state_.memory) {
    source_.start(range);
    for (Piece piece = source_.next(); piece.size > 0; piece = source_.next()) {
      if (piece.kind == Piece::Kind::data) needed += piece.size;
      if (Status status = control_.check(); !status) return status;
    }
  }
  if (needed <= room) return {};
  return Error{ENOSPC, "dump to directory '" + options_.target + "': it needs " + std::to_string(needed) + " bytes, " +
                           std::to_string(room) + " are free; make room, or dump to another file system or a command"};
}

Status Job::write_memory(size_t end) {
  const PageCounts& pages = result_.pages;
  for (; next_range_ < end; ++next_range_) {
    const MemoryRange& range = state_.memory[next_range_];
    source_.start(range);
    for (uint64_t done = 0; done < range.size;) {
      Piece piece = {Piece::Kind::data, 0, nullptr};
      Status status;
      if (in_place_) {
        piece = source_.in_place();
        status = sink_->skip(piece.size);
      } else if (const Stretch stretch = source_.stretch(); stretch.size > 0) {
        status = sink_->lend(stretch, piece.size);
        source_.pass(piece.size);
      }
      if (status && piece.size == 0) {
        piece = source_.next();
        const bool has_bytes = piece.kind == Piece::Kind::data;
        status = has_bytes ? sink_->write({piece.bytes, piece.size}) : sink_->skip(piece.size);
      }
      if (!status) return status;
      count(piece, range.address + done);
      done += piece.size;
      control_.memory_done += piece.size;
    }
  }
  if (end == state_.memory.size() && pages.missing > 0 && pages.written + pages.zero + pages.absent == 0)
    return Status("no page of the guest's memory could be read: " + trouble());
  return {};
}

void Job::count(const Piece& piece, uint64_t address) {
  PageCounts& pages = result_.pages;
  const uint64_t count = piece.size / kPageSize;
  switch (piece.kind) {
    case Piece::Kind::data:
      pages.written += count;
      break;
    case Piece::Kind::zero:
      pages.zero += count;
      break;
    case Piece::Kind::absent:
      pages.absent += count;
      break;
    case Piece::Kind::missing:
      pages.missing += count;
      note_missing(address, piece.size);
      break;
  }
}

void Job::note_missing(uint64_t address, uint64_t size) {
  if (!missing_.empty() && missing_.back().first + missing_.back().second == address &&
      missing_.size() == missing_ranges_) {
    missing_.back().second += size;
    return;
  }
  ++missing_ranges_;
  if (missing_.size() < kMissingKept) missing_.emplace_back(address, size);
}

std::string Job::info(bool complete) const {
  using std::chrono::nanoseconds, std::chrono::seconds;
  const nanoseconds requested = seconds(request_.time.tv_sec) + nanoseconds(request_.time.tv_nsec);
  EarlierDump taken = options_.earlier.value_or(EarlierDump{requested, paused_, true, consistency_, {}});
  if (taken.found_meanwhile)
    for (std::string& defect : taken.found_meanwhile()) taken.defects.push_back(std::move(defect));
  return info_json({options_.program, vm_, options_.dialect, request_.reason, std::move(taken), complete, result_.pages,
                    missing_ranges_, missing_},
                   state_);
}

Status Job::finish() {
  const std::string json = info(true);
  if (Status status = sink_->write(std::as_bytes(std::span(json))); !status) return status;
  return sink_->finish();
}

// True when a partial file was left as asked for.
bool Job::keep_partial() {
  if (!options_.keep_partial || !sink_->can_patch() || layout_.segments.empty()) return false;
  if (sink_->bytes() < layout_.head.size()) return false;  // the registers alone are worth keeping
  const std::string json = info(false);
  const uint64_t least = layout_.head.size(), end = sink_->bytes();
  // Cutting off gives back the room that was kept. Should somebody else have taken that, the end of the memory makes
  // some; how much of it there is that takes room, and is no hole, nobody knows.
  for (uint64_t given_up = 0;; given_up = given_up == 0 ? kRoomForInfo : given_up * 4) {
    const uint64_t kept = end > least + given_up ? end - given_up : least;
    if (!sink_->truncate(kept)) return false;
    cut_off(layout_, kept);
    if (sink_->patch(layout_.info_offset, std::as_bytes(std::span(json)))) break;
    if (kept == least) return false;
  }
  return sink_->patch(0, layout_.head) && sink_->finish_partial();
}

}  // namespace

Status check_options(const Options& options) {
  if (options.target.empty() || options.target == "|")
    return Status(std::string("the dump option needs a directory, or a pipe sign and a command"));
  if (options.dialect != Dialect::qnx && options.dialect != Dialect::vmcore)
    return Status(std::string("there is no such dump dialect"));
  if (options.pipe_memory > PipeMemory::lend) return Status(std::string("there is no such way into a pipe"));
  if (!is_supported(options.compression))
    return Status(std::string("this build of the writer was made without that compression"));
  if (options.file_name.find('/') != std::string::npos) return Status("'" + options.file_name + "' is not a file name");
  return {};
}

Result take_dump(Guest& guest, const Options& options, const Request& request, std::shared_ptr<Control> control,
                 IoThread& io) {
  Result result = std::make_shared<Job>(guest, options, request, control)->run(io);
  control->phase = Progress::Phase::idle;
  return result;
}

}  // namespace gcore::writer
