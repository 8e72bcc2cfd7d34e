#include "rest/http_worker.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "net/listener.h"

namespace podmirror::rest {
namespace {

constexpr std::size_t kScratchBytes = 64 * 1024;
// How long queued requests are answered before events are looked at again.
constexpr SteadyMs kRoundMs = 2;
// How often deadlines are looked at.
constexpr SteadyMs kSweepMs = 250;
// How many surplus connections a worker keeps; the oldest one makes room for the next.
constexpr std::size_t kMaxSurplus = 256;
constexpr int kAcceptsPerEvent = 16;

// In an epoll event, its address stands for the inbox instead of a connection. That of a listener
// stands for it.
char inbox_mark;

}  // namespace

Worker::Worker(std::shared_ptr<ServerState> state, std::shared_ptr<Inbox> inbox, Handler& handler,
               Env& env, std::vector<Listener> listeners)
    : state_(std::move(state)),
      inbox_(std::move(inbox)),
      handler_(handler),
      env_(env),
      listeners_(std::move(listeners)),
      scratch_(kScratchBytes) {}

Worker::~Worker() {
  if (epoll_fd_ >= 0) close(epoll_fd_);
}

Status Worker::Open() {
  epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd_ < 0 || inbox_->fd() < 0) {
    return {Code::kExhausted, std::string("cannot open an event loop: ") + std::strerror(errno)};
  }
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = &inbox_mark;
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, inbox_->fd(), &event) != 0) {
    return {Code::kExhausted, std::string("cannot watch a descriptor: ") + std::strerror(errno)};
  }
  Listen(true);
  return {};
}

void Worker::Listen(bool on) {
  if (listening_ == on) return;
  epoll_event event{};
  event.events = EPOLLIN | EPOLLEXCLUSIVE;  // a new connection wakes one worker, not all
  for (const Listener& listener : listeners_) {
    event.data.ptr = const_cast<Listener*>(&listener);
    epoll_ctl(epoll_fd_, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, listener.fd, &event);
  }
  listening_ = on;
}

void Worker::Run() {
  while (!Stopped()) {
    HandleEvents();
    if (!queue_.empty()) handler_.Round([this] { RunQueue(); });
    looks_again_ = handler_.Look();
    if (now_ >= next_sweep_) Sweep();
  }
  for (const auto& [key, connection] : connections_) shutdown(connection->fd(), SHUT_RDWR);
  inbox_->Close();
  queue_.clear();
  connections_.clear();
}

bool Worker::Stopped() {
  if (!state_->stopping.load(std::memory_order_acquire)) return false;
  if (stop_at_ == 0) {
    now_ = env_.now().steady;
    stop_at_ = now_ + state_->stop_grace_ms.load(std::memory_order_relaxed);
    Listen(false);
    Sweep();
  }
  return connections_.empty() || now_ >= stop_at_;
}

int Worker::WaitMs() const {
  if (!queue_.empty() || looks_again_) return 0;
  if (connections_.empty() && listening_) return -1;
  return static_cast<int>(std::clamp<SteadyMs>(next_sweep_ - now_, 0, kSweepMs));
}

void Worker::HandleEvents() {
  std::array<epoll_event, 128> events;
  const int count = epoll_wait(epoll_fd_, events.data(), static_cast<int>(events.size()), WaitMs());
  now_ = env_.now().steady;
  bool inbox = false;
  for (int i = 0; i < count; ++i) {
    void* const what = events[i].data.ptr;
    const auto listener = std::find_if(listeners_.begin(), listeners_.end(),
                                       [what](const Listener& one) { return &one == what; });
    if (listener != listeners_.end()) {
      Accept(*listener);
    } else if (what == &inbox_mark) {
      inbox = true;
    } else {
      // Gone when an earlier event of this round closed it.
      const auto found = connections_.find(static_cast<const Connection*>(what));
      if (found == connections_.end()) continue;
      const ConnectionRef connection = found->second;
      const auto bits = events[i].events;
      if ((bits & ~EPOLLOUT) != 0) connection->SetReadable((bits & ~(EPOLLIN | EPOLLOUT)) != 0);
      if (!connection->queued && !connection->handoff().Defer()) Advance(connection);
    }
  }
  if (inbox) TakeInbox();
  if (inbox && inbox_->TakeChanged()) AdvanceStreams();
}

void Worker::Accept(const Listener& listener) {
  for (int i = 0; i < kAcceptsPerEvent; ++i) {
    sockaddr_storage address{};
    socklen_t size = sizeof(address);
    const int fd = accept4(listener.fd, reinterpret_cast<sockaddr*>(&address), &size,
                           SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      Admit(fd, {listener.kind, net::IpOf(address), nullptr});
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      Listen(false);  // else epoll would report it without end; the next sweep listens again
      return;
    } else if (errno != ECONNABORTED && errno != EINTR) {
      return;
    }
  }
}

void Worker::Admit(int fd, const Client& client) {
  const int open = state_->open.fetch_add(1, std::memory_order_relaxed) + 1;
  handler_.Connections(1);
  const bool surplus = open > state_->options.max_connections;
  if (surplus) {
    auto connection = std::make_shared<Connection>(fd, client, true, state_, inbox_, now_);
    LimitSurplus(connection);
    Register(connection);
    return;
  }
  const auto least = std::min_element(state_->inboxes.begin(), state_->inboxes.end(),
                                      [](const auto& a, const auto& b) {
                                        return a->connections.load(std::memory_order_relaxed) <
                                               b->connections.load(std::memory_order_relaxed);
                                      });
  auto connection = std::make_shared<Connection>(fd, client, false, state_, *least, now_);
  connection->inbox()->connections.fetch_add(1, std::memory_order_relaxed);
  if (*least == inbox_) {
    Register(connection);
  } else {
    (*least)->Post(std::move(connection));
  }
}

