// One client's conversation: bytes in, bytes out. No sockets, no clock, no threads.
//
//   session.receive(bytes);                 // whatever arrived
//   while (session.step()) ...              // one packet or one slice of a long search at a time
//   send(session.output()), erase what was sent
//
// A session is bounded whatever the client does: it stops working while more than kOutputLimit bytes wait to be sent,
// and says so by wants_input(); one step takes milliseconds, so that a server shares its time among clients by taking
// turns.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "gdbstub/protocol/exec_file.h"
#include "gdbstub/target.h"

namespace gcore::gdbstub {

struct SessionOptions {
  /// The guest's ELF file, offered to the debugger; may be null. Outlives the session.
  const ExecFile* exec_file = nullptr;
  /// Offered in its place, when a debugger that has none asks for one, and the libraries beside either; may be null.
  /// Outlives the session.
  const LaterFile* made_file = nullptr;
  /// Name and version for `monitor info version`.
  std::string program = "gcore";
  /// Show the guest's threads too, from the start on.
  bool tasks = false;
  /// Tell a debugger by how much the kernel was moved (qOffsets).
  bool tell_offsets = true;
  /// When not empty: why the client is not served. Its first packet is answered by that, and the conversation ends.
  std::string refusal = {};
  /// Called for each packet: '>' from the client, '<' to it. May be empty.
  std::function<void(char direction, std::string_view payload)> log = {};
};

struct Reply;

class Session {
 public:
  /// The target outlives the session.
  Session(const Target& target, SessionOptions options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  static constexpr size_t kOutputLimit = 1 << 20;
  static constexpr size_t kInputLimit = 1 << 16;

  void receive(std::string_view bytes);
  /// Does one piece of work. True when there is more that can be done now.
  bool step();
  /// What is to be sent; the caller erases what it has sent.
  std::string& output() { return output_; }
  /// Whether more bytes should be received now.
  bool wants_input() const;
  /// A long search is under way, and the client waits.
  bool busy() const;
  /// It is busy, and step() would do nothing: the target is being looked at in the background. Try again a little
  /// later.
  bool waiting() const;
  /// The client reads memory on and on: makes the reply to what it will ask next, while it takes the last one apart.
  /// For when that is on its way. Does nothing when there is nothing to expect, or when it is done.
  void work_ahead();
  /// Queues a byte that debuggers skip before a reply, so that one that waits for a long search does not give up.
  /// Call it about once a second while busy().
  void keep_alive();
  /// Ends the conversation of a client that is not served and has not asked anything: it is told why.
  void refuse();
  /// The conversation is over; once the output is sent, close.
  bool closed() const;

 private:
  struct State;

  void handle(std::string_view payload);
  void deliver(Reply reply);
  void send_framed(std::string packet);
  void send_packet(std::string_view payload, bool run_length);

  std::unique_ptr<State> state_;
  std::string output_;
};

}  // namespace gcore::gdbstub
