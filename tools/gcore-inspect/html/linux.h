// The parts of the page about a Linux guest: tasks, messages, modules.
#pragma once

#include <llvm/Support/JSON.h>

#include "tools/gcore-inspect/html/page.h"
#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {

/// What went wrong, with the evidence; nothing of another guest.
void add_why(HtmlPage& page, const Job& job);

/// Nothing of another guest. Stacks go into the page's data as "stacks": lists of lines, which rows of tasks refer to.
void add_linux(HtmlPage& page, const Job& job, llvm::json::OStream& data);

}  // namespace gcore::tools::inspect
