#include "net/bulk_thread.h"

#include <pthread.h>

#include <utility>

namespace podmirror::net {

BulkThread::BulkThread(const char* name) : thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), name);
}

void BulkThread::Stop() {
  if (!thread_.joinable()) return;
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    posted_.Signal();
  }
  thread_.join();
}

void BulkThread::PostForPeers(Task task) {
  absl::MutexLock lock(&mu_);
  for_peers_.push_back(std::move(task));
  posted_.Signal();
}

void BulkThread::Post(Task task) {
  absl::MutexLock lock(&mu_);
  others_.push_back(std::move(task));
  posted_.Signal();
}

bool BulkThread::TryPost(std::size_t most, Task task) {
  absl::MutexLock lock(&mu_);
  if (others_.size() >= most) return false;
  others_.push_back(std::move(task));
  posted_.Signal();
  return true;
}

void BulkThread::Run() {
  for (;;) {
    Task task;
    {
      absl::MutexLock lock(&mu_);
      while (for_peers_.empty() && others_.empty()) {
        if (stopping_) return;
        posted_.Wait(&mu_);
      }
      std::deque<Task>& first = for_peers_.empty() ? others_ : for_peers_;
      task = std::move(first.front());
      first.pop_front();
    }
    task();
  }
}

}  // namespace podmirror::net
