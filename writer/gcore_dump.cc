#include "writer/gcore_dump.h"

#include "writer/gcore_registers.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <type_traits>

#include "writer/c_registers.h"
#include "writer/dump.h"

namespace writer = gcore::writer;
namespace format = gcore::format;

namespace {

std::string_view text_of(const char* text) { return text ? std::string_view(text) : std::string_view(); }

// Less was never set by an _init function: what is not optional ends there, or the first version did. So much more than
// any version will ever have was not, either.
constexpr size_t kLeastGuest = offsetof(gcore_guest, read_memory), kLeastOptions = offsetof(gcore_options, dialect);
constexpr size_t kLeastResult = offsetof(gcore_result, notice) + sizeof gcore_result::notice;
constexpr size_t kMostOfAny = size_t{1} << 20;

template <class T>
bool is_set_up(const T* given, size_t least) {
  return given && given->struct_size >= least && given->struct_size <= kMostOfAny;
}

// A structure of an older program is shorter; what it lacks keeps its default. One that was not set up has nothing but
// defaults: trouble() says so.
template <class T>
T complete(const T* given, size_t least, void (*init)(T*)) {
  T result;
  init(&result);
  if (!is_set_up(given, least)) return result;
  std::memcpy(&result, given, std::min(given->struct_size, sizeof result));
  result.struct_size = sizeof result;
  return result;
}

// A C caller's number as an enumeration, of which it need not be a value: what it is used for refuses it then.
template <class Enumeration>
Enumeration number(int value) {
  using Underlying = std::underlying_type_t<Enumeration>;
  const bool fits = value >= 0 && value <= std::numeric_limits<Underlying>::max();
  return static_cast<Enumeration>(fits ? static_cast<Underlying>(value) : std::numeric_limits<Underlying>::max());
}

class CGuest final : public writer::Guest {
 public:
  explicit CGuest(const gcore_guest* guest) : c_(complete(guest, kLeastGuest, gcore_guest_init)) {}

  /// The functions that are not optional and are not there: "pause, resume".
  std::string missing() const {
    std::string names;
    const auto look = [&names](bool is_there, const char* name) {
      if (!is_there) names += (names.empty() ? "" : ", ") + std::string(name);
    };
    look(c_.pause, "pause");
    look(c_.resume, "resume");
    look(c_.cpu_count, "cpu_count");
    look(c_.read_cpu, "read_cpu");
    look(c_.memory, "memory");
    return names;
  }

  std::string_view name() override { return c_.name ? text_of(c_.name(c_.self)) : std::string_view(); }
  format::Machine machine() override { return number<format::Machine>(c_.machine); }
  writer::Status pause() override {
    const int code = c_.pause(c_.self);
    return code == 0 ? writer::Status() : writer::system_error(code, "pausing the guest");
  }
  void resume() override { c_.resume(c_.self); }
  size_t cpu_count() override { return c_.cpu_count(c_.self); }
  size_t cpu_number(size_t index) override { return c_.cpu_number ? c_.cpu_number(c_.self, index) : index; }
  bool read_cpu(size_t index, format::RegisterFile& file) override {
    gcore_registers registers{file};
    return c_.read_cpu(c_.self, index, &registers) == 0;
  }
  std::vector<writer::MemoryRange> memory() override {
    std::vector<gcore_memory_range> ranges(16);
    size_t count = c_.memory(c_.self, ranges.data(), ranges.size());
    while (count > ranges.size()) {
      ranges.resize(count);
      count = c_.memory(c_.self, ranges.data(), ranges.size());
    }
    ranges.resize(count);
    std::vector<writer::MemoryRange> result;
    result.reserve(count);
    for (const auto& range : ranges)
      result.push_back({range.address, range.size, range.host, range.fd, range.fd_offset});
    return result;
  }
  size_t read_memory(uint64_t address, void* to, size_t size) override {
    return c_.read_memory ? c_.read_memory(c_.self, address, to, size) : 0;
  }
  std::string_view process_name(size_t cpu) override {
    return c_.process_name ? text_of(c_.process_name(c_.self, cpu)) : std::string_view();
  }
  std::string_view vmcoreinfo() override {
    return c_.vmcoreinfo ? text_of(c_.vmcoreinfo(c_.self)) : std::string_view();
  }

