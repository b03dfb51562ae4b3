#include "tests/dump/bare_machine.h"

#include <stdexcept>

namespace gcore::tests {

BareMachine::BareMachine(const std::string& qemu, const std::string& code, std::vector<std::string> arguments) {
  qmp_.emplace(folder_.path("own-qmp"));
  std::vector<std::string> argv{qemu,
                                "-nodefaults",
                                "-no-user-config",
                                "-display",
                                "none",
                                "-S",
                                "-qmp",
                                "unix:" + folder_.path("own-qmp"),
                                "-qmp",
                                "unix:" + socket() + ",server=on,wait=off"};
  if (!code.empty()) {
    constexpr size_t kRomSize = 64 << 10, kResetVector = kRomSize - 16;
    std::string rom(kRomSize, '\0');
    rom.replace(kResetVector, code.size(), code);
    argv.insert(argv.end(), {"-bios", folder_.write("rom", rom)});
  }
  for (std::string& argument : arguments)  // FOLDER/ stands for a place for files
    for (size_t at; (at = argument.find("FOLDER/")) != std::string::npos;)
      argument.replace(at, 7, folder_.path() + "/");
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  process_.emplace(std::move(argv));
  try {
    qmp_->accept();
  } catch (const std::exception& error) {
    throw std::runtime_error(std::string(error.what()) + "; QEMU said: " + process_->err());
  }
}

void BareMachine::start() { qmp_->execute("cont"); }

}  // namespace gcore::tests
