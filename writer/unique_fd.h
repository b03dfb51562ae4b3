// A file descriptor that closes itself.
#pragma once

#include "writer/base/unique_fd.h"

namespace gcore::writer {

using base::UniqueFd;

}  // namespace gcore::writer