 private:
  gcore_guest c_;
};

// What is wrong with the structures of a call, or success.
writer::Status trouble(const gcore_guest* guest, const gcore_options* options) {
  const auto of = [](const void* given, size_t size, const char* what, const std::string& why) {
    const std::string name = std::string("struct ") + what;
    if (!given) return writer::Status("the pointer to " + name + " is NULL");
    return writer::Status(name + " has a struct_size of " + std::to_string(size) + ": call " + what + "_init() first" +
                          why);
  };
  const std::string missing = CGuest(guest).missing();
  if (!is_set_up(guest, kLeastGuest))
    return of(guest, guest ? guest->struct_size : 0, "gcore_guest", ", then set " + missing);
  if (!is_set_up(options, kLeastOptions))
    return of(options, options ? options->struct_size : 0, "gcore_options", ", then set target");
  if (!missing.empty())
    return writer::Status("struct gcore_guest lacks what is not optional: " + missing +
                          "; set it after gcore_guest_init()");
  return {};
}

writer::Options options_of(const gcore_options* given) {
  const gcore_options c = complete(given, kLeastOptions, gcore_options_init);
  writer::Options options;
  options.target = text_of(c.target);
  options.dialect = number<writer::Dialect>(c.dialect);
  options.compression = number<writer::Compression>(c.compression);
  options.program = text_of(c.program);
  options.bytes_per_second = c.bytes_per_second;
  options.pause_deadline = std::chrono::milliseconds(c.pause_deadline_ms);
  options.keep_partial = c.keep_partial != 0;
  options.sync = c.sync != 0;
  options.live = c.live != 0;
  options.live_memory = c.live_memory;
  options.page_store = text_of(c.page_store);
  options.aside_memory = c.aside_memory;
  options.pipe_memory = number<writer::PipeMemory>(c.pipe_memory);
  return options;
}

uint8_t signal_of(const gcore_options* given) {
  return static_cast<uint8_t>(complete(given, kLeastOptions, gcore_options_init).signal);
}

writer::Reason reason_of(int reason, const char* detail, uint8_t signal, unsigned cpu) {
  return {number<writer::Reason::Kind>(reason), std::string(text_of(detail)), signal,
          static_cast<uint16_t>(std::min(cpu, unsigned{UINT16_MAX}))};
}

void copy(char* to, size_t room, const std::string& text) {
  if (!to || room == 0) return;
  const size_t size = std::min(text.size(), room - 1);
  std::memcpy(to, text.data(), size);
  to[size] = '\0';
}

gcore_result result_of(const writer::Result& result) {
  gcore_result whole = {};
  gcore_result* c = &whole;
  gcore_result_init(c);
  c->ok = result.status.ok();
  c->cancelled = result.cancelled;
  c->error_code = result.status.ok() ? 0 : result.status.error().code;
  copy(c->error, sizeof c->error, result.status.text());
  copy(c->path, sizeof c->path, result.path);
  c->bytes = result.bytes;
  c->paused_ns = static_cast<uint64_t>(result.paused.count());
  c->command_status = result.command_status;
  c->pages_written = result.pages.written;
  c->pages_zero = result.pages.zero;
  c->pages_absent = result.pages.absent;
  c->pages_missing = result.pages.missing;
  c->requests = result.requests;
  c->command_signal = result.command_signal;
  c->live = result.live;
  copy(c->notice, sizeof c->notice, result.notice);
  return whole;
}

// As much as the caller's has room for. One that was not set up has room for the first version's, and is told.
int fill(gcore_result* to, const writer::Result& result) {
  if (!to) return result.status.ok() ? 0 : -1;
  gcore_result whole = result_of(result);
  const bool usable = is_set_up(to, kLeastResult);
  const size_t size = usable ? to->struct_size : kLeastResult;
  if (!usable) {
    whole.ok = 0;
    copy(whole.error, sizeof whole.error,
         "struct gcore_result has a struct_size of " + std::to_string(to->struct_size) +
             ": call gcore_result_init() first" + (result.status.ok() ? "" : "; " + result.status.text()));
  }
  whole.struct_size = size;
  std::memcpy(to, &whole, std::min(size, sizeof whole));
  return whole.ok ? 0 : -1;
}

int fill_error(gcore_result* to, writer::Status status) {
  writer::Result failed;
  failed.status = std::move(status);
  return fill(to, failed);
}

}  // namespace

