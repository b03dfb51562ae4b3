// The ring of messages, kernel/printk/printk_ringbuffer.c: a ring of descriptors, beside each an info; the texts in a
// ring of bytes. Writers may have been stopped anywhere: what a descriptor says is believed only where the others
// agree.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "reader/guest/linux/message_sources.h"
#include "writer/format/endian.h"

namespace gcore::reader::linux_guest {
namespace {

constexpr unsigned kMaxCountBits = 22, kMaxTextBits = 31;  // four million records, the kernel's own LOG_BUF_LEN_MAX
constexpr size_t kMaxInfo = 512;
// Bits of a descriptor's state_var.
constexpr unsigned kStateShift = 62;
constexpr uint64_t kIdMask = (uint64_t{1} << kStateShift) - 1;
constexpr uint64_t kCommitted = 1, kFinalized = 2;
constexpr uint64_t kIdSize = 8;  // each block of text begins with its record's id

class MessageRing {
 public:
  MessageRing(const Kernel& kernel, VirtAddr pointer) : kernel_(kernel), memory_(kernel.memory()), pointer_(pointer) {}

  Expected<Messages> read() {
    PrintkLayout layout(kernel_);
    learn(layout);
    if (!layout.missing().empty()) return fail(Error::Kind::not_present, "nothing says " + layout.missing());
    if (const auto problem = open(); !problem.empty()) return fail(Error::Kind::malformed, problem);
    result_.source = std::string("prb by ") + layout.source();
    for (uint64_t id = tail_;; id = (id + 1) & kIdMask) {
      if (!take(id)) ++result_.lost;
      if (id == head_) break;
    }
    if (!result_.records.empty()) result_.lost += result_.records.front().sequence;
    return std::move(result_);
  }

 private:
  std::unexpected<Error> fail(Error::Kind kind, const std::string& why) const {
    return std::unexpected(Error{kind, fmt::format("cannot read the kernel's messages: {}", why)});
  }

  void learn(PrintkLayout& layout) {
    desc_ring_ = layout.offset("printk_ringbuffer", "desc_ring");
    text_ring_ = layout.offset("printk_ringbuffer", "text_data_ring");
    count_bits_at_ = layout.offset("prb_desc_ring", "count_bits");
    descs_at_ = layout.offset("prb_desc_ring", "descs");
    infos_at_ = layout.offset("prb_desc_ring", "infos");
    head_at_ = layout.offset("prb_desc_ring", "head_id");
    tail_at_ = layout.offset("prb_desc_ring", "tail_id");
    desc_size_ = layout.size("prb_desc");
    state_at_ = layout.offset("prb_desc", "state_var");
    block_at_ = layout.offset("prb_desc", "text_blk_lpos");
    begin_at_ = layout.offset("prb_data_blk_lpos", "begin");
    next_at_ = layout.offset("prb_data_blk_lpos", "next");
    info_size_ = layout.size("printk_info");
    sequence_at_ = layout.offset("printk_info", "seq");
    time_at_ = layout.offset("printk_info", "ts_nsec");
    length_at_ = layout.offset("printk_info", "text_len");
    caller_at_ = layout.offset("printk_info", "caller_id");
    // VMCOREINFO leaves out facility (a byte) and flags with level (a byte): they fill the gap before caller_id.
    gap_holds_level_ = caller_at_ == length_at_ + 4;
    if (!gap_holds_level_) facility_at_ = layout.offset("printk_info", "facility");
    size_bits_at_ = layout.offset("prb_data_ring", "size_bits");
    data_at_ = layout.offset("prb_data_ring", "data");
    if (gap_holds_level_) facility_at_ = length_at_ + 2;
  }

  /// Reads the heads of both rings. What is wrong with them, or "".
  std::string open() {
    const auto ring = memory_.pointer(pointer_);
    if (!ring) return fmt::format("prb at {:#x} is not in the dump", pointer_.value);
    const VirtAddr descs = *ring + desc_ring_, text = *ring + text_ring_;
    const auto count_bits = memory_.u32(descs + count_bits_at_), text_bits = memory_.u32(text + size_bits_at_);
    const auto desc_array = memory_.pointer(descs + descs_at_), info_array = memory_.pointer(descs + infos_at_);
    const auto head = memory_.u64(descs + head_at_), tail = memory_.u64(descs + tail_at_);
    const auto data = memory_.pointer(text + data_at_);
    if (!count_bits || !text_bits || !desc_array || !info_array || !head || !tail || !data)
      return fmt::format("the ring at {:#x} is not in the dump", ring->value);
    if (*count_bits == 0 || *count_bits > kMaxCountBits || *text_bits < 4 || *text_bits > kMaxTextBits ||
        desc_size_ < 24 || desc_size_ > kMaxInfo || info_size_ < 24 || info_size_ > kMaxInfo)
      return fmt::format("the ring at {:#x} would have 2^{} records of {} bytes and 2^{} bytes of text", ring->value,
                         *count_bits, info_size_, *text_bits);
    if (std::max({state_at_, block_at_ + begin_at_, block_at_ + next_at_}) + 8 > desc_size_ ||
        std::max({sequence_at_, time_at_, length_at_, caller_at_, facility_at_}) + 8 > info_size_)
      return "offsets are beyond the ends of their structures";
    count_ = uint64_t{1} << *count_bits;
    text_size_ = uint64_t{1} << *text_bits;
    descs_ = *desc_array, infos_ = *info_array, data_ = *data;
    head_ = *head & kIdMask;
    tail_ = *tail & kIdMask;
    // A new ring's tail is one round behind its head; never more.
    if (((head_ - tail_) & kIdMask) >= count_) return "its tail and head are more than a round apart";
    return "";
  }

