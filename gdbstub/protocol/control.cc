// Stopping, going on and leaving. A dump cannot run: every attempt is answered by a text and by a stop reply with
// signal 0, because an empty reply makes GDB wait for ever, and a SIGTRAP makes its `next` try again and again.
#include "gdbstub/protocol/client.h"
#include "gdbstub/protocol/packet.h"

namespace gcore::gdbstub {
namespace {

constexpr char kCannotRun[] =
    "This is a memory dump: it shows one moment of the machine and cannot run or step. "
    "Nothing has moved.\n";

Reply why_stopped(Client& client, std::string_view) {
  client.cpu = client.target.faulting_cpu();
  return {stop_reply(client, client.cpu, client.target.signal())};
}

/// LLDB takes signal 0 without a reason for "go on", and would try again for ever.
Reply refuse_to_run(const Client& client, size_t cpu) {
  std::string packet = stop_reply(client, cpu, 0);
  if (client.lldb) packet += "reason:exception;description:" + to_hex("a memory dump cannot run") + ";";
  return {.packet = packet, .console = kCannotRun};
}

Reply resume(Client& client, std::string_view) { return refuse_to_run(client, client.cpu); }

/// The stop reply names the thread that was to be stepped, lest the debugger change to another one.
Reply resume_threads(Client& client, std::string_view actions) {
  if (actions.empty()) return error(client, "vCont needs an action");
  // GDB's Hg is the user's choice; LLDB sends one for each thread that it shows, so that the last would win.
  const size_t chosen = client.lldb ? client.target.faulting_cpu() : client.cpu;
  const std::string_view first = actions.substr(1, actions.find(';', 1) - 1);
  const size_t colon = first.find(':');
  if (colon == std::string_view::npos) return refuse_to_run(client, chosen);
  return refuse_to_run(client, parse_thread(client, first.substr(colon + 1), chosen).value_or(chosen));
}

Reply resume_actions(Client&, std::string_view) { return {"vCont;c;C;s;S"}; }

/// A client of the extended protocol stays, and may attach again.
Reply detach(Client& client, std::string_view) { return {.packet = "OK", .close = !client.extended}; }

Reply extended_mode(Client& client, std::string_view) {
  client.extended = true;
  return ok();
}

/// vAttach;PID, in hex. There is one process: the machine.
Reply attach(Client& client, std::string_view arguments) {
  const auto process = parse_hex(arguments.substr(arguments.empty() ? 0 : 1));
  if (process == 1) return why_stopped(client, "");
  return error(client, "the machine of the dump is process 1, and there is no other: attach 1");
}

Reply run(Client& client, std::string_view) {
  return error(client, "this is a memory dump: no program can be run in it; attach 1 shows it");
}

/// The protocol has no reply to this. LLDB waits for the end of the process, as for that of one that it continued.
Reply kill(Client& client, std::string_view) {
  if (client.lldb) return {.packet = "X09", .close = true};
  return {.packet = "", .silent = true, .close = true};
}

Reply no_ack_mode(Client& client, std::string_view) {
  client.no_ack = true;
  return ok();
}

Reply read_only(Client& client, std::string_view) { return error(client, "a dump cannot be changed"); }

/// Breakpoints and watchpoints of all kinds are taken, and never hit. What refused them would keep GDB from going on at
/// all: over MI it says "running" before it sets them, and never "stopped". Then it says why nothing moved.
Reply breakpoint(Client&, std::string_view arguments) {
  const bool known = !arguments.empty() && arguments[0] >= '0' && arguments[0] <= '4';
  return known ? ok() : Reply{};
}

constexpr NamedHandler kHandlers[] = {
    {"?", why_stopped, Asks::threads},
    {"c", resume},
    {"C", resume},
    {"s", resume},
    {"S", resume},
    {"vCont", resume_threads, Asks::threads},
    {"vCont?", resume_actions},
    {"D", detach},
    {"vKill", detach},
    {"k", kill},
    {"!", extended_mode},
    {"vAttach", attach},
    {"vRun", run},
    {"G", read_only},
    {"P", read_only},
    {"M", read_only},
    {"X", read_only},
    {"Z", breakpoint},
    {"z", breakpoint},
    {"QStartNoAckMode", no_ack_mode},
};

}  // namespace

std::span<const NamedHandler> control_handlers() { return kHandlers; }

std::string stop_reply(const Client& client, size_t cpu, uint8_t signal) {
  std::string hex;
  append_hex(hex, std::as_bytes(std::span(&signal, 1)));
  const bool offers_file = client.lldb && client.options.exec_file != nullptr;
  return "T" + hex + "thread:" + thread_id(client, cpu) + ";" + (offers_file ? "library:1;" : "");
}

}  // namespace gcore::gdbstub
