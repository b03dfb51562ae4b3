#include "tools/gcore-vmm/serial.h"

namespace gcore::tools::vmm {
namespace {

constexpr uint8_t kReceived = 1, kTransmitted = 2, kEnableMask = 0xf;     // interrupt enable
constexpr uint8_t kNoInterrupt = 1, kIdTransmitted = 2, kIdReceived = 4;  // interrupt identification
constexpr uint8_t kFifosOn = 1, kIdFifosOn = 0xc0;
constexpr uint8_t kDivisorAccess = 0x80;                     // line control
constexpr uint8_t kLoop = 0x10;                              // modem control
constexpr uint8_t kDataReady = 1, kTransmitterEmpty = 0x60;  // line status
constexpr uint8_t kCarrierAndReady = 0xb0;                   // modem status
constexpr size_t kPlenty = 1024;

}  // namespace

std::optional<char> Serial8250::write(unsigned offset, uint8_t value) {
  const std::lock_guard lock(mutex_);
  const bool divisor = (line_control_ & kDivisorAccess) != 0;
  std::optional<char> out;
  switch (offset) {
    case 0:
      if (divisor) {
        divisor_[0] = value;
      } else {
        transmitter_event_ = true;
        if ((modem_control_ & kLoop) != 0) {
          incoming_.push_back(value);
        } else {
          out = static_cast<char>(value);
        }
      }
      break;
    case 1:
      if (divisor) {
        divisor_[1] = value;
      } else {
        if ((value & ~interrupt_enable_ & kTransmitted) != 0) transmitter_event_ = true;
        interrupt_enable_ = value & kEnableMask;
      }
      break;
    case 2:
      fifo_control_ = value;
      break;
    case 3:
      line_control_ = value;
      break;
    case 4:
      modem_control_ = value;
      break;
    case 7:
      scratch_ = value;
      break;
    default:
      break;
  }
  update();
  return out;
}

uint8_t Serial8250::read(unsigned offset) {
  const std::lock_guard lock(mutex_);
  const bool divisor = (line_control_ & kDivisorAccess) != 0;
  uint8_t value = 0;
  switch (offset) {
    case 0:
      if (divisor) {
        value = divisor_[0];
      } else if (!incoming_.empty()) {
        value = incoming_.front();
        incoming_.pop_front();
        taken_.notify_all();
      }
      break;
    case 1:
      value = divisor ? divisor_[1] : interrupt_enable_;
      break;
    case 2:
      value = (fifo_control_ & kFifosOn) != 0 ? kIdFifosOn : 0;
      if ((interrupt_enable_ & kReceived) != 0 && !incoming_.empty()) {
        value |= kIdReceived;
      } else if ((interrupt_enable_ & kTransmitted) != 0 && transmitter_event_) {
        value |= kIdTransmitted;
        transmitter_event_ = false;
      } else {
        value |= kNoInterrupt;
      }
      break;
    case 3:
      value = line_control_;
      break;
    case 4:
      value = modem_control_;
      break;
    case 5:
      value = static_cast<uint8_t>(kTransmitterEmpty | (incoming_.empty() ? 0 : kDataReady));
      break;
    case 6:
      // In a loop the outputs are the inputs: DTR is DSR, RTS is CTS, OUT1 is RI, OUT2 is DCD.
      value = (modem_control_ & kLoop) == 0
                  ? kCarrierAndReady
                  : static_cast<uint8_t>((modem_control_ & 0xc) << 4 | (modem_control_ & 2) << 3 |
                                         (modem_control_ & 1) << 5);
      break;
    case 7:
      value = scratch_;
      break;
    default:
      break;
  }
  update();
  return value;
}

bool Serial8250::receive(std::string_view text) {
  std::unique_lock lock(mutex_);
  for (const char c : text) {
    taken_.wait(lock, [this] { return closed_ || incoming_.size() < kPlenty; });
    if (closed_) return false;
    incoming_.push_back(static_cast<uint8_t>(c));
    update();
  }
  return !closed_;
}

void Serial8250::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  taken_.notify_all();
}

void Serial8250::update() {
  const bool level = ((interrupt_enable_ & kReceived) != 0 && !incoming_.empty()) ||
                     ((interrupt_enable_ & kTransmitted) != 0 && transmitter_event_);
  if (level != level_ && interrupt_) interrupt_(level);
  level_ = level;
}

}  // namespace gcore::tools::vmm
