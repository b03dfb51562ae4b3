// Shared libraries that are loaded when they are needed: few dumps need them, and each library that a program is linked
// with makes it start later. Private to the reader.
//
// A library is a structure of those of its functions that are used:
//
//   struct Bzip2 {
//     LoadedLibrary library{"libbz2.so.1.0"};
//     decltype(&BZ2_bzDecompress) decompress = library.find("BZ2_bzDecompress");
//   };
//
//   const Bzip2* bzip2 = loaded<Bzip2>();
#pragma once

#include <initializer_list>
#include <type_traits>

namespace gcore::reader {

class LoadedLibrary {
 public:
  /// A function of whatever type it is assigned to, which nobody checks: decltype of its declaration is right.
  class Function {
   public:
    explicit Function(void* address) : address_(address) {}
    template <class Type>
      requires std::is_function_v<Type>
    operator Type*() const {
      return reinterpret_cast<Type*>(address_);
    }

   private:
    void* address_;
  };

  /// Loads the first of `sonames` that the dynamic linker finds. It stays loaded until the program ends.
  LoadedLibrary(std::initializer_list<const char*> sonames);

  /// Null if the library, or the function in it, is not there.
  Function find(const char* name);

  /// Whether the library is there, with all functions that were looked for.
  bool complete() const { return complete_; }

 private:
  void* library_ = nullptr;
  bool complete_ = false;
};

/// The library, loaded by the first call; null if it, or one of its functions, is not there.
template <class Library>
const Library* loaded() {
  static const Library kLibrary;
  return kLibrary.library.complete() ? &kLibrary : nullptr;
}

}  // namespace gcore::reader
