// How the writer reports failure: a value, never an exception, never an errno left behind.
#pragma once

#include <optional>
#include <string>
#include <utility>

namespace gcore::writer {

struct Error {
  int code = 0;      // errno, or 0 when the system had no part in it
  std::string text;  // the whole sentence: what was attempted, on what, why, what to do. No newline, no program name
};

/// Success, or an Error. Cheap to return; must be looked at.
class [[nodiscard]] Status {
 public:
  Status() = default;                                // success
  Status(Error error) : error_(std::move(error)) {}  // NOLINT: an error is meant to convert
  explicit Status(std::string text) : error_(Error{0, std::move(text)}) {}

  bool ok() const { return !error_; }
  explicit operator bool() const { return ok(); }

  /// Only when !ok().
  const Error& error() const { return *error_; }
  /// The sentence, or "" on success.
  const std::string& text() const {
    static const std::string none;
    return error_ ? error_->text : none;
  }

 private:
  std::optional<Error> error_;
};

/// "`attempted`: `strerror(code)`" as a failed Status. `code` is an errno value.
Status system_error(int code, std::string attempted);

}  // namespace gcore::writer