  template <class T>
  T load(const std::byte* at) const {
    return format::load<T>(at, kernel_.dump().byte_order());
  }

  /// The record of that id. False: it was overwritten, was never finished, or is torn.
  bool take(uint64_t id) {
    std::array<std::byte, kMaxInfo> bytes;
    const uint64_t index = id % count_;
    if (!memory_.read_exactly(descs_ + index * desc_size_, std::span(bytes).first(desc_size_))) return false;
    const auto state = load<uint64_t>(&bytes[state_at_]);
    if ((state & kIdMask) != id) return false;
    const uint64_t kind = state >> kStateShift;
    if (kind != kCommitted && kind != kFinalized) return id == tail_;  // a new ring's tail is a place, not a record
    const auto begin = load<uint64_t>(&bytes[block_at_ + begin_at_]);
    const auto next = load<uint64_t>(&bytes[block_at_ + next_at_]);

    if (!memory_.read_exactly(infos_ + index * info_size_, std::span(bytes).first(info_size_))) return false;
    Message message;
    message.sequence = load<uint64_t>(&bytes[sequence_at_]);
    message.time_ns = load<uint64_t>(&bytes[time_at_]);
    message.facility = static_cast<uint8_t>(bytes[facility_at_]);
    set_flags_and_level(message, static_cast<uint8_t>(bytes[facility_at_ + 1]), kernel_.dump().byte_order());
    message.caller = load<uint32_t>(&bytes[caller_at_]);
    message.finished = kind == kFinalized;
    // Records are numbered as their descriptors are.
    if (!result_.records.empty() && message.sequence <= result_.records.back().sequence) return false;
    if (!take_text(id, begin, next, load<uint16_t>(&bytes[length_at_]), message.text)) return false;
    result_.records.push_back(std::move(message));
    return true;
  }

  bool take_text(uint64_t id, uint64_t begin, uint64_t next, size_t length, std::string& text) {
    // Odd positions stand for no text: an empty line (3, both), or text for which there was no room (1).
    if ((begin | next) & 1) return begin == 3 && next == 3;
    uint64_t start = begin % text_size_, size = next - begin;
    const uint64_t rounds = next / text_size_ - begin / text_size_;
    if (rounds == 1 && next % text_size_ != 0) {  // it did not fit at the end, so it stands at the start
      start = 0;
      size = next % text_size_;
    } else if (rounds > 1) {
      return false;
    }
    if (size <= kIdSize || size > text_size_ - start || taken_ + size > text_size_) return false;
    if (memory_.u64(data_ + start) != id) return false;
    text.resize(std::min<uint64_t>(length, size - kIdSize));
    if (!memory_.read_exactly(data_ + (start + kIdSize), std::as_writable_bytes(std::span(text)))) return false;
    taken_ += size;
    return true;
  }

  const Kernel& kernel_;
  const KernelMemory& memory_;
  const VirtAddr pointer_;
  Messages result_;

  // Offsets and sizes of structures.
  uint64_t desc_ring_ = 0, text_ring_ = 0, count_bits_at_ = 0, descs_at_ = 0, infos_at_ = 0, head_at_ = 0, tail_at_ = 0;
  uint64_t desc_size_ = 0, state_at_ = 0, block_at_ = 0, begin_at_ = 0, next_at_ = 0;
  uint64_t info_size_ = 0, sequence_at_ = 0, time_at_ = 0, length_at_ = 0, caller_at_ = 0, facility_at_ = 0;
  uint64_t size_bits_at_ = 0, data_at_ = 0;
  bool gap_holds_level_ = false;

  // This ring.
  uint64_t count_ = 0, text_size_ = 0, head_ = 0, tail_ = 0;
  uint64_t taken_ = 0;  // bytes of text: blocks do not overlap, so there are never more than the ring has
  VirtAddr descs_, infos_, data_;
};

}  // namespace

Expected<Messages> read_message_ring(const Kernel& kernel, VirtAddr ring) { return MessageRing(kernel, ring).read(); }

}  // namespace gcore::reader::linux_guest
