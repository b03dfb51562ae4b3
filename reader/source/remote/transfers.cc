#include "reader/source/remote/transfers.h"

#include <fmt/format.h>

#include "writer/base/text.h"

namespace gcore::reader {

std::string words_for_status(const Head& head, std::string_view document, bool is_s3) {
  const std::string code = error_code_in(document);
  const std::string number = fmt::format("({}{}{})", head.status, code.empty() ? "" : ", ", code);
  const std::string where =
      head.region.empty() ? ""
                          : fmt::format("; the bucket is in region {}: set AWS_REGION", base::printable(head.region));
  switch (head.status) {
    case 301:
    case 302:
    case 307:
    case 308:
      return fmt::format("the server says that it is elsewhere {}{}", number, where);
    case 401:
      return fmt::format("the server wants to know who asks {}: ~/.netrc may say it", number);
    case 403:
      return fmt::format("the server does not allow it {}{}", number, where);
    case 404:
    case 410:
      return fmt::format("there is no such {} {}", is_s3 ? "object" : "file", number);
    case 412:
      return fmt::format("it has changed since it was opened {}", number);
    case 416:
      return fmt::format("the server says that it is shorter than it was {}", number);
    case 429:
      return fmt::format("the server is asked too often {}", number);
    default:
      return fmt::format("the server {} {}{}", head.status >= 500 ? "failed" : "refuses it", number, where);
  }
}

}  // namespace gcore::reader

#ifdef GCORE_WITH_LIBCURL

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <list>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "reader/source/remote/curl.h"

namespace gcore::reader {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kDocument = 4096;  // of an error's
constexpr long kBuffer = 256 * 1024;
constexpr auto kLongestPause = std::chrono::seconds(20);
const Failure kEnded{.text = "it was given up", .ended = true};

bool is_worth_another_try(int status) {
  return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

bool is_worth_another_try(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
      return true;
    default:
      return false;
  }
}

/// libcurl's words, where it takes more to know what to do.
std::string words_for(CURLcode code, std::string words) {
  while (words.ends_with('\n') || words.ends_with('.')) words.pop_back();
  words = base::printable(words);
  if (code == CURLE_URL_MALFORMAT)
    return "that is no address: a blank in it is written as %20, a port is at most 65535 (" + words + ")";
  if (code == CURLE_SSL_CONNECT_ERROR)
    return "TLS does not come about; if the server has none, say http:// (" + words + ")";
  return words;
}

}  // namespace

/// A transfer and its attempts.
struct Attempt {
  std::shared_ptr<Transfer> transfer;
  CURL* easy = nullptr;
  curl_slist* headers = nullptr;
  Request request;
  HeadParser head;
  std::string document;               // of an error
  std::optional<std::string> no_use;  // why the head, or the bytes, are
  bool head_taken = false;
  size_t sent = 0;
  int tries = 0;
  uint64_t before = 0;    // Transfer::progress() when the attempt began
  Clock::time_point due;  // of the next one
  char words[CURL_ERROR_SIZE] = "";

  bool is_error() const { return head.head().status >= 300; }
  void take_head() {
    if (std::exchange(head_taken, true) || is_error()) return;
    no_use = transfer->take_head(head.head());
  }
};

