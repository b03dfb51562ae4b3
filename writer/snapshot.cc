#include "writer/snapshot.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <new>
#include <utility>

#include "writer/base/sparse_file.h"
#include "writer/memory.h"

namespace gcore::writer {
namespace {

constexpr uint64_t kAtOnce = 64 << 20;       // protected by one system call
constexpr uint64_t kReleased = 2 << 20;      // let go by one: a huge page stays whole
constexpr uint64_t kGap = 32 * kPageSize;    // what is protected already and lies between costs less than another call
constexpr uint64_t kLargestBlock = 2 << 20;  // who writes to a larger one would wait too long
constexpr uint64_t kTogether = 4 * kPageSize;  // copied aside for one fault: who writes a page writes its neighbours
constexpr size_t kFewEnough = 32;              // blocks to be protected in the pause
constexpr int kMostRounds = 16;
constexpr uint64_t kLeastRoom = 64 << 20, kMostRoom = 1 << 30;  // for pages that are copied aside
constexpr std::chrono::milliseconds kGrace{40};                 // for a handler that is told to stop
constexpr int kMostLeftBehind = 4;
std::atomic<int> g_left_behind{0};  // handlers, in page stores that do not answer

constexpr unsigned kPagesAWord = 32;
constexpr char kForCopies[] = "memory for pages that are copied aside";

uint64_t down(uint64_t value, uint64_t to) { return value / to * to; }

// A larger guest is dumped for longer, and writes to more pages meanwhile.
uint64_t room_for(uint64_t guest) { return std::clamp(guest / 16, kLeastRoom, kMostRoom); }

}  // namespace

std::shared_ptr<Snapshot> Snapshot::protect(const std::vector<MemoryRange>& memory, const Options& options,
                                            UniqueFd store, Control& control, Status& status) {
  // The handler owns it as well: it may be left behind.
  const std::shared_ptr<Snapshot> own(new Snapshot);
  const std::shared_ptr<Snapshot> snapshot(own.get(), [own](Snapshot* last) { last->end(); });
  snapshot->store_ = std::move(store);
  status = snapshot->set_up(memory, options);
  if (status) start_handler(own, status);
  if (status) status = snapshot->protect_all(control);
  // Each round is as long as what the one before left, and what is written while it lasts is left to the next.
  size_t before = SIZE_MAX;
  for (int round = 0; status && round < kMostRounds; ++round) {
    size_t left = 0;
    {
      const std::lock_guard lock(snapshot->mutex_);
      left = snapshot->written_.size();
    }
    if (left <= kFewEnough || left > before / 8 * 7) break;
    before = left;
    status = snapshot->protect_written();
    if (status) status = control.check();
  }
  if (!status) return nullptr;
  return snapshot;
}

Status Snapshot::set_up(const std::vector<MemoryRange>& memory, const Options& options) {
  if (sysconf(_SC_PAGESIZE) != static_cast<long>(kPageSize))
    return Status(std::string("this host's pages are not of 4096 bytes"));
  if (Status status = protection_.open(); !status) return status;
  for (const MemoryRange& given : memory) {
    if (given.is_copy) continue;
    Range range = {given.address, given.size, reinterpret_cast<uintptr_t>(given.host), given.fd, given.fd_offset,
                   pages_,        0};
    if (!given.host) return Status(std::string("guest memory that is not mapped in the VMM cannot be protected"));
    if (Status status = protection_.add(range.host, range.size, range.fd >= 0, range.block); !status) return status;
    ranges_.push_back(range);
    if (range.block > kLargestBlock)
      return Status("guest memory is in pages of " + std::to_string(range.block >> 20) +
                    " MiB: a vCPU would wait too long for the copy of one");
    largest_block_ = std::max(largest_block_, range.block);
    pages_ += range.size / kPageSize;
  }
  for (const Range& range : ranges_) by_host_.push_back(&range);
  std::sort(by_host_.begin(), by_host_.end(), [](const Range* a, const Range* b) { return a->host < b->host; });
  for (size_t i = 1; i < by_host_.size(); ++i)
    if (by_host_[i - 1]->host + by_host_[i - 1]->size > by_host_[i]->host)
      return Status(std::string("guest memory is mapped at one host address for two guest-physical ones"));

  states_.reset(new (std::nothrow) std::atomic<uint64_t>[pages_ / kPagesAWord + 1]());
  buffer_.reset(new (std::nothrow) std::byte[std::max(largest_block_, kTogether)]);
  if (!states_ || !buffer_) return system_error(ENOMEM, "memory for the state of the guest's pages");
  const uint64_t least = std::max(largest_block_, kTogether) / kPageSize;
  const uint64_t wanted = options.live_memory != 0 ? options.live_memory : room_for(pages_ * kPageSize);
  const uint64_t slots = std::min<uint64_t>(std::max(std::min(wanted / kPageSize, pages_), least), UINT32_MAX);
  if (Status status = slots_.make(slots * kPageSize, kForCopies); !status) return status;
  if (Status status = slot_of_.make((pages_ + 1) * sizeof(uint32_t), kForCopies); !status) return status;
  free_slots_.reserve(slots);
  for (uint64_t slot = slots; slot > 0; --slot) free_slots_.push_back(static_cast<uint32_t>(slot - 1));
  wake_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_) return system_error(errno, "creation of an eventfd");
  return {};
}

