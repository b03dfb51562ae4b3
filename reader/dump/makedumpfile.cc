#include "reader/dump/makedumpfile.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>

#ifdef GCORE_WITH_LIBKDUMPFILE
#include "reader/dump/kdump_header.h"
#include "reader/dump/kdumpfile.h"
#endif
#include "writer/format/endian.h"
#include "writer/format/machine.h"

namespace gcore::reader {

bool is_kdump(std::span<const std::byte> start) {
  return std::string_view(reinterpret_cast<const char*>(start.data()), start.size()).starts_with("KDUMP   ");
}

#ifdef GCORE_WITH_LIBKDUMPFILE
namespace {

constexpr uint64_t kMaxRuns = uint64_t{1} << 22;
constexpr size_t kPageDescriptor = 24;  // i64 offset, u32 size, u32 flags, u64 page flags
constexpr uint64_t kDescriptorsAtOnce = 4096;

template <class... Args>
std::unexpected<Error> fail(Error::Kind kind, fmt::format_string<Args...> text, Args&&... args) {
  return std::unexpected(Error{kind, fmt::format(text, std::forward<Args>(args)...)});
}

/// Pages of one kind. Pages that are in the file have descriptors, in the order of their numbers; `rank` is the first
/// one's.
struct Run {
  uint64_t first = 0, end = 0, rank = 0;
  bool in_file = true;
};

struct PageDescriptor {
  uint64_t offset = 0;
  uint32_t size = 0;

  uint64_t end() const {
    return offset > std::numeric_limits<uint64_t>::max() - size ? std::numeric_limits<uint64_t>::max() : offset + size;
  }
};

class KdumpSource final : public Source {
 public:
  static Expected<std::unique_ptr<KdumpSource>> open(Rearranged file, const KdumpHeader& header) {
    const auto library = kdumpfile();
    if (!library) return std::unexpected(library.error());
    std::unique_ptr<KdumpSource> source(new KdumpSource(std::move(file), header, **library));
    if (auto opened = source->open_library(); !opened) return std::unexpected(opened.error());
    source->find_lost();
    return source;
  }

  uint64_t size() const override { return runs_.empty() ? 0 : runs_.back().end * page_size_; }
  uint64_t file_end() const override { return from_.flattened_size != 0 ? from_.flattened_size : file_->file_end(); }
  const Lost& lost() const override { return lost_; }
  const std::vector<Run>& runs() const { return runs_; }
  uint64_t pages() const { return page_count_; }  // that should be in the file
  uint64_t lost_pages() const { return lost_.bytes(0, size()) / page_size_; }

  /// How many of the bytes of a place in the file it has.
  uint64_t there(uint64_t at, uint64_t size) const {
    if (at >= file_->size()) return 0;
    const auto lost = from_.lost.next(at);
    const uint64_t end = lost ? std::min(file_->size(), std::max(lost->first, at)) : file_->size();
    return std::min(size, end - at);
  }

  /// What the file has of it.
  std::vector<std::byte> read(const KdumpArea& area) const {
    std::vector<std::byte> bytes(static_cast<size_t>(there(area.at, area.size)));
    bytes.resize(file_->read(FileOffset(area.at), bytes).bytes);
    return bytes;
  }

  Result read(FileOffset offset, std::span<std::byte> into) const override {
    Result result;
    for (auto run = run_at(offset.value); run != runs_.end() && result.bytes < into.size(); ++run) {
      const uint64_t at = offset.value + result.bytes;
      if (at / page_size_ < run->first) break;
      if (!run->in_file) {
        result.error = ENODATA;
        break;
      }
      const uint64_t there = std::min(run->end * page_size_, next_lost(FileOffset(at)).first) - at;
      if (there == 0) break;
      const auto part =
          into.subspan(result.bytes, static_cast<size_t>(std::min<uint64_t>(into.size() - result.bytes, there)));
      const Result got = read_pages(*run, at, part);
      result.bytes += got.bytes;
      result.error = got.error;
      if (got.bytes < part.size()) break;
    }
    return result;
  }

