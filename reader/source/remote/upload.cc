#include "reader/source/remote/upload.h"

#ifdef GCORE_WITH_LIBCURL

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "reader/source/file.h"
#include "reader/source/remote/target.h"
#include "reader/source/remote/transfers.h"

namespace gcore::reader {
namespace {

constexpr size_t kFirstPart = size_t{8} << 20;  // S3 wants 5 MiB at least, but of the last one
constexpr size_t kMostParts = 10000, kPartsOfASize = 1000;
constexpr size_t kAtOnce = 4;
constexpr size_t kDocument = 256 << 10;  // of a reply

/// 8 MiB for the first thousand, then twice as much: ten thousand of them hold 8 TiB.
size_t size_of_part(size_t number) { return kFirstPart << ((number - 1) / kPartsOfASize); }

/// A request whose reply is small, or is only its head.
class Call final : public AwaitedTransfer {
 public:
  using MakeRequest = std::function<Request()>;
  explicit Call(MakeRequest make) : make_(std::move(make)) {}

  Request request() override { return make_(); }
  std::optional<std::string> take_head(const Head& head) override {
    head_ = head;
    document_.clear();
    return std::nullopt;
  }
  bool take_bytes(std::span<const std::byte> bytes) override {
    if (bytes.size() > kDocument - document_.size()) return false;
    document_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return true;
  }
  uint64_t progress() const override { return 0; }
  bool is_complete() const override { return true; }
  const Head& head() const { return head_; }
  const std::string& document() const { return document_; }

 private:
  const MakeRequest make_;
  Head head_;
  std::string document_;
};

}  // namespace

class Upload::Parts {
 public:
  Parts(Target target, const UploadOptions& options) : target_(std::move(target)), options_(options) {}

  Expected<void> send(int fd) {
    if (auto started = start(options_.attempts, true); !started) return started;
    if (auto begun = begin(); !begun) return begun;
    while (true) {
      if (etags_.size() == kMostParts) return failed("it is larger than an object of S3 may be");
      auto bytes = std::make_shared<std::vector<std::byte>>(size_of_part(etags_.size() + 1));
      const auto got = read_all(fd, *bytes);
      if (!got) return failed(std::strerror(errno));
      const bool last = *got < bytes->size();
      bytes->resize(*got);
      if (*got > 0 || etags_.empty()) add_part(std::move(bytes));
      if (auto taken = take_ended(last ? 0 : kAtOnce - 1); !taken || last) return taken;
    }
  }

  Expected<void> finish() {
    std::string text = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
    for (size_t i = 0; i < etags_.size(); ++i)
      text += fmt::format("<Part><PartNumber>{}</PartNumber><ETag>{}</ETag></Part>", i + 1, quoted(etags_[i]));
    text += "</CompleteMultipartUpload>";
    const auto body = std::as_bytes(std::span(text));
    const auto call = make([&] {
      Request request = target_.s3("POST", {{"uploadId", id_}}, body);
      if (!options_.replace) request.headers.emplace_back("if-none-match: *");
      return request;
    });
    if (const auto failure = call->wait()) {
      if (failure->status == 412 || failure->status == 409) return failed(options_.if_there);
      return failed(failure->text);
    }
    // It answers before it knows: an error may be in what follows.
    if (const std::string code = error_code_in(call->document());
        !code.empty() || call->document().find("<Error") != std::string::npos)
      return failed(fmt::format("the server could not put its parts together ({})", code));
    id_.clear();
    return {};
  }

  void abort() {
    if (id_.empty()) return;
    under_way_.clear();
    if (!start(2, false)) return;  // ends what is under way
    make([&] { return target_.s3("DELETE", {{"uploadId", id_}}); })->wait();
    id_.clear();
  }

  void cancel() {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    if (transfers_) transfers_->stop();
  }

  const std::string& name() const { return target_.shown(); }

 private:
  std::unexpected<Error> failed(const std::string& why) const {
    return std::unexpected(Error{Error::Kind::io, "cannot write " + name() + ": " + why});
  }

  Expected<void> start(int attempts, bool may_be_cancelled) {
    auto fresh =
        Transfers::start(target_, {.attempts = attempts, .first_pause = options_.first_pause, .stall = options_.stall});
    if (!fresh) return failed(fresh.error().text);
    const std::lock_guard lock(mutex_);
    transfers_.swap(*fresh);
    if (cancelled_ && may_be_cancelled) transfers_->stop();
    return {};
  }