Status Snapshot::open_store(const std::string& directory, UniqueFd& store) {
  if (g_left_behind >= kMostLeftBehind)
    return Error{EBUSY, "the page store '" + directory + "' does not answer: " + std::to_string(kMostLeftBehind) +
                            " dumps before are stuck in it"};
  store = base::unnamed_file(directory);
  return store ? Status() : system_error(errno, "an unnamed file in the page store '" + directory + "'");
}

Status Snapshot::protect_all(Control& control) {
  for (const Range& range : ranges_) {
    for (uint64_t done = 0; done < range.size; done += kAtOnce) {
      if (Status status = control.check(); !status) return status;
      if (const int code = protection_.protect(range.host + done, std::min(kAtOnce, range.size - done)); code != 0)
        return system_error(code, "write protection of guest memory");
    }
  }
  return {};
}

// Neighbours, and those that nearly are, by one call.
Status Snapshot::protect_written() {
  std::vector<uint64_t> written;
  {
    const std::lock_guard lock(mutex_);
    written.swap(written_);
  }
  std::sort(written.begin(), written.end());
  for (size_t first = 0, next = 0; first < written.size(); first = next) {
    const Range* range = find_host(written[first]);
    uint64_t end = written[first] + range->block;
    for (next = first + 1; next < written.size(); ++next) {
      if (written[next] > end + kGap || written[next] >= range->host + range->size) break;
      end = std::max(end, written[next] + range->block);
    }
    if (const int code = protection_.protect(written[first], end - written[first]); code != 0)
      return system_error(code, "write protection of guest memory");
  }
  return {};
}

Status Snapshot::freeze() {
  Status status = protect_written();
  const std::lock_guard lock(mutex_);
  if (status && !written_.empty())
    return Status(
        std::string("guest memory was written while the guest was paused: Guest::pause() has to stop all that "
                    "writes it"));
  phase_ = Phase::frozen;
  return status;
}

bool Snapshot::is_of(const std::vector<MemoryRange>& memory) const {
  size_t next = 0;
  for (const MemoryRange& range : memory) {
    if (range.is_copy) continue;
    if (next == ranges_.size()) return false;
    const Range& own = ranges_[next++];
    if (own.address != range.address || own.size != range.size || own.fd != range.fd ||
        own.fd_offset != range.fd_offset || own.host != reinterpret_cast<uintptr_t>(range.host))
      return false;
  }
  return next == ranges_.size();
}

void Snapshot::start_handler(const std::shared_ptr<Snapshot>& snapshot, Status& status) {
  const auto body = [](void* argument) -> void* {
    const std::unique_ptr<std::shared_ptr<Snapshot>> self(static_cast<std::shared_ptr<Snapshot>*>(argument));
    (*self)->serve();
    return nullptr;
  };
  auto self = std::make_unique<std::shared_ptr<Snapshot>>(snapshot);
  sigset_t all, before;  // the VMM's handlers run elsewhere
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int code = pthread_create(&snapshot->handler_, nullptr, body, self.get());
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (code != 0) {
    status = system_error(code, "creation of the thread that copies pages aside");
    return;
  }
  self.release();  // NOLINT: the thread has it
  snapshot->has_handler_ = true;
  pthread_setname_np(snapshot->handler_, "gcore-live");
}

// ---- the handler ----