  /// Page by page where a piece cannot be read; pages that are not in the file are no damage.
  std::vector<Damage> check(const std::function<void(uint64_t, uint64_t)>& progress) const override {
    std::vector<Damage> found;
    std::vector<std::byte> bytes(kCheckedAtOnce);
    uint64_t done = 0;
    for (const Run& run : runs_) {
      const uint64_t end = run.end * page_size_;
      for (uint64_t at = run.first * page_size_; run.in_file && at < end;) {
        const auto part = std::span(bytes).first(static_cast<size_t>(std::min<uint64_t>(bytes.size(), end - at)));
        const Result got = read(FileOffset(at), part);
        done += part.size();
        if (progress) progress(done, page_count_ * page_size_);
        if (got.error != 0) check_pages(run, at, part, found);
        at += part.size();
      }
    }
    return found;
  }

 private:
  static constexpr size_t kCheckedAtOnce = size_t{1} << 20;

  void check_pages(const Run& run, uint64_t from, std::span<std::byte> into, std::vector<Damage>& found) const {
    for (uint64_t at = from; at < from + into.size(); at += page_size_) {
      const Result got = read(FileOffset(at), into.first(static_cast<size_t>(page_size_)));
      if (got.error == 0) continue;
      const auto page = descriptors(run.rank + (at / page_size_ - run.first), 1);
      const Place place = page.empty() ? Place{} : Place{page[0].offset, page[0].size};
      const bool adjoins = !found.empty() && found.back().begin.value + found.back().size == at;
      if (adjoins)
        found.back().size += page_size_;
      else
        found.push_back({FileOffset(at), page_size_, place, got.error});
    }
  }

  KdumpSource(Rearranged file, const KdumpHeader& header, const Kdumpfile& library)
      : from_(std::move(file)),
        file_(from_.file.get()),
        header_(header),
        page_size_(header.block_size),
        library_(library),
        context_(library.create(), library.free) {}

  Expected<void> open_library() {
    kdump_ctx_t* context = context_.get();
    if (context == nullptr) return fail(Error::Kind::io, "it cannot be opened: libkdumpfile has no memory");
    // Never through a mapping, which would raise SIGBUS if the file shrank.
    const kdump_attr_t never{.type = KDUMP_NUMBER, .val = {.number = KDUMP_MMAP_NEVER}};
    const int descriptor = file_->descriptor();
    if (library_.set_attr(context, KDUMP_ATTR_FILE_MMAP_POLICY, &never) != KDUMP_OK ||
        library_.open_fdset(context, 1, &descriptor) != KDUMP_OK) {
      // libkdumpfile 0.5.1 has freed a part of it by now, which kdump_free() would use: better some KiB that are lost.
      context_.release();  // NOLINT(bugprone-unused-return-value)
      return fail(Error::Kind::malformed, "it is a kdump-compressed dump that libkdumpfile does not open: {}",
                  library_.get_err(context));
    }
    return find_runs();
  }

  Expected<void> find_runs() {
    kdump_attr_t in_file{.type = KDUMP_BITMAP, .val = {}}, all{.type = KDUMP_BITMAP, .val = {}};
    if (library_.get_typed_attr(context_.get(), KDUMP_ATTR_FILE_PAGEMAP, &in_file) != KDUMP_OK)
      return fail(Error::Kind::malformed, "its map of pages cannot be read: {}", library_.get_err(context_.get()));
    kdump_bmp_t* known =
        library_.get_typed_attr(context_.get(), KDUMP_ATTR_MEMORY_PAGEMAP, &all) == KDUMP_OK ? all.val.bitmap : nullptr;
    uint64_t rank = 0, from = 0;
    for (bool more = true; more;) {
      Run run;
      more = next_run(in_file.val.bitmap, from, run);
      if (known != nullptr) add_left_out(known, from, more ? run.first : kNoPage);
      if (!more) break;
      run.rank = rank;
      rank += run.end - run.first;
      from = run.end;
      runs_.push_back(run);
      if (runs_.size() > kMaxRuns) break;
    }
    if (runs_.size() > kMaxRuns)
      return fail(Error::Kind::unsupported, "its pages are in more than {} separate places", kMaxRuns);
    page_count_ = rank;
    return {};
  }

