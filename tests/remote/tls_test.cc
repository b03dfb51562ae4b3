// nginx, with TLS and a certificate that nobody has heard of.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/inspect/sample.h"
#include "tests/reader/packing.h"
#include "tests/support/paths.h"

namespace gcore::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;

/// A port that is free now.
uint16_t free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ::bind(fd, reinterpret_cast<sockaddr*>(&address), size);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  ::close(fd);
  return ntohs(address.sin_port);
}

bool answers(uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  const bool yes = ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  ::close(fd);
  return yes;
}

class Nginx : public testing::Test {
 protected:
  Nginx() {
    const std::string dump = sample_dump().build();
    folder_.write("vm.gcore", dump);
    folder_.write("vm.gcore.zst", zstd_seekable(dump));
    const Completed made =
        run({"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
             "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", folder_.path("key"),
             "-out", folder_.path("certificate")});
    EXPECT_EQ(made.status, (ExitStatus{0, 0})) << made.err;
    // Whoever takes the port meanwhile has nginx end.
    for (int attempt = 0; attempt < 5 && !server_; ++attempt) start();
    if (!server_) throw std::runtime_error("nginx does not start");
  }

  void start() {
    port_ = free_port();
    const std::string at = folder_.path();
    folder_.write("nginx.conf",
                  "daemon off; master_process off; error_log stderr; pid " + at +
                      "/pid;\nevents {}\nhttp {\n access_log " + at + "/access;\n client_body_temp_path " + at +
                      "/t1; proxy_temp_path " + at + "/t2; fastcgi_temp_path " + at + "/t3; uwsgi_temp_path " + at +
                      "/t4; scgi_temp_path " + at + "/t5;\n server {\n  listen 127.0.0.1:" + std::to_string(port_) +
                      " ssl;\n  ssl_certificate " + at + "/certificate; ssl_certificate_key " + at + "/key;\n  root " +
                      at +
                      ";\n  location /moved { return 302 /vm.gcore; }\n  location /insecure { return 302 "
                      "http://127.0.0.1:1/vm.gcore; }\n }\n}\n");
    Process server({"/usr/sbin/nginx", "-p", at, "-c", at + "/nginx.conf"});
    while (!answers(port_))
      if (server.wait(10ms)) return;
    server_.emplace(std::move(server));
  }

  Completed inspect(const std::string& path, bool trusted = true) const {
    Process::Options options;
    options.environment = {"CURL_CA_BUNDLE=" + (trusted ? folder_.path("certificate") : ""), "SSL_CERT_FILE="};
    return run({program("gcore-inspect"), "https://localhost:" + std::to_string(port_) + path, "--segments"}, 60s, {},
               options);
  }

  TempDir folder_;
  uint16_t port_ = 0;
  std::optional<Process> server_;
};

TEST_F(Nginx, ServesADumpOverTls) {
  const std::string expected = run({program("gcore-inspect"), folder_.path("vm.gcore"), "--segments"}).out;
  for (const char* path : {"/vm.gcore", "/vm.gcore.zst", "/moved"}) {
    const Completed done = inspect(path);
    EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
    EXPECT_EQ(done.out, expected);
  }
  EXPECT_THAT(read_file(folder_.path("access")), HasSubstr("\" 206 "));
  const Completed none = inspect("/none");
  EXPECT_THAT(none.err, HasSubstr("there is no such file (404)"));
}

TEST_F(Nginx, IsNotTrustedUnlessItsCertificateIs) {
  const Completed done = inspect("/vm.gcore", false);
  EXPECT_EQ(done.status, (ExitStatus{1, 0}));
  EXPECT_THAT(done.err, HasSubstr("certificate"));
}

TEST_F(Nginx, MaySendElsewhereButNotOutOfTls) {
  const Completed done = inspect("/insecure");
  EXPECT_EQ(done.status, (ExitStatus{1, 0}));
  EXPECT_THAT(done.err, HasSubstr("rotocol"));
}

}  // namespace
}  // namespace gcore::tests