void Snapshot::serve() {
  // A vCPU waits for this thread, which does little and then sleeps. Best effort: it takes CAP_SYS_NICE.
  sched_param parameters = {};
  parameters.sched_priority = 1;
  pthread_setschedparam(pthread_self(), SCHED_RR, &parameters);
  while (!stop_) {
    pollfd fds[2] = {{protection_.fd(), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
    if (poll(fds, 2, -1) < 0) continue;
    uint64_t ignored;
    if (fds[1].revents != 0 && read(wake_.get(), &ignored, sizeof ignored) > 0) serve_waiting();
    WriteProtection::Address addresses[32];
    const size_t count = protection_.waiting(addresses);
    for (size_t i = 0; i < count; ++i) serve_one(addresses[i]);
  }
  const std::lock_guard lock(mutex_);
  has_stopped_ = true;
  if (is_left_behind_) --g_left_behind;
  stopped_.notify_all();
}

void Snapshot::serve_one(uint64_t address) {
  const Range* range = find_host(address);
  if (!range) return;
  const uint64_t position = down(address - range->host, range->block);
  if (phase_ == Phase::protecting) {
    // What is let go is on the list before it is let go, and the list is closed with the phase.
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::protecting) {
      written_.push_back(range->host + position);
      protection_.release(range->host + position, range->block);
      return;
    }
  }
  uint64_t first = position, size = range->block;
  if (phase_ == Phase::frozen && range->block < kTogether && has_room_for_neighbours()) {
    first = down(position, kTogether);
    size = std::min(kTogether, range->size - first);
    if (save(*range, first, size) != Outcome::done) {
      first = position;
      size = range->block;
    }
  }
  const Outcome outcome = phase_ == Phase::frozen ? save(*range, first, size) : Outcome::done;
  if (outcome == Outcome::unreadable)
    fail(system_error(errno,
                      "a page of guest memory could not be copied aside before the guest changed it: reading it"));
  if (outcome == Outcome::no_room) {
    waiting_.push_back(address);
    is_waiting_ = true;
    // Room that was given back before that is not announced any more.
    const std::lock_guard lock(mutex_);
    if (!free_slots_.empty() || phase_ == Phase::ended) eventfd_write(wake_.get(), 1);
    return;
  }
  // What is protected after the end is for the next dump.
  if (!stop_) protection_.release(range->host + first, size);
}

// The last quarter is kept for pages that somebody waits for.
bool Snapshot::has_room_for_neighbours() const {
  const std::lock_guard lock(mutex_);
  return free_slots_.size() >= slots_.size / kPageSize / 4;
}

void Snapshot::serve_waiting() {
  is_waiting_ = false;
  std::vector<uint64_t> addresses;
  addresses.swap(waiting_);
  for (const uint64_t address : addresses) serve_one(address);
}

// Copies aside what of that is in nobody's hands yet. Where it cannot be read errno says why.
Snapshot::Outcome Snapshot::save(const Range& range, uint64_t position, uint64_t size) {
  const uint64_t first = range.first_page + position / kPageSize, count = size / kPageSize;
  bool is_needed = false;
  for (uint64_t i = 0; i < count && !is_needed; ++i) is_needed = state(first + i) == State::untouched;
  if (!is_needed) return Outcome::done;
  if (!read_memory(range, position, size)) return Outcome::unreadable;
  for (uint64_t i = 0; i < count; ++i) {
    if (state(first + i) != State::untouched) continue;
    if (save_page(range, position + i * kPageSize, buffer_.get() + i * kPageSize) == Outcome::no_room)
      return Outcome::no_room;
  }
  return Outcome::done;
}

Snapshot::Outcome Snapshot::save_page(const Range& range, uint64_t position, const std::byte* bytes) {
  const uint64_t page = range.first_page + position / kPageSize;
  uint32_t slot = 0;
  bool has_slot = false;
  {
    const std::lock_guard lock(mutex_);
    if (!free_slots_.empty()) {
      slot = free_slots_.back();
      free_slots_.pop_back();
      has_slot = true;
    }
  }
  if (has_slot) {
    std::memcpy(slots_.at + uint64_t{slot} * kPageSize, bytes, kPageSize);
    reinterpret_cast<uint32_t*>(slot_of_.at)[page] = slot;
    if (set_state(page, State::saved)) return Outcome::done;
    const std::lock_guard lock(mutex_);  // the dump has it meanwhile
    free_slots_.push_back(slot);
    return Outcome::done;
  }
  if (!store_ || !store(page, bytes)) return Outcome::no_room;
  set_state(page, State::stored);
  return Outcome::done;
}

// By system calls: a page that cannot be read must not be the VMM's end, and no fault of ours may wait for ourselves.
bool Snapshot::read_memory(const Range& range, uint64_t position, uint64_t size) {
  std::byte* to = buffer_.get();
  if (range.fd >= 0) {
    uint64_t done = 0;
    while (done < size) {
      const ssize_t got =
          pread(range.fd, to + done, size - done, static_cast<off_t>(range.fd_offset + position + done));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) break;
      done += static_cast<uint64_t>(got);
    }
    if (done == size) return true;
  }
  const iovec local = {to, size};
  const iovec remote = {reinterpret_cast<void*>(range.host + position), size};
  const ssize_t got = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
  if (got >= 0 && static_cast<uint64_t>(got) < size) errno = EFAULT;  // up to a page that cannot be
  return got == static_cast<ssize_t>(size);
}

