#include "reader/guest/linux/symbols/aarch64_code.h"

#include <algorithm>
#include <optional>

namespace gcore::reader::linux_guest {
namespace {

// Instructions, by the Arm Architecture Reference Manual, C4.1 and C6.2.
constexpr uint32_t kSp = 31, kFp = 29, kLr = 30;
constexpr uint32_t kMoveLrToX9 = 0xaa1e03e9;
constexpr int32_t kMaxFrame = 0xfff8;  // more than any kernel stack

constexpr uint32_t bits(uint32_t code, unsigned high, unsigned low) {
  return code >> low & ((uint32_t{1} << (high - low + 1)) - 1);
}
constexpr int32_t signed_bits(uint32_t code, unsigned high, unsigned low) {
  const uint32_t width = high - low + 1, value = bits(code, high, low);
  return static_cast<int32_t>(value << (32 - width)) >> (32 - width);
}

/// A load or store of x registers relative to sp.
struct Access {
  bool load = false;
  std::array<uint32_t, 2> registers{};
  size_t count = 0;
  int32_t before = 0, at = 0, after = 0;  // sp is changed by `before`; the place is sp + `at`; then sp by `after`
};

std::optional<Access> access_by_sp(uint32_t code) {
  if (bits(code, 9, 5) != kSp) return std::nullopt;
  Access access;
  access.load = bits(code, 22, 22) != 0;
  if ((code & 0xfe000000) == 0xa8000000) {  // stp, ldp of 64 bits
    access.registers = {bits(code, 4, 0), bits(code, 14, 10)}, access.count = 2;
    const int32_t offset = signed_bits(code, 21, 15) * 8;
    const uint32_t mode = bits(code, 24, 23);  // 1 after, 2 plain, 3 before
    (mode == 1 ? access.after : mode == 3 ? access.before : access.at) = offset;
    return access;
  }
  access.registers = {bits(code, 4, 0), 0}, access.count = 1;
  if ((code & 0xff800000) == 0xf9000000) {  // str, ldr with an unsigned offset
    access.at = static_cast<int32_t>(bits(code, 21, 10) * 8);
    return access;
  }
  if ((code & 0xffa00400) == 0xf8000400) {  // with an update of sp before (bit 11) or after
    (code & 0x800 ? access.before : access.after) = signed_bits(code, 20, 12);
    return access;
  }
  return std::nullopt;
}

/// add or sub of 64 bits with an immediate.
struct Sum {
  uint32_t to, from;
  int32_t value;
};

std::optional<Sum> immediate_sum(uint32_t code) {
  if ((code & 0xbf000000) != 0x91000000 || (bits(code, 23, 23) != 0)) return std::nullopt;
  const auto value = static_cast<int32_t>(bits(code, 21, 10) << (bits(code, 22, 22) ? 12 : 0));
  return Sum{bits(code, 4, 0), bits(code, 9, 5), code & 0x40000000 ? -value : value};
}

/// Whether it writes sp in another way: add or sub with a register, a logical one with an immediate.
bool writes_sp(uint32_t code) {
  if (bits(code, 4, 0) != kSp) return false;
  return (code & 0xbf200000) == 0x8b200000 || (code & 0xbf800000) == 0x91000000 ||
         ((code & 0x9f800000) == 0x92000000 && bits(code, 30, 29) != 3);
}

struct Branch {
  bool conditional = false;
  std::optional<int32_t> distance;  // in instructions; none: not by the code alone
};

std::optional<Branch> branch(uint32_t code) {
  if ((code & 0xfc000000) == 0x14000000) return Branch{false, signed_bits(code, 25, 0)};
  if ((code & 0xff000000) == 0x54000000 || (code & 0x7e000000) == 0x34000000)
    return Branch{true, signed_bits(code, 23, 5)};
  if ((code & 0x7e000000) == 0x36000000) return Branch{true, signed_bits(code, 18, 5)};
  // br, ret, eret and their kinds that authenticate; not blr
  if ((code & 0xfe000000) == 0xd6000000 && bits(code, 22, 21) != 1) return Branch{};
  return std::nullopt;
}

bool is_call(uint32_t code) {
  return (code & 0xfc000000) == 0x94000000 || ((code & 0xfe000000) == 0xd6000000 && bits(code, 22, 21) == 1);
}

/// A number that is made for a large frame: "mov x12, #14032; sub sp, sp, x12".
struct Constant {
  uint32_t to = kSp;
  int64_t value = 0;

  /// Follows movz and movk; anything else may be a use of it.
  void see(uint32_t code) {
    const uint32_t shift = bits(code, 22, 21) * 16;
    const auto part = static_cast<int64_t>(uint64_t{bits(code, 20, 5)} << shift);
    if ((code & 0x7f800000) == 0x52800000)
      to = bits(code, 4, 0), value = part;
    else if ((code & 0x7f800000) == 0x72800000 && bits(code, 4, 0) == to)
      value |= part;
  }
  /// What "sub sp, sp, xN" or "add sp, sp, xN" adds.
  std::optional<int64_t> added_to_sp(uint32_t code) const {
    if ((code & 0xbfe0ffff) != 0x8b2063ff || bits(code, 20, 16) != to) return std::nullopt;
    return code & 0x40000000 ? -value : value;
  }
};

struct State {
  Aarch64Frame frame;
  std::optional<int32_t> depth = 0;  // how far sp is below the CFA
  bool is_certain = true;            // not by what the rest of the function is like

  std::optional<int32_t> x29_below() const {
    return frame.by_x29 ? std::optional<int32_t>(frame.distance) : std::nullopt;
  }
  uint16_t& saved(uint32_t number) { return frame.saved[number - Aarch64Frame::kFirstSaved]; }