  /// Some descriptors from the one of page `rank` on, as many as the file has and the buffer takes.
  std::vector<PageDescriptor> descriptors(uint64_t rank, uint64_t count) const {
    std::vector<std::byte> bytes(static_cast<size_t>(count * kPageDescriptor));
    const Result got = file_->read(FileOffset(header_.descriptors + rank * kPageDescriptor), bytes);
    std::vector<PageDescriptor> out(got.bytes / kPageDescriptor);
    for (size_t i = 0; i < out.size(); ++i) out[i] = descriptor_in(&bytes[i * kPageDescriptor]);
    return out;
  }

  PageDescriptor descriptor_in(const std::byte* bytes) const {
    return {format::load<uint64_t>(bytes, header_.order), format::load<uint32_t>(bytes + 8, header_.order)};
  }

  bool sensible(const PageDescriptor& page) const { return page.size != 0 && page.size <= page_size_; }

  /// Whether there is a page whose data would end after the end of the file. Writers put pages one after the other,
  /// so that one of the last descriptors tells; pages of zeros, which share one place at the start, do not.
  bool ends_early() const {
    const uint64_t size = file_->size(), erased_end = header_.erased.at + header_.erased.size;
    if (page_count_ > (size - header_.descriptors) / kPageDescriptor) return true;
    const uint64_t data_end = header_.erased.size != 0 && erased_end == size ? header_.erased.at : size;
    uint64_t furthest = 0;
    for (uint64_t left = page_count_; left > 0 && furthest < data_end;) {
      const uint64_t count = std::min<uint64_t>(left, kDescriptorsAtOnce);
      left -= count;
      for (const PageDescriptor& page : descriptors(left, count))
        if (sensible(page)) furthest = std::max(furthest, page.end());
    }
    return furthest > size;
  }

  void find_lost() {
    if (!from_.truncated && !ends_early()) return;
    for (const Run& run : runs_) {
      if (!run.in_file) continue;
      uint64_t page = run.first;
      while (page < run.end) {
        const uint64_t rank = run.rank + (page - run.first);
        const auto some = descriptors(rank, std::min<uint64_t>(run.end - page, kDescriptorsAtOnce));
        if (some.empty()) break;
        for (size_t i = 0; i < some.size(); ++i, ++page)
          if (is_lost(rank + i, some[i])) lost_.add(page * page_size_, (page + 1) * page_size_);
      }
      if (page < run.end) lost_.add(page * page_size_, run.end * page_size_);
    }
  }

  bool is_lost(uint64_t rank, const PageDescriptor& page) const {
    return there(header_.descriptors + rank * kPageDescriptor, kPageDescriptor) < kPageDescriptor ||
           (sensible(page) && there(page.offset, page.size) < page.size);
  }

  /// The next run at or after `from`. No address has more than 52 bits.
  bool next_run(kdump_bmp_t* map, uint64_t from, Run& run) const {
    kdump_addr_t at = from;
    if (library_.bmp_find_set(map, &at) != KDUMP_OK || at >= kNoPage) return false;
    run.first = at;
    run.end = library_.bmp_find_clear(map, &at) == KDUMP_OK ? std::min<uint64_t>(at, kNoPage) : kNoPage;
    return run.end > run.first;
  }

  void add_left_out(kdump_bmp_t* known, uint64_t from, uint64_t end) {
    Run run;
    while (from < end && runs_.size() <= kMaxRuns && next_run(known, from, run) && run.first < end) {
      runs_.push_back({run.first, std::min(run.end, end), 0, false});
      from = run.end;
    }
  }

  std::vector<Run>::const_iterator run_at(uint64_t address) const {
    return std::ranges::upper_bound(runs_, address / page_size_, {}, &Run::end);
  }