void Worker::LimitSurplus(const ConnectionRef& connection) {
  std::erase_if(surplus_, [](const auto& weak) { return weak.expired(); });
  while (surplus_.size() >= kMaxSurplus) {
    const ConnectionRef oldest = surplus_.front().lock();
    surplus_.pop_front();
    if (oldest && connections_.contains(oldest.get())) Close(oldest);
  }
  surplus_.push_back(connection);
}

void Worker::Register(const ConnectionRef& connection) {
  epoll_event event{};
  // Edge-triggered and never changed: while we wait for an answer, or for the client to read, no
  // system call is needed.
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = connection.get();
  connections_.emplace(connection.get(), connection);
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, connection->fd(), &event) != 0) Close(connection);
}

void Worker::Close(const ConnectionRef& connection) {
  if (connections_.erase(connection.get()) == 0) return;
  connection->closed = true;
  if (connection->streaming) {
    streams_.erase(connection);
    inbox_->streams.fetch_sub(1);
  } else {
    state_->open.fetch_sub(1, std::memory_order_relaxed);
  }
  handler_.Connections(-1);
  if (!connection->surplus()) inbox_->connections.fetch_sub(1, std::memory_order_relaxed);
  // The descriptor may stay open for a moment, while an answering thread holds the connection.
  epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, connection->fd(), nullptr);
  shutdown(connection->fd(), SHUT_RDWR);
}

// Those who watch have a limit of their own, and leave their place to others.
void Worker::BeginStream(const ConnectionRef& connection) {
  connection->streaming = true;
  streams_.insert(connection);
  inbox_->streams.fetch_add(1);
  state_->open.fetch_sub(1, std::memory_order_relaxed);
}

void Worker::AdvanceStreams() {
  for (const ConnectionRef& connection : streams_) {
    if (!connection->queued && connection->streams()) Enqueue(connection);
  }
}

void Worker::TakeInbox() {
  for (const ConnectionRef& connection : inbox_->Take()) {
    if (connection->closed) continue;
    if (!connections_.contains(connection.get())) {
      Register(connection);
    } else if (!connection->queued && !connection->handoff().Defer()) {
      Advance(connection);
    }
  }
}

void Worker::Enqueue(const ConnectionRef& connection) {
  connection->queued = true;
  queue_.push_back(connection);
}

void Worker::Advance(const ConnectionRef& connection) {
  const Turn turn = connection->Advance(scratch_, now_, handler_);
  if (turn == Turn::kRequest && handler_.IsUrgent(connection->target())) {
    Serve(connection);
  } else {
    Settle(connection, turn);
  }
}

void Worker::Settle(const ConnectionRef& connection, Turn turn) {
  switch (turn) {
    case Turn::kIdle:
      if (stop_at_ != 0 && connection->idle()) Close(connection);
      return;
    case Turn::kRequest:
    case Turn::kMore:
      Enqueue(connection);
      return;
    case Turn::kClosed:
      Close(connection);
      return;
  }
}

void Worker::RunQueue() {
  const SteadyMs until = now_ + kRoundMs;
  for (std::size_t left = queue_.size(); left > 0 && now_ < until; --left) {
    const ConnectionRef connection = std::move(queue_.front());
    queue_.pop_front();
    connection->queued = false;
    if (connection->closed) continue;
    const Turn turn = connection->Advance(scratch_, now_, handler_);
    if (turn == Turn::kRequest) {
      Serve(connection);
    } else {
      Settle(connection, turn);
    }
    now_ = env_.now().steady;
  }
}

void Worker::Serve(const ConnectionRef& connection) {
  const Request& request = connection->Begin();
  if (connection->surplus() && !handler_.IsUrgent(request.target)) {
    Response response = ProblemResponse(Problem::kOverloaded, "too many connections");
    handler_.Refused(response.status);
    connection->Answer(std::move(response));
  } else if (auto response = handler_.Handle(request, connection)) {
    connection->Answer(std::move(*response));
    if (connection->has_stream()) BeginStream(connection);
  }
  // A request that is pipelined behind this one waits for its turn in the queue, urgent or not.
  if (connection->End(now_)) Settle(connection, connection->Advance(scratch_, now_, handler_));
}

void Worker::Sweep() {
  next_sweep_ = now_ + std::min(kSweepMs, state_->options.request_timeout_ms / 4 + 1);
  if (stop_at_ == 0) Listen(true);
  handler_.Tick();
  std::vector<ConnectionRef> all;
  all.reserve(connections_.size());
  for (const auto& [key, connection] : connections_) all.push_back(connection);
  for (const ConnectionRef& connection : all) {
    if (connection->closed || connection->queued || connection->handoff().waiting()) continue;
    const bool due = connection->deadline() <= now_;
    if (due) connection->Expire(now_, handler_);
    connection->ChargeReplaced(handler_);
    connection->ReleaseBuffers();
    // kNever: another thread has answered since End, and Advance has yet to set the next deadline.
    if (due || connection->broken() || connection->deadline() == Connection::kNever ||
        stop_at_ != 0) {
      Settle(connection, connection->Advance(scratch_, now_, handler_));
    }
  }
}

}  // namespace podmirror::rest
