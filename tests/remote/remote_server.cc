#include "tests/remote/remote_server.h"

#include <filesystem>
#include <stdexcept>

#include "tests/support/paths.h"

namespace gcore::tests {

RemoteServer::RemoteServer(std::vector<std::string> options) {
  std::vector<std::string> command{"/usr/bin/python3", source_dir() + "/tests/remote/server.py", folder_.path()};
  command.insert(command.end(), options.begin(), options.end());
  Process::Options how;
  how.pipe_stdin = true;
  process_.emplace(std::move(command), how);
  const auto line = process_->wait_for_line(Process::Stream::out, "listening on [0-9]+", 60s);
  if (!line) throw std::runtime_error("server.py did not start: " + process_->err());
  port_ = line->substr(line->rfind(' ') + 1);
}

std::string RemoteServer::url(const std::string& name, const std::string& user) const {
  return "http://" + user + "127.0.0.1:" + port_ + "/" + name;
}

std::string RemoteServer::command(const std::string& json) {
  process_->write_stdin(json + "\n");
  const auto line = process_->wait_for_line(Process::Stream::out, " END$", 60s);
  if (!line) throw std::runtime_error("server.py has ended: " + process_->err());
  return line->substr(0, line->size() - 4);
}

void RemoteServer::rules(const std::string& json) {
  const std::string answer = command("{\"rules\": " + json + "}");
  if (answer != "\"rules\"") throw std::runtime_error("server.py does not take these rules: " + answer);
}

size_t RemoteServer::requests() {
  const std::string all = log();
  size_t count = 0;
  for (size_t at = 0; (at = all.find("\"method\":", at)) != std::string::npos; ++at) ++count;
  return count;
}

void RemoteServer::reset() {
  rules("[]");
  log();
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) std::filesystem::remove_all(entry);
}

std::vector<std::string> aws_environment(const RemoteServer& server, const std::string& id, const std::string& secret,
                                         const std::vector<std::string>& more) {
  const std::string nothing = server.folder().path("no-such-file");
  std::vector<std::string> all{"AWS_ACCESS_KEY_ID=" + id,
                               "AWS_SECRET_ACCESS_KEY=" + secret,
                               "AWS_SESSION_TOKEN=",
                               "AWS_PROFILE=",
                               "AWS_REGION=us-east-1",
                               "AWS_ENDPOINT_URL_S3=",
                               "AWS_ENDPOINT_URL=http://127.0.0.1:" + server.port(),
                               "AWS_SHARED_CREDENTIALS_FILE=" + nothing,
                               "AWS_CONFIG_FILE=" + nothing};
  for (const std::string& one : more) {
    std::erase_if(all, [&](const std::string& old) { return old.starts_with(one.substr(0, one.find('=') + 1)); });
    all.push_back(one);
  }
  return all;
}

}  // namespace gcore::tests
