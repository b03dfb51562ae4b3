#include "writer/status.h"

#include <cstring>

namespace gcore::writer {

Status system_error(int code, std::string attempted) {
  char buffer[128] = "";
  // The GNU variant of strerror_r returns the text, which need not be in the buffer.
  attempted += ": ";
  attempted += strerror_r(code, buffer, sizeof buffer);
  return Error{code, std::move(attempted)};
}

}  // namespace gcore::writer