bool Snapshot::store(uint64_t page, const std::byte* bytes) {
  return pwrite(store_.get(), bytes, kPageSize, static_cast<off_t>(page * kPageSize)) ==
         static_cast<ssize_t>(kPageSize);
}

// ---- the thread that copies ----

void Snapshot::take(uint64_t address, uint64_t position, uint64_t size, std::byte* bytes) {
  Range* range = find(address);
  if (!range) return;
  for (uint64_t done = 0; done < size; done += kPageSize)
    take_page(range->first_page + (position + done) / kPageSize, bytes ? bytes + done : nullptr);
  release_taken(*range, position + size);
}

void Snapshot::take_page(uint64_t page, std::byte* bytes) {
  if (set_state(page, State::taken)) return;
  if (state(page) == State::stored) {
    if (bytes &&
        pread(store_.get(), bytes, kPageSize, static_cast<off_t>(page * kPageSize)) != static_cast<ssize_t>(kPageSize))
      fail(Status(std::string("a page could not be read back from the page store")));
    return;
  }
  const uint32_t slot = reinterpret_cast<const uint32_t*>(slot_of_.at)[page];
  if (bytes) std::memcpy(bytes, slots_.at + uint64_t{slot} * kPageSize, kPageSize);
  {
    const std::lock_guard lock(mutex_);
    free_slots_.push_back(slot);
  }
  if (is_waiting_) eventfd_write(wake_.get(), 1);
}

void Snapshot::release_taken(Range& range, uint64_t end) {
  // By large pieces, but for the last.
  const uint64_t until = end == range.size ? end : down(range.host + end, kReleased) - range.host;
  if (until > range.size || until <= range.released) return;
  if (phase_ != Phase::ended) protection_.release(range.host + range.released, until - range.released);
  range.released = until;
}

// ---- both ----

void Snapshot::fail(Status status) {
  const std::lock_guard lock(mutex_);
  if (!has_failed_) status_ = std::move(status);
  has_failed_ = true;
}

Status Snapshot::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

Snapshot::State Snapshot::state(uint64_t page) const {
  const uint64_t word = states_[page / kPagesAWord].load(std::memory_order_acquire);
  return static_cast<State>(word >> (page % kPagesAWord * 2) & 3);
}

bool Snapshot::set_state(uint64_t page, State to) {
  std::atomic<uint64_t>& word = states_[page / kPagesAWord];
  const unsigned shift = page % kPagesAWord * 2;
  uint64_t before = word.load(std::memory_order_acquire);
  do
    if ((before >> shift & 3) != 0) return false;
  while (!word.compare_exchange_weak(before, before | uint64_t{static_cast<uint8_t>(to)} << shift,
                                     std::memory_order_acq_rel));
  return true;
}

const Snapshot::Range* Snapshot::find_host(uint64_t address) const {
  const auto after = std::upper_bound(by_host_.begin(), by_host_.end(), address,
                                      [](uint64_t at, const Range* range) { return at < range->host; });
  if (after == by_host_.begin()) return nullptr;
  const Range* range = *(after - 1);
  return address - range->host < range->size ? range : nullptr;
}

Snapshot::Range* Snapshot::find(uint64_t address) {
  const auto found = std::lower_bound(ranges_.begin(), ranges_.end(), address,
                                      [](const Range& range, uint64_t at) { return range.address < at; });
  return found != ranges_.end() && found->address == address ? &*found : nullptr;
}

void Snapshot::end() {
  const std::lock_guard once(end_mutex_);
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::ended) return;
    phase_ = Phase::ended;
  }
  // The handler goes on letting go whoever comes until nothing is protected any more.
  if (wake_) eventfd_write(wake_.get(), 1);
  for (const Range& range : ranges_) protection_.remove(range.host, range.size);
  stop_ = true;
  if (wake_) eventfd_write(wake_.get(), 1);
  if (has_handler_) stop_handler();
  // The descriptor stays: the thread that copies may be about to use it.
}

void Snapshot::stop_handler() {
  {
    std::unique_lock lock(mutex_);
    if (!stopped_.wait_for(lock, kGrace, [this] { return has_stopped_; })) {
      is_left_behind_ = true;
      ++g_left_behind;
    }
  }
  if (!is_left_behind_) {
    pthread_join(handler_, nullptr);
    return;
  }
  pthread_detach(handler_);
  madvise(slots_.at, slots_.size, MADV_DONTNEED);  // it may be long until it goes
}

}  // namespace gcore::writer
