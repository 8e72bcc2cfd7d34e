// Status and Result: how an expected failure (peer gone, bad bytes, server error) is told.
// A broken invariant is not a status: it aborts. No exception crosses a boundary of ours.
// Thread safety: plain values.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace podmirror {

enum class Code {
  kOk,
  kInvalid,          // the request or the bytes are wrong; trying again changes nothing
  kNotFound,         // what was asked for is not there
  kRefused,          // credentials, permission or identity
  kUnauthenticated,  // of a caller: it has not shown who it is
  kUnavailable,      // the other side cannot be reached or is not ready now
  kDeadline,         // it took too long
  kExhausted,        // a limit was reached
  kUnimplemented,    // the other side does not speak this
  kInternal,         // the other side broke
  kPrecondition,     // the condition of a write does not hold; nothing was applied
  kConflict,         // a write on a condition was applied, and a greater one stands
  kUncertain,        // nobody said whether a write was applied: it may have been
};

std::string_view ToString(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

  // "unavailable: connection refused", or "ok".
  std::string ToString() const;

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

// A Status of kInvalid: what most decoders and checks of settings have to say.
inline Status Invalid(std::string message) { return {Code::kInvalid, std::move(message)}; }

// Prints the status of a Result that was used wrongly to stderr, and aborts.
[[noreturn]] void AbortMisusedResult(const Status& status);

// A value, or the Status that says why there is none. In every build the process aborts when the
// value of a Result without one is taken, or when a Result is made of a Status that is ok.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}         // NOLINT: implicit
  Result(Status status) : status_(std::move(status)) {  // NOLINT: implicit
    if (status_.ok()) AbortMisusedResult(status_);
  }

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  T& value() {
    if (!value_.has_value()) AbortMisusedResult(status_);
    return *value_;
  }
  const T& value() const {
    if (!value_.has_value()) AbortMisusedResult(status_);
    return *value_;
  }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T& operator*() { return value(); }
  const T& operator*() const { return value(); }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace podmirror
