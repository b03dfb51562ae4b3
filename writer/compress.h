// Sinks that compress on the way to another sink. Sources see Sink only; this is for the files that implement them.
#pragma once

#include <utility>

#include "writer/sink.h"

namespace gcore::writer {

/// Hands everything on but write(), skip() and finish(). What it wrote cannot be patched, and nobody knows beforehand
/// how much room it takes.
class FilterSink : public Sink {
 public:
  explicit FilterSink(std::unique_ptr<Sink> next) : next_(std::move(next)) {}
  Status explain(Status error) override { return next_->explain(std::move(error)); }
  void abandon() override { next_->abandon(); }
  std::string path() const override { return next_->path(); }
  uint64_t bytes() const override { return next_->bytes(); }
  int command_status() const override { return next_->command_status(); }
  int command_signal() const override { return next_->command_signal(); }

 protected:
  Sink& next() { return *next_; }

 private:
  std::unique_ptr<Sink> next_;
};

/// At most so many bytes of heap does a dump with that compression take, without what depends on the guest.
size_t heap_size(Compression compression);

/// In builds that have the library; see is_supported().
std::unique_ptr<Sink> open_gzip_sink(std::unique_ptr<Sink> next);
std::unique_ptr<Sink> open_zstd_sink(std::unique_ptr<Sink> next);

}  // namespace gcore::writer
