#include "gdbstub/protocol/session.h"

#include <algorithm>
#include <array>
#include <utility>

#include "gdbstub/protocol/client.h"
#include "gdbstub/protocol/packet.h"
#include "writer/base/text.h"

namespace gcore::gdbstub {
namespace {

constexpr char kInterrupt = 0x03;
/// Console text goes out in packets of this many bytes of text: all clients' buffers hold that.
constexpr size_t kConsolePiece = 4096;
/// Reads that are shorter are no part of a copy of memory, which is worth working ahead for.
constexpr uint64_t kLongRead = 1024;

/// The name that a packet is found by: `vCont` of `vCont;c`, `vCont?` of itself, `m` of `m0,4`.
std::string_view packet_name(std::string_view payload) {
  if (payload.empty()) return payload;
  if (std::string_view("qQvj").find(payload[0]) == std::string_view::npos) return payload.substr(0, 1);
  return payload.substr(0, payload.find_first_of(":;,"));
}

const NamedHandler* find_handler(std::string_view name) {
  for (const auto list :
       {memory_handlers(), thread_handlers(), control_handlers(), query_handlers(), file_handlers(), lldb_handlers()}) {
    const auto found = std::ranges::find(list, name, &NamedHandler::name);
    if (found != list.end()) return &*found;
  }
  return nullptr;
}

bool is_known(const Client& client, Asks what) {
  switch (what) {
    case Asks::space:
      return client.target.can_look(client.space()) && client.target.can_look(client.monitor_space());
    case Asks::guest:
      return client.target.knows_guest();
    case Asks::threads:
      return !client.tasks || client.target.knows_threads();
    case Asks::file:
      if (client.options.exec_file != nullptr) return true;
      [[fallthrough]];
    case Asks::libraries:
      return client.options.made_file == nullptr || client.options.made_file->settled();
    case Asks::all:
      return client.target.knows_guest() && is_known(client, Asks::space);
    case Asks::nothing:
      break;
  }
  return true;
}

/// Answers once it is known what is asked for. The client is kept from giving up meanwhile, as in any task.
class Later : public Task {
 public:
  Later(const Client& client, Asks asks, std::function<Reply()> run)
      : client_(client), asks_(asks), run_(std::move(run)) {}
  std::optional<Reply> step() override {
    if (waiting()) return std::nullopt;
    return run_();
  }
  Reply cancelled() override { return error(client_, "interrupted"); }
  bool waiting() const override { return !is_known(client_, asks_); }

 private:
  const Client& client_;
  Asks asks_;
  std::function<Reply()> run_;
};

Reply answer(Client& client, std::string_view payload) {
  const std::string_view name = packet_name(payload);
  const NamedHandler* handler = find_handler(name);
  if (handler == nullptr) return {};
  return when_known(client, handler->asks, [&client, handler, arguments = std::string(payload.substr(name.size()))] {
    return handler->run(client, arguments);
  });
}

/// The request that goes on where this one, for a piece of memory, ends. Empty for any other.
std::string following_read(std::string_view request) {
  if (!request.starts_with('m') && !request.starts_with('x')) return {};
  const auto range = parse_address_length(request.substr(1));
  if (!range || range->length < kLongRead || range->length > UINT64_MAX - range->address) return {};
  return request[0] + hex_number(range->address + range->length) + "," + hex_number(range->length);
}

std::string framed(const Reply& reply) {
  if (!reply.memory.empty()) return frame_hex(reply.memory);
  return frame(reply.packet, reply.run_length ? RunLength::on : RunLength::off);
}

}  // namespace

struct Session::State {
  State(const Target& target, SessionOptions given)
      : options(std::move(given)), client{.target = target, .options = options, .cpu = target.faulting_cpu()} {
    if (options.tasks) show_tasks(client, true);
  }

  SessionOptions options;
  Client client;
  PacketReader reader;
  std::unique_ptr<Task> task;
  bool interrupted = false;
  bool closed = false;
  std::string last_packet;  // framed, for a client that did not get it
  std::string next_read;    // what would go on where the last request ended, else empty
  bool reads_on = false;    // the last request was what the one before it let expect
  std::string ahead;        // the framed reply to next_read, once it is made
};

Reply when_known(const Client& client, Asks what, std::function<Reply()> run) {
  if (is_known(client, what)) return run();
  Reply reply;
  reply.task = std::make_unique<Later>(client, what, std::move(run));
  return reply;
}

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
bool Session::waiting() const { return state_->task != nullptr && !state_->interrupted && state_->task->waiting(); }
bool Session::closed() const { return state_->closed; }
void Session::keep_alive() { output_ += '+'; }

void Session::refuse() { deliver({.packet = "E." + state_->options.refusal, .close = true}); }

void Session::send_framed(std::string packet) {
  state_->last_packet = std::move(packet);
  output_ += state_->last_packet;
}

void Session::send_packet(std::string_view payload, bool run_length) {
  if (state_->options.log) state_->options.log('<', payload);
  send_framed(frame(payload, run_length ? RunLength::on : RunLength::off));
}

void Session::deliver(Reply reply) {
  if (reply.task) {
    state_->task = std::move(reply.task);
    state_->interrupted = false;
    return;
  }
  const std::string console = base::printable(reply.console, base::Printable::ascii_lines);
  for (std::string_view text = console; !text.empty(); text.remove_prefix(std::min(kConsolePiece, text.size())))
    send_packet("O" + to_hex(text.substr(0, kConsolePiece)), true);
  if (!reply.memory.empty()) {
    if (state_->options.log) {
      std::string hex;
      append_hex(hex, reply.memory);
      state_->options.log('<', hex);
    }
    send_framed(framed(reply));
  } else if (!reply.silent) {
    send_packet(reply.packet, reply.run_length);
  }
  state_->closed = reply.close;
}

void Session::handle(std::string_view payload) {
  State& state = *state_;
  if (state.options.log) state.options.log('>', payload);
  if (!state.options.refusal.empty()) return deliver({.packet = "E." + state.options.refusal, .close = true});
  // Whatever else comes in between may change what the client looks at, and ends the run.
  std::string ahead = std::exchange(state.ahead, {});
  const bool expected = !payload.empty() && payload == state.next_read;
  state.next_read = following_read(payload);
  state.reads_on = expected && !state.next_read.empty();
  if (expected && !ahead.empty()) return send_framed(std::move(ahead));
  deliver(answer(state.client, payload));
}

void Session::work_ahead() {
  State& state = *state_;
  // The log is of packets in the order in which they are sent.
  if (!state.reads_on || !state.ahead.empty() || state.closed || state.options.log) return;
  Reply next = answer(state.client, state.next_read);
  if (!next.task) state.ahead = framed(next);
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
      // GDB sends its first packet again every 2 seconds while the server starts. It wants one answer, and would take
      // a second one for that to its next packet.
      if (acknowledge && state.last_packet.empty() && state.reader.is_repeated(event->payload)) break;
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
