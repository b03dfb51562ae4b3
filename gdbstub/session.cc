#include "gdbstub/session.h"

#include <algorithm>
#include <array>
#include <utility>

#include "gdbstub/client.h"
#include "gdbstub/packet.h"

namespace gcore::gdbstub {
namespace {

constexpr char kInterrupt = 0x03;
/// Console text goes out in packets of this many bytes of text: all clients' buffers hold that.
constexpr size_t kConsolePiece = 4096;

/// The name that a packet is found by: `vCont` of `vCont;c`, `vCont?` of itself, `m` of `m0,4`.
std::string_view packet_name(std::string_view payload) {
  if (payload.empty()) return payload;
  if (std::string_view("qQvj").find(payload[0]) == std::string_view::npos) return payload.substr(0, 1);
  return payload.substr(0, payload.find_first_of(":;,"));
}

Handler find_handler(std::string_view name) {
  for (const auto list :
       {memory_handlers(), thread_handlers(), control_handlers(), query_handlers(), file_handlers(), lldb_handlers()}) {
    const auto found = std::ranges::find(list, name, &NamedHandler::name);
    if (found != list.end()) return found->run;
  }
  return nullptr;
}

}  // namespace

struct Session::State {
  State(const Target& target, SessionOptions given)
      : options(std::move(given)), client{.target = target, .options = options, .cpu = target.faulting_cpu()} {}

  SessionOptions options;
  Client client;
  PacketReader reader;
  std::unique_ptr<Task> task;
  bool interrupted = false;
  bool closed = false;
  std::string last_packet;  // framed, for a client that did not get it
};

Session::Session(const Target& target, SessionOptions options)
    : state_(std::make_unique<State>(target, std::move(options))) {}
Session::~Session() = default;

void Session::receive(std::string_view bytes) {
  if (state_->task && bytes.find(kInterrupt) != std::string_view::npos) state_->interrupted = true;
  state_->reader.feed(bytes);
}

bool Session::wants_input() const {
  return !state_->closed && output_.size() < kOutputLimit && state_->reader.unread() < kInputLimit;
}
bool Session::busy() const { return state_->task != nullptr; }
bool Session::closed() const { return state_->closed; }
void Session::keep_alive() { output_ += '+'; }

void Session::send_packet(std::string_view payload, bool run_length) {
  if (state_->options.log) state_->options.log('<', payload);
  state_->last_packet = frame(payload, run_length ? RunLength::on : RunLength::off);
  output_ += state_->last_packet;
}

void Session::deliver(Reply reply) {
  if (reply.task) {
    state_->task = std::move(reply.task);
    state_->interrupted = false;
    return;
  }
  const std::string console = printable(reply.console);
  for (std::string_view text = console; !text.empty(); text.remove_prefix(std::min(kConsolePiece, text.size())))
    send_packet("O" + to_hex(text.substr(0, kConsolePiece)), true);
  if (!reply.memory.empty()) {
    if (state_->options.log) {
      std::string hex;
      append_hex(hex, reply.memory);
      state_->options.log('<', hex);
    }
    state_->last_packet = frame_hex(reply.memory);
    output_ += state_->last_packet;
  } else if (!reply.silent) {
    send_packet(reply.packet, reply.run_length);
  }
  state_->closed = reply.close;
}

void Session::handle(std::string_view payload) {
  if (state_->options.log) state_->options.log('>', payload);
  const std::string_view name = packet_name(payload);
  const Handler handler = find_handler(name);
  deliver(handler != nullptr ? handler(state_->client, payload.substr(name.size())) : Reply{});
}

bool Session::step() {
  State& state = *state_;
  if (state.closed || output_.size() >= kOutputLimit) return false;
  if (state.task) {
    std::optional<Reply> reply = state.interrupted ? state.task->cancelled() : state.task->step();
    if (reply) {
      state.task.reset();
      deliver(std::move(*reply));
    }
    return true;
  }
  const auto event = state.reader.next();
  if (!event) return false;
  const bool acknowledge = !state.client.no_ack;
  switch (event->kind) {
    case PacketReader::Kind::damaged:
      if (acknowledge) {
        output_ += '-';
        break;
      }
      [[fallthrough]];  // nobody would send it again: a client that turned acknowledgements off trusts its line
    case PacketReader::Kind::packet:
      if (acknowledge) output_ += '+';
      handle(event->payload);
      break;
    case PacketReader::Kind::too_long:
      if (acknowledge) output_ += '+';
      deliver(error(state.client, "the packet is longer than PacketSize"));
      break;
    case PacketReader::Kind::nak:
      output_ += state.last_packet;
      break;
    case PacketReader::Kind::ack:
    case PacketReader::Kind::interrupt:
      break;  // a dump does not run, so there is nothing to interrupt
  }
  return true;
}

}  // namespace gcore::gdbstub
