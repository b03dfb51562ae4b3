#include "tools/gcore-dump/tcp.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

namespace gcore::tools::qemu {
namespace {

/// As /proc/net/tcp and tcp6 write it: words of the address as they are in memory, and the port.
std::string proc_form(const sockaddr_storage& address) {
  char text[64] = "";
  if (address.ss_family == AF_INET) {
    const auto& net = reinterpret_cast<const sockaddr_in&>(address);
    std::snprintf(text, sizeof text, "%08" PRIX32 ":%04X", net.sin_addr.s_addr, ntohs(net.sin_port));
  } else if (address.ss_family == AF_INET6) {
    const auto& net = reinterpret_cast<const sockaddr_in6&>(address);
    uint32_t words[4];
    std::memcpy(words, &net.sin6_addr, sizeof words);
    std::snprintf(text, sizeof text, "%08" PRIX32 "%08" PRIX32 "%08" PRIX32 "%08" PRIX32 ":%04X", words[0], words[1],
                  words[2], words[3], ntohs(net.sin6_port));
  }
  return text;
}

/// An IPv4 connection of a socket that listens for both is in tcp6.
std::string mapped(const std::string& form) { return "0000000000000000FFFF0000" + form; }

/// The inode of the connected socket with these two ends; 0: there is none.
uint64_t find_inode(const char* list, const std::string& local, const std::string& remote) {
  std::ifstream file(list);
  for (std::string line; std::getline(file, line);) {
    char from[64] = "", to[64] = "";
    uint64_t inode = 0;
    if (std::sscanf(line.c_str(), " %*d: %63s %63s %*x %*s %*s %*s %*d %*d %" SCNu64, from, to, &inode) == 3 &&
        from == local && to == remote)
      return inode;
  }
  return 0;
}

bool has_socket(const std::string& process, uint64_t inode) {
  const std::string folder = "/proc/" + process + "/fd", wanted = "socket:[" + std::to_string(inode) + "]";
  DIR* list = opendir(folder.c_str());
  bool found = false;
  while (const dirent* entry = list && !found ? readdir(list) : nullptr) {
    char link[64];
    const ssize_t length = readlinkat(dirfd(list), entry->d_name, link, sizeof link);
    found = length > 0 && std::string_view(link, static_cast<size_t>(length)) == wanted;
  }
  if (list) closedir(list);
  return found;
}

}  // namespace

std::expected<std::vector<TcpEnd>, std::string> resolve_tcp(std::string_view host_and_port) {
  const size_t colon = host_and_port.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == host_and_port.size())
    return std::unexpected("it is no tcp:HOST:PORT");
  std::string host(host_and_port.substr(0, colon));
  const std::string port(host_and_port.substr(colon + 1));
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  if (const int problem = getaddrinfo(host.c_str(), port.c_str(), &hints, &found); problem != 0)
    return std::unexpected(gai_strerror(problem));
  std::vector<TcpEnd> ends;
  for (const addrinfo* one = found; one; one = one->ai_next) {
    base::UniqueFd fd(socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (fd) ends.push_back({std::move(fd), std::string(reinterpret_cast<const char*>(one->ai_addr), one->ai_addrlen)});
  }
  freeaddrinfo(found);
  if (ends.empty()) return std::unexpected("it has no address that can be connected to");
  return ends;
}

int tcp_peer_pid(int socket) {
  sockaddr_storage ours{}, theirs{};
  socklen_t size = sizeof ours;
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&ours), &size) != 0) return 0;
  size = sizeof theirs;
  if (getpeername(socket, reinterpret_cast<sockaddr*>(&theirs), &size) != 0) return 0;
  const std::string local = proc_form(theirs), remote = proc_form(ours);
  uint64_t inode = find_inode("/proc/net/tcp", local, remote);
  if (inode == 0) inode = find_inode("/proc/net/tcp6", local, remote);
  if (inode == 0) inode = find_inode("/proc/net/tcp6", mapped(local), mapped(remote));
  if (inode == 0) return 0;
  DIR* processes = opendir("/proc");
  int pid = 0;
  while (const dirent* entry = processes && pid == 0 ? readdir(processes) : nullptr)
    if (const int number = std::atoi(entry->d_name); number > 0 && has_socket(entry->d_name, inode)) pid = number;
  if (processes) closedir(processes);
  return pid;
}

}  // namespace gcore::tools::qemu
