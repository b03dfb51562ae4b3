// The serial port that every PC has: a 16550A. Its registers, 1 byte each, are those of the PC16550D's data sheet.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string_view>

namespace gcore::tools::vmm {

class Serial8250 {
 public:
  /// `interrupt` gets the level of the port's interrupt line whenever it changes. It must not call the port.
  explicit Serial8250(std::function<void(bool level)> interrupt) : interrupt_(std::move(interrupt)) {}

  /// By any vCPU; `offset` 0 to 7. A character that goes out on the line is returned.
  std::optional<char> write(unsigned offset, uint8_t value);
  uint8_t read(unsigned offset);

  /// What comes in on the line. Waits while the guest has plenty that it has not read. False: close() was called.
  bool receive(std::string_view text);
  void close();

 private:
  void update();

  std::function<void(bool)> interrupt_;
  std::mutex mutex_;
  std::condition_variable taken_;
  std::deque<uint8_t> incoming_;
  bool closed_ = false, level_ = false;
  bool transmitter_event_ = false;  // it became empty, and the guest has not been told
  uint8_t interrupt_enable_ = 0, fifo_control_ = 0, line_control_ = 0, modem_control_ = 0, scratch_ = 0;
  uint8_t divisor_[2] = {12, 0};
};

}  // namespace gcore::tools::vmm