  static std::string quoted(const std::string& etag) {
    std::string text;
    for (const char c : etag) text += c == '"' ? "&quot;" : c == '&' ? "&amp;" : c == '<' ? "&lt;" : std::string(1, c);
    return text;
  }

  std::shared_ptr<Call> make(Call::MakeRequest request) {
    auto call = std::make_shared<Call>(std::move(request));
    transfers_->add(call);
    return call;
  }

  Expected<void> begin() {
    if (!options_.replace) {
      const auto failure = make([&] { return target_.s3("HEAD", {}); })->wait();
      if (!failure) return failed(options_.if_there);
      // Whoever may not list a bucket is not told that there is nothing.
      if (failure->status != 404 && failure->status != 403) return failed(failure->text);
    }
    const auto call = make([&] { return target_.s3("POST", {{"uploads", ""}}); });
    if (const auto failure = call->wait()) return failed(failure->text);
    id_ = xml_element(call->document(), "UploadId");
    if (id_.empty() || id_.size() > 1024) {
      id_.clear();
      return failed("the server does not begin an upload, and does not say why");
    }
    return {};
  }

  void add_part(std::shared_ptr<std::vector<std::byte>> bytes) {
    etags_.emplace_back();
    const std::string number = std::to_string(etags_.size());
    under_way_.push_back(
        make([this, number, bytes] { return target_.s3("PUT", {{"partNumber", number}, {"uploadId", id_}}, *bytes); }));
  }

  /// Waits until no more than `most` parts are under way.
  Expected<void> take_ended(size_t most) {
    while (!under_way_.empty() && (under_way_.size() > most || under_way_.front()->has_ended())) {
      const auto first = under_way_.front();
      const auto failure = first->wait();
      const size_t number = etags_.size() - under_way_.size();
      under_way_.erase(under_way_.begin());
      if (failure) return failed(failure->text);
      if (first->head().etag.empty()) return failed("the server does not confirm a part of it (there is no ETag)");
      etags_[number] = first->head().etag;
    }
    return {};
  }

  const Target target_;
  const UploadOptions options_;
  std::string id_;  // "" when there is nothing to abort
  std::vector<std::string> etags_;
  std::vector<std::shared_ptr<Call>> under_way_;  // in the order of their numbers
  std::mutex mutex_;                              // of cancelled_, and of changing transfers_
  bool cancelled_ = false;
  std::unique_ptr<Transfers> transfers_;
};

Upload::Upload(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Upload::~Upload() { parts_->abort(); }

Expected<std::unique_ptr<Upload>> Upload::prepare(const std::string& url, const UploadOptions& options) {
  const auto failed = [&](const std::string& why) {
    return std::unexpected(Error{Error::Kind::io, "cannot write " + shown_url(url) + ": " + why});
  };
  if (!url.starts_with("s3://")) return failed("only s3://BUCKET/KEY can be written to");
  if (const auto place = parse_s3_url(url); !place) return failed(place.error());
  auto target = Target::of(url, own_environment(), options.anonymous);
  if (!target) return failed(target.error().text);
  return std::unique_ptr<Upload>(new Upload(std::make_unique<Parts>(std::move(*target), options)));
}

Expected<void> Upload::send(int fd) { return parts_->send(fd); }
Expected<void> Upload::finish() { return parts_->finish(); }
void Upload::abort() { parts_->abort(); }
void Upload::cancel() { parts_->cancel(); }
const std::string& Upload::name() const { return parts_->name(); }

}  // namespace gcore::reader

#else

namespace gcore::reader {

class Upload::Parts {};
Upload::Upload(std::unique_ptr<Parts>) {}
Upload::~Upload() = default;
Expected<std::unique_ptr<Upload>> Upload::prepare(const std::string& url, const UploadOptions&) {
  return std::unexpected(Error{Error::Kind::unsupported, "cannot write " + shown_url(url) +
                                                             ": this build is without libcurl, which writes there"});
}
Expected<void> Upload::send(int) { return {}; }
Expected<void> Upload::finish() { return {}; }
void Upload::abort() {}
void Upload::cancel() {}
const std::string& Upload::name() const {
  static const std::string kNone;
  return kNone;
}

}  // namespace gcore::reader

#endif