  /// sp is so far below the CFA from now on: what was saved below it is no longer there.
  void set_depth(std::optional<int32_t> below) {
    if (below && (*below < 0 || *below > kMaxFrame)) below.reset();
    depth = below;
    if (!depth) return;
    for (uint16_t& place : frame.saved)
      if (place > *depth) place = 0;
    if (!frame.by_x29) frame.distance = *depth;
  }
};

bool is_saved_kind(uint32_t number) {
  return number >= Aarch64Frame::kFirstSaved && number <= Aarch64Frame::kLastSaved;
}

void apply(State& state, const Access& access) {
  if (access.before != 0 && state.depth) state.set_depth(*state.depth - access.before);
  for (size_t i = 0; i < access.count && state.depth; ++i) {
    const uint32_t number = access.registers[i];
    if (!is_saved_kind(number)) continue;
    const int32_t place = *state.depth - access.at - 8 * static_cast<int32_t>(i);
    if (access.load) {
      if (state.saved(number) != place) continue;
      state.saved(number) = 0;
      if (number == kFp && state.frame.by_x29) state.frame.by_x29 = false, state.frame.distance = *state.depth;
    } else if (state.saved(number) == 0 && place >= 8 && place <= kMaxFrame &&
               !(number == kLr && state.frame.lost_return)) {
      state.saved(number) = static_cast<uint16_t>(place);
    }
  }
  if (access.after != 0 && state.depth) state.set_depth(*state.depth - access.after);
}

void apply(State& state, const Sum& sum) {
  if (sum.to == kSp && sum.from == kSp) {
    if (state.depth) state.set_depth(*state.depth - sum.value);
  } else if (sum.to == kFp && sum.from == kSp && state.depth) {
    // The frame pointer, once the caller's is saved.
    const int32_t below = *state.depth - sum.value;
    if (state.saved(kFp) != 0 && below >= 0 && below <= kMaxFrame)
      state.frame.by_x29 = true, state.frame.distance = below;
  } else if (sum.to == kSp) {
    const auto below = sum.from == kFp ? state.x29_below() : std::nullopt;
    state.set_depth(below ? std::optional<int32_t>(*below - sum.value) : std::nullopt);
  }
}

class Follower {
 public:
  explicit Follower(std::span<const uint32_t> code) : code_(code), arriving_(code.size()) {}

  /// Several times: what is only reached from behind is guessed at first.
  std::vector<Aarch64Row> run() {
    constexpr int kMostPasses = 4;
    guessed_.assign(code_.size(), false);
    for (int i = 0; i < kMostPasses && learnt_; ++i) pass();
    return std::move(rows_);
  }

 private:
  void pass() {
    State state, body;
    bool falls_through = true;
    rows_.clear();
    learnt_ = false;
    for (size_t i = 0; i < code_.size(); ++i) {
      guessed_[i] = !falls_through && !arriving_[i];
      // What a branch brought here is surer than what stands before it: that may be a call that never returns.
      if (arriving_[i])
        state = *arriving_[i];
      else if (!falls_through)
        state = body, state.is_certain = false;
      const uint32_t code = code_[i];
      // Debuggers look for a caller's row at the call itself. The tracer's call at a function's start gives x30 back.
      if (is_call(code) && state.saved(kLr) == 0 && (i == 0 || code_[i - 1] != kMoveLrToX9))
        state.frame.lost_return = true;
      if (rows_.empty() || rows_.back().frame != state.frame) rows_.push_back({i, state.frame});
      falls_through = true;
      if (const auto jump = branch(code)) {
        if (jump->distance) arrive(i, *jump->distance, state);
        falls_through = jump->conditional;
        continue;
      }
      constant_.see(code);
      step(state, code);
      if (is_body(state.frame, body.frame)) body = state;
    }
  }

  /// Whether what is between branches is so rather than as `body`: a function's end takes back what its start has done.
  static bool is_body(const Aarch64Frame& frame, const Aarch64Frame& body) {
    if (body.by_x29 && !frame.by_x29) return false;
    for (size_t i = 0; i < body.saved.size(); ++i)
      if (body.saved[i] != 0 && frame.saved[i] == 0) return false;
    return true;
  }

  void arrive(size_t from, int32_t distance, const State& state) {
    const int64_t to = static_cast<int64_t>(from) + distance;
    if (to < 0 || to >= static_cast<int64_t>(code_.size())) return;
    auto& there = arriving_[static_cast<size_t>(to)];
    const bool is_back = to <= static_cast<int64_t>(from);
    if (is_back && (!guessed_[static_cast<size_t>(to)] || !state.is_certain)) return;
    if (there && (there->is_certain || !state.is_certain)) return;
    there = state;
    learnt_ = learnt_ || is_back;
  }

  void step(State& state, uint32_t code) const {
    if (const auto access = access_by_sp(code)) {
      apply(state, *access);
    } else if (const auto sum = immediate_sum(code)) {
      apply(state, *sum);
    } else if (writes_sp(code)) {
      const auto added = constant_.added_to_sp(code);
      const bool fits = added && *added >= -kMaxFrame && *added <= kMaxFrame && state.depth;
      state.set_depth(fits ? std::optional(*state.depth - static_cast<int32_t>(*added)) : std::nullopt);
    }
  }

  std::span<const uint32_t> code_;
  std::vector<std::optional<State>> arriving_;
  bool learnt_ = true;         // something that the next pass can use
  std::vector<bool> guessed_;  // no branch leads there from before
  std::vector<Aarch64Row> rows_;
  Constant constant_;
};

}  // namespace

std::vector<Aarch64Row> follow_aarch64_code(std::span<const uint32_t> code) { return Follower(code).run(); }

}  // namespace gcore::reader::linux_guest