struct gcore_dumper {
  gcore_dumper(const gcore_guest* c_guest, uint8_t the_signal) : guest(c_guest), signal(the_signal) {}
  CGuest guest;
  const uint8_t signal;
  std::unique_ptr<writer::Dumper> dumper;
};

extern "C" {

int gcore_register_set(gcore_registers* registers, const char* name, uint64_t value) {
  return registers && name && registers->file.set(name, value) ? 0 : -1;
}

size_t gcore_register_count(int machine) { return format::registers(number<format::Machine>(machine)).size(); }

const char* gcore_register_name(int machine, size_t index) {
  const auto all = format::registers(number<format::Machine>(machine));
  return index < all.size() ? all[index].name.data() : nullptr;  // of a literal, which ends in NUL
}

int gcore_register_bytes(int machine, size_t index) {
  const auto all = format::registers(number<format::Machine>(machine));
  return index < all.size() ? all[index].bytes : 0;
}

void gcore_guest_init(struct gcore_guest* guest) {
  *guest = {};
  guest->struct_size = sizeof *guest;
  guest->machine = GCORE_MACHINE_X86_64;
}

void gcore_options_init(struct gcore_options* options) {
  *options = {};
  options->struct_size = sizeof *options;
  options->sync = 1;
  options->live_memory = writer::Options().live_memory;
}

void gcore_result_init(struct gcore_result* result) {
  *result = {};
  result->struct_size = sizeof *result;
}

int gcore_compression_supported(int compression) {
  return writer::is_supported(number<writer::Compression>(compression)) ? 1 : 0;
}

int gcore_dump(const struct gcore_guest* guest, const struct gcore_options* options, int reason, const char* detail,
               unsigned cpu, struct gcore_result* result) {
  if (result && !is_set_up(result, kLeastResult))
    return fill_error(result, writer::Status(std::string("nothing was dumped")));
  if (writer::Status status = trouble(guest, options); !status) return fill_error(result, std::move(status));
  CGuest adapter(guest);
  return fill(result, writer::dump(adapter, options_of(options), reason_of(reason, detail, signal_of(options), cpu)));
}

gcore_dumper* gcore_dumper_create(const struct gcore_guest* guest, const struct gcore_options* options,
                                  void (*on_done)(void* self, const struct gcore_result* result), void* on_done_self,
                                  char* error, size_t error_size) {
  if (const writer::Status status = trouble(guest, options); !status) {
    copy(error, error_size, status.text());
    return nullptr;
  }
  auto dumper = std::make_unique<gcore_dumper>(guest, signal_of(options));
  writer::Dumper::OnDone callback;
  if (on_done)
    callback = [on_done, on_done_self](const writer::Result& result) {
      const gcore_result c = result_of(result);
      on_done(on_done_self, &c);
    };
  writer::Status status;
  dumper->dumper = writer::Dumper::create(dumper->guest, options_of(options), std::move(callback), status);
  copy(error, error_size, status.text());
  return dumper->dumper ? dumper.release() : nullptr;
}

const char* gcore_dumper_notice(const gcore_dumper* dumper) { return dumper->dumper->notice().c_str(); }

void gcore_dumper_destroy(gcore_dumper* dumper) { delete dumper; }

void gcore_dumper_request(gcore_dumper* dumper) { dumper->dumper->request(); }

void gcore_dumper_request_for(gcore_dumper* dumper, int reason, const char* detail, unsigned cpu) {
  dumper->dumper->request(reason_of(reason, detail, dumper->signal, cpu));
}

int gcore_dumper_wait(gcore_dumper* dumper, struct gcore_result* result) {
  return fill(result, dumper->dumper->wait());
}

void gcore_dumper_cancel(gcore_dumper* dumper) { dumper->dumper->cancel(); }

void gcore_dumper_progress(const gcore_dumper* dumper, uint64_t* done, uint64_t* total) {
  const writer::Progress progress = dumper->dumper->progress();
  if (done) *done = progress.memory_done;
  if (total) *total = progress.memory_total;
}

uint64_t gcore_dumper_dumps(const gcore_dumper* dumper) { return dumper->dumper->progress().dumps; }

int gcore_dumper_phase(const gcore_dumper* dumper) { return static_cast<int>(dumper->dumper->progress().phase); }

}  // extern "C"
