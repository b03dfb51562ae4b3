// QMP over TCP: the connection, and which process on this machine is at its other end.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "writer/base/unique_fd.h"

namespace gcore::tools::qemu {

/// The addresses of "HOST:PORT" ([HOST] where that has colons of its own), each with a socket that is not connected
/// yet.
struct TcpEnd {
  base::UniqueFd socket;  // non-blocking
  std::string address;    // a sockaddr
};
/// The error is a clause.
std::expected<std::vector<TcpEnd>, std::string> resolve_tcp(std::string_view host_and_port);

/// The process that has the other end of this connection, which must be on this machine; 0 when it cannot be told
/// (another machine, or a process whose descriptors this one may not see).
int tcp_peer_pid(int socket);

}  // namespace gcore::tools::qemu
