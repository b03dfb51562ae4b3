// The parts of the page about a QNX guest: processes with their threads, messages.
#pragma once

#include <llvm/Support/JSON.h>

#include "tools/gcore-inspect/html/page.h"
#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {

/// Nothing of another guest. Stacks go into the page's data, as those of a Linux guest do.
void add_qnx(HtmlPage& page, const Job& job, llvm::json::OStream& data);

}  // namespace gcore::tools::inspect