  Result read_pages(const Run& run, uint64_t address, std::span<std::byte> into) const {
    Result result;
    while (result.bytes < into.size()) {
      const uint64_t at = address + result.bytes;
      const size_t count =
          static_cast<size_t>(std::min<uint64_t>(into.size() - result.bytes, page_size_ - at % page_size_));
      if (!page_is_there(run.rank + (at / page_size_ - run.first), result.error)) break;
      const std::lock_guard lock(mutex_);
      size_t got = count;
      const kdump_status status =
          library_.read(context_.get(), KDUMP_MACHPHYSADDR, at, into.data() + result.bytes, &got);
      result.bytes += std::min(got, count);
      if (status != KDUMP_OK) {
        result.error = status == KDUMP_ERR_NODATA ? ENODATA : status == KDUMP_ERR_CORRUPT ? EBADMSG : EIO;
        break;
      }
    }
    return result;
  }

  /// libkdumpfile takes what is after the end of the file for zeros.
  bool page_is_there(uint64_t rank, int& error) const {
    std::array<std::byte, kPageDescriptor> bytes;
    const Result got = file_->read(FileOffset(header_.descriptors + rank * kPageDescriptor), bytes);
    error = got.error;
    if (got.bytes != bytes.size()) return false;
    const PageDescriptor page = descriptor_in(bytes.data());
    if (!sensible(page)) {
      error = EBADMSG;
      return false;
    }
    std::byte last;
    const Result end = file_->read(FileOffset(page.end() - 1), std::span(&last, 1));
    error = end.error;
    return end.bytes == 1;
  }

  static constexpr uint64_t kNoPage = uint64_t{1} << 40;

  Rearranged from_;
  const File* file_;  // of from_
  KdumpHeader header_;
  uint64_t page_size_, page_count_ = 0;
  std::vector<Run> runs_;
  Lost lost_;
  mutable std::mutex mutex_;  // a context serves one thread at a time
  const Kdumpfile& library_;
  std::unique_ptr<kdump_ctx_t, decltype(Kdumpfile::free)> context_;
};

void warn_of_lost(const KdumpSource& source, const KdumpHeader& header, std::vector<std::string>& warnings) {
  const std::string why = describe(Missing::file_truncated, source.file_end());
  if (const uint64_t lost = source.lost_pages(); lost != 0)
    warnings.push_back(fmt::format("{}: it has {} of the {} pages that its kdump header promises", why,
                                   source.pages() - lost, source.pages()));
  for (const KdumpArea& area : header.areas())
    if (const uint64_t there = source.there(area.at, area.size); there < area.size)
      warnings.push_back(fmt::format("{} of the kdump header: {} bytes at offset {}, of which {} can be read: {}",
                                     area.what, area.size, area.at, there, why));
}

}  // namespace

Expected<KdumpFile> open_kdump(Rearranged file, std::vector<std::string>& warnings) {
  const auto header = read_kdump_header(*file.file);
  if (!header) return std::unexpected(header.error());
  auto source = KdumpSource::open(std::move(file), *header);
  if (!source) return std::unexpected(source.error());
  KdumpFile out;
  out.elf.machine = header->machine;
  out.elf.order = header->order;
  out.elf.is_64_bit = header->is_64_bit;
  out.elf.by_qemu = header->by_qemu;
  for (const Run& run : (*source)->runs()) {
    const uint64_t at = run.first * header->block_size, size = (run.end - run.first) * header->block_size;
    out.elf.headers.push_back({.type = format::kSegmentLoad,
                               .offset = at,
                               .address = at,
                               .file_size = run.in_file ? size : 0,
                               .memory_size = size});
  }
  if (header->incomplete) warnings.push_back(kIncompleteDump);
  warn_of_lost(**source, *header, warnings);
  out.notes = (*source)->read(header->notes);
  out.notes_size = header->notes.size;
  const auto vmcoreinfo = (*source)->read(header->vmcoreinfo);
  out.vmcoreinfo.assign(reinterpret_cast<const char*>(vmcoreinfo.data()), vmcoreinfo.size());
  out.memory = std::move(*source);
  return out;
}

#else

Expected<KdumpFile> open_kdump(Rearranged, std::vector<std::string>&) {
  return std::unexpected(Error{Error::Kind::unsupported,
                               "it is a kdump-compressed dump, and this program was built without libkdumpfile"});
}

#endif

}  // namespace gcore::reader