class Transfers::Engine {
 public:
  Engine(const Curl& curl, const Target& target, const TransferLimits& limits)
      : curl_(curl), target_(target), limits_(limits), multi_(curl.multi_init()) {
    curl_.multi_setopt(multi_, CURLMOPT_MAXCONNECTS, limits.connections);
    // The program's signals are for its own threads.
    sigset_t all, before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { run(); });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  ~Engine() {
    stop();
    thread_.join();
    for (CURL* easy : idle_) curl_.easy_cleanup(easy);
    curl_.multi_cleanup(multi_);
  }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    curl_.multi_wakeup(multi_);
  }

  void add(std::shared_ptr<Transfer> transfer) {
    std::unique_lock lock(mutex_);
    if (stop_) {
      lock.unlock();
      return transfer->done(kEnded);
    }
    new_.push_back(std::move(transfer));
    lock.unlock();
    curl_.multi_wakeup(multi_);
  }

 private:
  void run() {
    while (take_new()) {
      begin_due();
      int running = 0;
      curl_.multi_perform(multi_, &running);
      int left = 0;
      while (const CURLMsg* message = curl_.multi_info_read(multi_, &left))
        if (message->msg == CURLMSG_DONE) end_attempt(message->easy_handle, message->data.result);
      curl_.multi_poll(multi_, nullptr, 0, time_to_next(), nullptr);
    }
    for (Attempt& attempt : attempts_) {
      release(attempt);
      attempt.transfer->done(kEnded);
    }
    attempts_.clear();
  }

  /// False: the end.
  bool take_new() {
    std::deque<std::shared_ptr<Transfer>> fresh;
    bool stop = false;
    {
      const std::lock_guard lock(mutex_);
      fresh.swap(new_);
      stop = stop_;
    }
    for (auto& transfer : fresh) {
      attempts_.emplace_back();
      attempts_.back().transfer = std::move(transfer);
    }
    return !stop;
  }

  void begin_due() {
    const auto now = Clock::now();
    for (Attempt& attempt : attempts_)
      if (attempt.easy == nullptr && attempt.due <= now && active_ < limits_.connections) begin(attempt);
  }

  int time_to_next() const {
    constexpr std::chrono::milliseconds kLongest(1000);
    auto wait = kLongest;
    if (active_ == limits_.connections) return static_cast<int>(wait.count());
    const auto now = Clock::now();
    for (const Attempt& attempt : attempts_)
      if (attempt.easy == nullptr)
        wait = std::clamp(std::chrono::ceil<std::chrono::milliseconds>(attempt.due - now), std::chrono::milliseconds(0),
                          wait);
    return static_cast<int>(wait.count());
  }

  void begin(Attempt& attempt) {
    if (idle_.empty()) {
      attempt.easy = curl_.easy_init();
    } else {
      attempt.easy = idle_.back();
      idle_.pop_back();
      curl_.easy_reset(attempt.easy);
    }
    attempt.request = attempt.transfer->request();
    attempt.head = {};
    attempt.document.clear();
    attempt.no_use.reset();
    attempt.head_taken = false;
    attempt.sent = 0;
    attempt.words[0] = 0;
    attempt.before = attempt.transfer->progress();
    ++attempt.tries;
    set_up(attempt);
    curl_.multi_add_handle(multi_, attempt.easy);
    ++active_;
  }

  template <class Value>
  void set(const Attempt& attempt, CURLoption option, Value value) {
    curl_.easy_setopt(attempt.easy, option, value);
  }

  void set_up(Attempt& attempt) {
    const Request& request = attempt.request;
    for (const std::string& header : request.headers)
      attempt.headers = curl_.slist_append(attempt.headers, header.c_str());
    set(attempt, CURLOPT_PRIVATE, &attempt);
    set(attempt, CURLOPT_URL, request.url.c_str());
    set(attempt, CURLOPT_PATH_AS_IS, 1L);  // a key may be "../x"
    set(attempt, CURLOPT_NOSIGNAL, 1L);
    set(attempt, CURLOPT_ERRORBUFFER, attempt.words);
    set(attempt, CURLOPT_PROTOCOLS_STR, "http,https");
    set(attempt, CURLOPT_REDIR_PROTOCOLS_STR, request.url.starts_with("https://") ? "https" : "http,https");
    set(attempt, CURLOPT_FOLLOWLOCATION, request.is_signed ? 0L : 1L);
    set(attempt, CURLOPT_MAXREDIRS, 5L);
    set(attempt, CURLOPT_NETRC, static_cast<long>(request.is_signed ? CURL_NETRC_IGNORED : CURL_NETRC_OPTIONAL));
    set(attempt, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));  // so that there are connections
    set(attempt, CURLOPT_USERAGENT, "gcore/" GCORE_VERSION);
    set(attempt, CURLOPT_CONNECTTIMEOUT, static_cast<long>(limits_.connect.count()));
    set(attempt, CURLOPT_LOW_SPEED_LIMIT, 1L);
    set(attempt, CURLOPT_LOW_SPEED_TIME, static_cast<long>(limits_.stall.count()));
    set(attempt, CURLOPT_TCP_KEEPALIVE, 1L);
    set(attempt, CURLOPT_BUFFERSIZE, kBuffer);
    if (!target_.certificates().empty()) set(attempt, CURLOPT_CAINFO, target_.certificates().c_str());
    set(attempt, CURLOPT_HEADERFUNCTION, &Engine::on_header);
    set(attempt, CURLOPT_HEADERDATA, &attempt);
    set(attempt, CURLOPT_WRITEFUNCTION, &Engine::on_bytes);
    set(attempt, CURLOPT_WRITEDATA, &attempt);
    if (request.method == "PUT") {
      set(attempt, CURLOPT_UPLOAD, 1L);
      set(attempt, CURLOPT_READFUNCTION, &Engine::on_read);
      set(attempt, CURLOPT_READDATA, &attempt);
      set(attempt, CURLOPT_SEEKFUNCTION, &Engine::on_seek);
      set(attempt, CURLOPT_SEEKDATA, &attempt);
      set(attempt, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
      attempt.headers = curl_.slist_append(attempt.headers, "Expect:");
    } else if (request.method == "POST") {
      set(attempt, CURLOPT_POST, 1L);
      set(attempt, CURLOPT_POSTFIELDS, request.body.empty() ? "" : reinterpret_cast<const char*>(request.body.data()));
      set(attempt, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
      attempt.headers = curl_.slist_append(attempt.headers, "Content-Type:");
    } else if (request.method == "HEAD") {
      set(attempt, CURLOPT_NOBODY, 1L);
    } else if (request.method != "GET") {
      set(attempt, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    }
    set(attempt, CURLOPT_HTTPHEADER, attempt.headers);
  }

  static size_t on_header(char* line, size_t, size_t size, void* data) {
    static_cast<Attempt*>(data)->head.line({line, size});
    return size;
  }

  static size_t on_bytes(char* bytes, size_t, size_t size, void* data) {
    auto& attempt = *static_cast<Attempt*>(data);
    if (attempt.is_error()) {
      attempt.document.append(bytes, std::min(size, kDocument - std::min(kDocument, attempt.document.size())));
      return size;
    }
    attempt.take_head();
    if (!attempt.no_use && !attempt.transfer->take_bytes({reinterpret_cast<const std::byte*>(bytes), size}))
      attempt.no_use = "the server sends more than it was asked for";
    return attempt.no_use ? 0 : size;
  }

  static size_t on_read(char* into, size_t, size_t size, void* data) {
    auto& attempt = *static_cast<Attempt*>(data);
    const size_t count = std::min(size, attempt.request.body.size() - attempt.sent);
    std::memcpy(into, attempt.request.body.data() + attempt.sent, count);
    attempt.sent += count;
    return count;
  }

  static int on_seek(void* data, curl_off_t offset, int) {
    auto& attempt = *static_cast<Attempt*>(data);
    if (offset < 0 || static_cast<uint64_t>(offset) > attempt.request.body.size()) return CURL_SEEKFUNC_FAIL;
    attempt.sent = static_cast<size_t>(offset);
    return CURL_SEEKFUNC_OK;
  }

  void release(Attempt& attempt) {
    if (attempt.easy == nullptr) return;
    curl_.multi_remove_handle(multi_, attempt.easy);
    idle_.push_back(std::exchange(attempt.easy, nullptr));
    --active_;
    curl_.slist_free_all(std::exchange(attempt.headers, nullptr));
  }

  void end_attempt(CURL* easy, CURLcode code) {
    void* data = nullptr;
    curl_.easy_getinfo(easy, CURLINFO_PRIVATE, &data);
    auto& attempt = *static_cast<Attempt*>(data);
    if (code == CURLE_OK) attempt.take_head();  // a reply without a body
    std::string words = attempt.words[0] != 0 ? attempt.words : curl_.easy_strerror(code);
    release(attempt);

    const Head& head = attempt.head.head();
    std::optional<Failure> failure;
    bool again = false;
    if (attempt.no_use) {
      failure = Failure{*attempt.no_use, head.status};
    } else if (attempt.is_error() && code == CURLE_OK) {
      failure = Failure{words_for_status(head, attempt.document, target_.is_s3()), head.status};
      again = is_worth_another_try(head.status);
    } else if (code != CURLE_OK) {
      failure = Failure{words_for(code, std::move(words)), 0};
      again = is_worth_another_try(code);
    } else if (!attempt.transfer->is_complete()) {
      failure = Failure{"the server sends less than it was asked for", head.status};
      again = true;
    }
    // Whatever a server sends may be what it was sent.
    if (failure) failure->text = target_.without_secrets(std::move(failure->text));
    if (attempt.transfer->progress() != attempt.before) attempt.tries = 0;
    if (failure && again && attempt.tries < limits_.attempts) return wait(attempt, head.retry_after);
    if (failure && again) failure->text += fmt::format(", {} times", attempt.tries);
    const auto transfer = attempt.transfer;
    attempts_.remove_if([&](const Attempt& one) { return &one == &attempt; });
    transfer->done(failure);
  }

  void wait(Attempt& attempt, const std::optional<uint32_t>& asked) {
    auto pause = limits_.first_pause * (1 << std::min(std::max(attempt.tries - 1, 0), 10));
    // Not all at once, where many wait for one server.
    random_ = random_ * 1664525 + 1013904223;
    pause += pause * (random_ >> 24) / 512;
    if (asked) pause = std::max(pause, std::chrono::milliseconds(std::chrono::seconds(*asked)));
    attempt.due = Clock::now() + std::min<std::chrono::milliseconds>(pause, kLongestPause);
  }

  const Curl& curl_;
  const Target target_;
  const TransferLimits limits_;
  CURLM* const multi_;
  std::list<Attempt> attempts_;
  long active_ = 0;  // of them
  std::vector<CURL*> idle_;
  uint32_t random_ = static_cast<uint32_t>(Clock::now().time_since_epoch().count());
  std::mutex mutex_;
  std::deque<std::shared_ptr<Transfer>> new_;
  bool stop_ = false;
  std::thread thread_;
};

Transfers::Transfers(std::unique_ptr<Engine> engine) : engine_(std::move(engine)) {}
Transfers::~Transfers() = default;

Expected<std::unique_ptr<Transfers>> Transfers::start(const Target& target, const TransferLimits& limits) {
  const auto library = curl();
  if (!library) return std::unexpected(library.error());
  return std::unique_ptr<Transfers>(new Transfers(std::make_unique<Engine>(**library, target, limits)));
}

void Transfers::stop() { engine_->stop(); }
void Transfers::add(std::shared_ptr<Transfer> transfer) { engine_->add(std::move(transfer)); }

}  // namespace gcore::reader

#endif
