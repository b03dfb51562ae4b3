// A shared library that is loaded when it is needed: most programs never need it, and would start later for it. Private
// to the reader.
#pragma once

#include <initializer_list>

namespace gcore::reader {

class LoadedLibrary {
 public:
  /// Loads the first of `sonames` that the dynamic linker finds. It stays loaded until the program ends.
  explicit LoadedLibrary(std::initializer_list<const char*> sonames);

  /// Puts the function `name` into `into`; null if the library, or the function in it, is not there.
  template <class Function>
  LoadedLibrary& find(const char* name, Function& into) {
    into = reinterpret_cast<Function>(address_of(name));
    return *this;
  }

  /// Whether the library is there, with all functions that were looked for.
  bool complete() const { return complete_; }

 private:
  void* address_of(const char* name);

  void* library_ = nullptr;
  bool complete_ = false;
};

}  // namespace gcore::reader
