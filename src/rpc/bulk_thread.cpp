#include "rpc/bulk_thread.h"

#include <pthread.h>

#include <utility>

namespace podmirror::rpc {

BulkThread::BulkThread() : thread_([this] { Run(); }) {}

void BulkThread::Stop() {
  if (!thread_.joinable()) return;
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    posted_.Signal();
  }
  thread_.join();
}

void BulkThread::Post(Task task) {
  absl::MutexLock lock(&mu_);
  tasks_.push_back(std::move(task));
  posted_.Signal();
}

void BulkThread::Run() {
  pthread_setname_np(pthread_self(), "bulk");
  for (;;) {
    Task task;
    {
      absl::MutexLock lock(&mu_);
      while (tasks_.empty()) {
        if (stopping_) return;
        posted_.Wait(&mu_);
      }
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

}  // namespace podmirror::rpc
