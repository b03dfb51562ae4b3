#include "reader/source/remote/remote.h"

#include <utility>

#ifdef GCORE_WITH_LIBCURL
#include "reader/source/remote/download.h"
#include "reader/source/remote/remote_source.h"
#include "reader/source/remote/target.h"
#endif

namespace gcore::reader {

std::string RemoteState::trouble() const {
  const std::lock_guard lock(mutex_);
  return trouble_;
}

uint64_t RemoteState::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

uint64_t RemoteState::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

void RemoteState::set_trouble(const std::string& why) {
  const std::lock_guard lock(mutex_);
  if (trouble_.empty()) trouble_ = why;
}

void RemoteState::count_request() {
  const std::lock_guard lock(mutex_);
  ++requests_;
}

void RemoteState::count_bytes(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  bytes_ += bytes;
}

#ifdef GCORE_WITH_LIBCURL

bool has_remote() { return true; }

Expected<Remote> open_remote(const std::string& url, const RemoteOptions& options) {
  Remote remote;
  remote.name = shown_url(url);
  const auto failed = [&](const Error& error) {
    return std::unexpected(Error{error.kind, "cannot open " + remote.name + ": " + error.text});
  };
  if (url.starts_with("s3://"))
    if (const auto place = parse_s3_url(url); !place) return failed({Error::Kind::io, place.error()});
  const auto target = Target::of(url, own_environment(), options.anonymous);
  if (!target) return failed(target.error());
  const TransferLimits limits{.attempts = options.attempts, .first_pause = options.first_pause, .stall = options.stall};
  auto state = std::make_shared<RemoteState>();
  remote.state = state;
  if (options.download) {
    auto source = download(*target, limits, options.progress, *state);
    if (!source) return failed(source.error());
    remote.source = std::move(*source);
  } else {
    auto source = RemoteSource::open(*target, limits, std::move(state));
    if (!source) return failed(source.error());
    remote.source = std::move(*source);
  }
  return remote;
}

#else

bool has_remote() { return false; }

Expected<Remote> open_remote(const std::string& url, const RemoteOptions&) {
  return std::unexpected(
      Error{Error::Kind::unsupported,
            "cannot open " + shown_url(url) + ": this build is without libcurl, which reads from there"});
}

#endif

}  // namespace gcore::reader
