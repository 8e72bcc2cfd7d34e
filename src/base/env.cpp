#include "base/env.h"

#include <chrono>

#include "absl/random/random.h"

namespace podmirror {
namespace {

class RealEnv final : public Env {
 public:
  Now now() const override {
    using std::chrono::duration_cast;
    using std::chrono::milliseconds;
    return {
        duration_cast<milliseconds>(std::chrono::steady_clock::now().time_since_epoch()).count(),
        duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count()};
  }

  std::int64_t steady_ns() const override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }

  std::uint64_t Random() override {
    thread_local absl::BitGen generator;
    return absl::Uniform<std::uint64_t>(generator);
  }
};

}  // namespace

Env& Env::Real() {
  static RealEnv env;
  return env;
}

}  // namespace podmirror
