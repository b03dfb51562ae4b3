#include "reader/source/loaded_library.h"

#include <dlfcn.h>

namespace gcore::reader {

LoadedLibrary::LoadedLibrary(std::initializer_list<const char*> sonames) {
  for (const char* name : sonames)
    if ((library_ = ::dlopen(name, RTLD_NOW | RTLD_LOCAL)) != nullptr) break;
  complete_ = library_ != nullptr;
}

LoadedLibrary::Function LoadedLibrary::find(const char* name) {
  void* const address = library_ != nullptr ? ::dlsym(library_, name) : nullptr;
  complete_ = complete_ && address != nullptr;
  return Function(address);
}

}  // namespace gcore::reader
