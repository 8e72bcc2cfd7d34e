// Tells ThreadSanitizer what absl::Mutex orders. Debian's Abseil is built without the sanitizer, so
// that every access which a Mutex protects would look like a race. Only thread-sanitized tests
// link this file: the dynamic linker takes these functions instead of the library's, for gRPC's own
// mutexes too. Readers are ordered among each other as well: a race between them goes unseen.
// Thread safety: as absl::Mutex.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <cstdlib>

#include "absl/synchronization/mutex.h"

// What races inside Debian's libraries is not ours to find, and mostly is none: their own atomics
// are not seen. Only the innermost frame counts, so races in our callbacks are still reported.
extern "C" const char* __tsan_default_suppressions() {  // NOLINT: the sanitizer's name
  return "called_from_lib:libgrpc.so\n"
         "called_from_lib:libgrpc++.so\n"
         "called_from_lib:libgpr.so\n"
         // They decrypt into gRPC's buffers, which go from thread to thread as gRPC orders them.
         "called_from_lib:libcrypto.so\n"
         "called_from_lib:libssl.so\n"
         "called_from_lib:libupb.so\n"
         "called_from_lib:libprotobuf.so\n"
         "called_from_lib:libabsl_status.so\n"
         "called_from_lib:libabsl_cord.so\n"
         "race:absl::debian3::cord_internal::\n"
         "called_from_lib:libabsl_graphcycles_internal.so\n"
         "called_from_lib:libabsl_strings.so\n"
         "called_from_lib:libabsl_time_zone.so\n"
         "race_top:grpc::\n"
         // Its templates, compiled into us, on its own objects.
         "race:grpc::internal::InterceptorBatchMethodsImpl\n"
         "race:grpc::internal::CallOp\n"
         // The client library's calls come back through these.
         "race:grpc::internal::CallbackUnaryCallImpl\n"
         "race:grpc::internal::ClientCallbackReaderImpl*::MaybeFinish\n"
         "race:grpc::internal::CallbackWithSuccessTag::Clear\n"
         // Two answers that end at once: the library's static end of chunks, filled behind a guard
         // that is not seen.
         "race:httplib::detail::send_socket\n"
         "race_top:std::_Function_base::_M_empty\n"
         "race_top:std::function<void (bool)>::operator()\n";
}

namespace {

// Released by every unlock, acquired and released by every evaluation of a condition, and acquired
// by all that have waited for one. The library evaluates conditions while it holds the mutex in
// ways that are not seen here: also those of waiting threads, on their stacks, within an unlock.
char conditions;

// The library's own function of that name; the name is that of Debian's inline namespace.
template <typename Function>
Function* Real(const char* mangled) {
  void* function = dlsym(RTLD_NEXT, mangled);
  if (function == nullptr) abort();
  return reinterpret_cast<Function*>(function);
}

}  // namespace

namespace absl {
ABSL_NAMESPACE_BEGIN

void Mutex::Lock() {
  static const auto real = Real<void(Mutex*)>("_ZN4absl7debian35Mutex4LockEv");
  real(this);
  __tsan_acquire(this);
}

void Mutex::ReaderLock() {
  static const auto real = Real<void(Mutex*)>("_ZN4absl7debian35Mutex10ReaderLockEv");
  real(this);
  __tsan_acquire(this);
}

bool Mutex::TryLock() {
  static const auto real = Real<bool(Mutex*)>("_ZN4absl7debian35Mutex7TryLockEv");
  const bool locked = real(this);
  if (locked) __tsan_acquire(this);
  return locked;
}

bool Mutex::ReaderTryLock() {
  static const auto real = Real<bool(Mutex*)>("_ZN4absl7debian35Mutex13ReaderTryLockEv");
  const bool locked = real(this);
  if (locked) __tsan_acquire(this);
  return locked;
}

void Mutex::Unlock() {
  static const auto real = Real<void(Mutex*)>("_ZN4absl7debian35Mutex6UnlockEv");
  __tsan_release(this);
  __tsan_release(&conditions);
  real(this);
}

void Mutex::ReaderUnlock() {
  static const auto real = Real<void(Mutex*)>("_ZN4absl7debian35Mutex12ReaderUnlockEv");
  __tsan_release(this);
  __tsan_release(&conditions);
  real(this);
}

bool Condition::Eval() const {
  static const auto real = Real<bool(const Condition*)>("_ZNK4absl7debian39Condition4EvalEv");
  __tsan_acquire(&conditions);
  const bool met = real(this);
  __tsan_release(&conditions);
  return met;
}

// All that wait for a condition end in one of the following three.
bool Mutex::LockSlowWithDeadline(MuHow how, const Condition* condition,
                                 synchronization_internal::KernelTimeout timeout, int flags) {
  static const auto real =
      Real<bool(Mutex*, MuHow, const Condition*, synchronization_internal::KernelTimeout, int)>(
          "_ZN4absl7debian35Mutex20LockSlowWithDeadlineEPKNS0_6MuHowSEPKNS0_9ConditionENS0_"
          "24synchronization_internal13KernelTimeoutEi");
  const bool met = real(this, how, condition, timeout, flags);
  __tsan_acquire(this);
  __tsan_acquire(&conditions);
  return met;
}

bool Mutex::AwaitCommon(const Condition& condition,
                        synchronization_internal::KernelTimeout timeout) {
  static const auto real =
      Real<bool(Mutex*, const Condition&, synchronization_internal::KernelTimeout)>(
          "_ZN4absl7debian35Mutex11AwaitCommonERKNS0_9ConditionENS0_"
          "24synchronization_internal13KernelTimeoutE");
  __tsan_release(this);
  const bool met = real(this, condition, timeout);
  __tsan_acquire(this);
  __tsan_acquire(&conditions);
  return met;
}

bool CondVar::WaitCommon(Mutex* mutex, synchronization_internal::KernelTimeout timeout) {
  static const auto real = Real<bool(CondVar*, Mutex*, synchronization_internal::KernelTimeout)>(
      "_ZN4absl7debian37CondVar10WaitCommonEPNS0_5MutexENS0_"
      "24synchronization_internal13KernelTimeoutE");
  __tsan_release(mutex);
  const bool timed_out = real(this, mutex, timeout);
  __tsan_acquire(mutex);
  return timed_out;
}

ABSL_NAMESPACE_END
}  // namespace absl
