#include "tests/support/qemu_guest.h"

#include <filesystem>
#include <stdexcept>

#include "tests/support/paths.h"

namespace gcore::tests {

namespace {

/// The guest's own initramfs, or where it gets more files that and a second one after it, which the kernel unpacks too.
std::string initramfs(const TempDir& folder, const std::string& own,
                      const std::vector<std::pair<std::string, std::string>>& files) {
  if (files.empty()) return own;
  const std::filesystem::path root = folder.path("more-files");
  for (const auto& [there, here] : files) {
    std::filesystem::create_directories((root / there).parent_path());
    std::filesystem::copy_file(here, root / there);
  }
  const std::string both = folder.path("initrd");
  const std::string script =
      R"(cd "$1" && { cat "$2"; find . | cpio --create --format=newc --quiet | gzip -1; } >"$3")";
  const Completed packed = run({"bash", "-c", "set -o pipefail; " + script, "pack", root, own, both}, 60s);
  if (packed.status != ExitStatus{0, 0}) throw std::runtime_error("cannot pack an initramfs: " + packed.err);
  return both;
}

}  // namespace

QemuGuest::QemuGuest(Options options) {
  std::vector<std::string> prepare{source_dir() + "/tests/guests/linux", options.machine};
  if (!options.kernel.empty()) prepare.push_back(options.kernel);
  Process::Options in_guests_dir;
  in_guests_dir.environment = {"GCORE_GUESTS_DIR=" + guests_dir()};
  Completed prepared = run(prepare, 300s, {}, in_guests_dir);
  if (prepared.status != ExitStatus{0, 0}) throw std::runtime_error("no Linux guest: " + prepared.out + prepared.err);
  const std::string files =
      guests_dir() + "/linux-" + options.machine + (options.kernel.empty() ? "" : "-" + options.kernel);
  const bool x86 = options.machine == "x86_64";
  const std::string memory = std::to_string(options.memory_mib) + "M";
  qmp_.emplace(folder_.path("own-qmp"));
  std::vector<std::string> argv{
      "qemu-system-" + options.machine, "-nodefaults", "-no-user-config", "-machine",
      std::string(x86 ? "q35" : "virt") + ",accel=tcg,memory-backend=mem", "-object",
      "memory-backend-file,id=mem,size=" + memory + ",mem-path=" + memory_file() + ",share=on", "-m", memory, "-smp",
      std::to_string(options.cpus), "-cpu",
      // Vectors no longer than the kernel's own default: all vCPUs then have the same, and QEMU's dump is an oracle.
      // Where they differ QEMU writes wrong headers (tests/reader/displaced_test.cc).
      options.cpu + (!x86 && options.cpu == "max" ? ",sve-max-vq=4" : ""), "-device", "vmcoreinfo", "-kernel",
      files + "/vmlinuz", "-initrd", initramfs(folder_, files + "/initrd.gz", options.files), "-append",
      std::string(x86 ? "console=ttyS0" : "console=ttyAMA0") + " " + options.append, "-display", "none", "-serial",
      "stdio", "-monitor", "none", "-qmp", "unix:" + folder_.path("own-qmp"), "-qmp",
      "unix:" + qmp_socket() + ",server=on,wait=off", "-gdb", "unix:" + gdb_socket() + ",server=on,wait=off",
      "-no-reboot"};
  if (!options.name.empty()) argv.insert(argv.end(), {"-name", options.name});
  argv.insert(argv.end(), options.arguments.begin(), options.arguments.end());
  Process::Options with_console;
  with_console.pipe_stdin = true;
  process_.emplace(std::move(argv), with_console);
  try {
    qmp_->accept();
  } catch (const std::exception& error) {
    throw std::runtime_error(std::string(error.what()) + "; QEMU said: " + process_->err());
  }
}

void QemuGuest::wait_until_booted(std::chrono::milliseconds timeout) {
  if (process_->wait_for_line(Process::Stream::out, "gcore-guest-ready", timeout)) return;
  throw std::runtime_error("the guest did not boot: " + process_->err() + console());
}

void QemuGuest::command(const std::string& line) {
  if (!process_->write_stdin(line + "\n")) throw std::runtime_error("the guest's console is closed");
}

void QemuGuest::stop() {
  qmp_->execute("stop");
  qmp_->wait_event("STOP");
}

void QemuGuest::resume() {
  qmp_->execute("cont");
  qmp_->wait_event("RESUME");
}

void QemuGuest::dump_guest_memory(const std::string& path) {
  qmp_->execute("dump-guest-memory", R"({"paging": false, "protocol": )" + Qmp::quote("file:" + path) + "}", 180s);
}

}  // namespace gcore::tests
