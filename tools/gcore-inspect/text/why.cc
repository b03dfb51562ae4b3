#include "reader/guest/linux/why.h"

#include <cstdio>

#include "tools/gcore-inspect/facts/linux_guest.h"
#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {

int print_why(const Job& job) {
  int status = 0;
  const auto* kernel = kernel_for(job, "say what went wrong", status);
  if (kernel == nullptr) return status;
  const std::string text = why_text(diagnosis_of(job, *kernel));
  std::fwrite(text.data(), 1, text.size(), stdout);
  return 0;
}

}  // namespace gcore::tools::inspect
