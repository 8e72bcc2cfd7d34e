#include "rest/http_connection.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace podmirror::rest {
namespace {

// A connection without a request is kept this long: longer than proxies keep theirs (60 s as a
// rule). Else a proxy may send a request just when we close, and must report a failure to its
// client.
constexpr SteadyMs kIdleMs = 90'000;
// A surplus connection has this long to ask.
constexpr SteadyMs kSurplusMs = 1'000;
// After an answer that ends the connection, input is read and thrown away, for this long and up to
// this size: closing with unread input resets the connection, and the client never sees the answer.
constexpr SteadyMs kLingerMs = 2'000;
constexpr std::size_t kMaxDiscardBytes = 64 * 1024 * 1024;
// A client must take this much of an answer within each request timeout; else its connection ends.
constexpr std::int64_t kWriteProgressBytes = 64 * 1024;
// Input buffers up to this size are kept between requests and not charged.
constexpr std::size_t kKeptBytes = kMaxHeadBytes;
// Bodies up to this size are copied behind the head, and not charged.
constexpr std::size_t kSmallBodyBytes = 8 * 1024;
constexpr int kReadsPerTurn = 16;
constexpr int kPartsPerTurn = 4;
// How often a stream is asked for more, whatever happens.
constexpr SteadyMs kStreamLookMs = 1'000;

std::unique_ptr<trust::TlsStream> NewTls(int fd, PortKind kind, const HttpOptions& options) {
  if (kind != PortKind::kTls) return nullptr;
  return std::make_unique<trust::TlsStream>(options.keyring->current(), fd);
}

// Who speaks plain HTTP to a port for TLS could not read an alert.
std::string SaysUseHttps(WallMs now) {
  const Response response =
      ProblemResponse(Problem::kInvalidRequest, "this port speaks TLS: use https");
  return RenderHead(response, Persistence::kClosed, now) + response.body;
}

}  // namespace

Connection::Connection(int fd, Client client, bool surplus, std::shared_ptr<ServerState> state,
                       std::shared_ptr<Inbox> inbox, SteadyMs now)
    : surplus_(surplus),
      state_(std::move(state)),
      inbox_(std::move(inbox)),
      socket_(fd, NewTls(fd, client.port, state_->options)),
      client_(std::move(client)),
      reader_(state_->options.body_limits),
      deadline_(now + (surplus          ? kSurplusMs
                       : socket_.open() ? kIdleMs
                                        : state_->options.request_timeout_ms)) {}

Connection::~Connection() { state_->budget.Give(in_charged_ + out_charged_); }

// kMore: the handshake is through.
Turn Connection::AwaitHandshake(Handler& handler) {
  switch (socket_.Handshake()) {
    case Socket::Io::kDone:
      break;
    case Socket::Io::kBlocked:
      return Turn::kIdle;
    default:
      // Who says nothing has only looked whether the port is open.
      if (socket_.tls()->heard()) handler.HandshakeFailed();
      if (socket_.tls()->spoke_http()) socket_.SendPlain(SaysUseHttps(state_->env.now().wall));
      return Turn::kClosed;
  }
  if (auto chain = socket_.tls()->certificate()) {
    client_.certificate = std::make_shared<const trust::Presented>(
        *std::move(chain), trust::Credentials::Use::kClient, *state_->options.keyring->current(),
        state_->env.now().wall);
  }
  return Turn::kMore;
}

Turn Connection::Advance(std::span<char> scratch, SteadyMs now, Handler& handler) {
  if (broken_) return Turn::kClosed;
  if (!socket_.open()) {
    if (const Turn turn = AwaitHandshake(handler); turn != Turn::kMore) return turn;
    if (!surplus_) deadline_ = kNever;
  }
  int parts = 0;
  for (int reads = 0;;) {
    if (!Flush()) return Turn::kClosed;
    if (output_pending()) {
      if (deadline_ == kNever) AwaitProgress(now);
      return Turn::kIdle;
    }
    if (out_sent_ != 0) {
      ReleaseOutput();
      request_start_ = now;  // what came behind the last request had to wait for us
    }
    if (out_stream_) {
      if (LeftStream(scratch)) return Turn::kClosed;
      if (parts++ == kPartsPerTurn) return Turn::kMore;
      if (TakePart()) continue;
      if (out_stream_->more()) return Turn::kMore;
      deadline_ = now + kStreamLookMs;
      return Turn::kIdle;
    }
    if (close_ && !linger_) {
      socket_.EndWriting();
      return Turn::kClosed;
    }
    if (close_) return Discard(scratch, now);
    const bool had_input = !in_.empty();
    switch (reader_.Read(in_)) {
      case FrameState::kComplete:
        return Turn::kRequest;
      case FrameState::kRefused:
        Refuse(reader_.refusal(), handler);
        continue;
      case FrameState::kIncomplete:
        // Blank lines begin no request: the connection is idle again.
        if (had_input && in_.empty() && !surplus_) deadline_ = kNever;
        break;
    }
    if (reader_.TakeContinue()) {
      out_head_ = "HTTP/1.1 100 Continue\r\n\r\n";
      deadline_ = kNever;
      continue;
    }
    if (eof_) return Turn::kClosed;
    if (!socket_.readable()) {
      if (!in_.empty() && !surplus_) {
        deadline_ = request_start_ + state_->options.request_timeout_ms;
      } else if (deadline_ == kNever) {
        deadline_ = now + (surplus_ ? kSurplusMs : kIdleMs);
      }
      return Turn::kIdle;
    }
    if (reads++ == kReadsPerTurn) return Turn::kMore;
    if (!Receive(scratch, now)) {
      if (broken_) return Turn::kClosed;
      Refuse({Problem::kOverloaded, "too many large requests at once; try again"}, handler);
    }
  }
}

bool Connection::Receive(std::span<char> scratch, SteadyMs now) {
  const Socket::Moved got = socket_.Read(scratch);
  if (got.io == Socket::Io::kDone) {
    if (in_.empty()) request_start_ = now;
    return Append({scratch.data(), got.bytes});
  }
  eof_ = got.io == Socket::Io::kClosed;
  broken_ = got.io == Socket::Io::kBroken;
  return !broken_;
}

// The buffer grows only as bytes arrive, and not beyond the length that is known: a client that
// only promises a large body costs nothing.
bool Connection::Append(std::string_view bytes) {
  const std::size_t needed = in_.size() + bytes.size();
  if (needed > in_.capacity()) {
    std::size_t capacity = std::max(needed, 2 * in_.capacity());
    if (const std::size_t expected = reader_.expected_bytes(); expected >= needed) {
      capacity = std::min(capacity, expected);
    }
    if (capacity > kKeptBytes) {
      if (!state_->budget.Take(capacity - in_charged_)) return false;
      in_charged_ = capacity;
    }
    in_.reserve(capacity);
  }
  in_.append(bytes);
  return true;
}

bool Connection::TakePart() {
  if (state_->stopping.load(std::memory_order_relaxed) || out_stream_->over()) {
    out_part_ = out_stream_->End();
    out_stream_.reset();
  } else {
    out_part_ = out_stream_->Next();
  }
  deadline_ = kNever;  // until it is known whether the client takes all of it at once
  return out_part_ != nullptr;
}

bool Connection::LeftStream(std::span<char> scratch) {
  while (socket_.readable()) {
    const Socket::Moved got = socket_.Read(scratch);
    if (got.io == Socket::Io::kBlocked) break;
    if (got.io != Socket::Io::kDone) return true;
    discarded_ += got.bytes;
    if (discarded_ > kKeptBytes) return true;
  }
  return false;
}

void Connection::ReleaseInput() {
  if (in_charged_ == 0 || in_.size() > kKeptBytes) return;
  std::string(in_).swap(in_);  // an assignment might keep the large buffer
  state_->budget.Give(std::exchange(in_charged_, 0));
}

const Request& Connection::Begin() {
  const Request& request = reader_.request(in_);
  head_only_ = request.method == "HEAD";
  says_keep_ = request.http_1_0;
  close_ = surplus_ || !request.keep_alive;
  linger_ = request.keep_alive;  // if we close now, the client cannot know and may have sent more
  handoff_.Begin();
  return request;
}

bool Connection::End(SteadyMs now) {
  reader_.Consume(in_);
  ReleaseInput();
  request_start_ = now;
  deadline_ = kNever;
  // What has come behind the request may still lie in the socket, or in a record of its own.
  return handoff_.End(!in_.empty() || socket_.readable());
}

void Connection::Answer(Response response) {
  const bool close = close_ || response.stream || state_->leaving.load(std::memory_order_relaxed) ||
                     state_->stopping.load(std::memory_order_relaxed);
  Queue(std::move(response), close);
  Flush();
  const bool attention = broken_ || close_ || output_pending() || out_charged_ != 0;
  if (handoff_.Answered(attention)) inbox_->Post(shared_from_this());
}

void Connection::Queue(Response response, bool close) {
  close_ = close;
  if (!response.value && response.body.size() > kSmallBodyBytes && !head_only_) {
    if (state_->budget.Take(response.body.size())) {
      out_charged_ = response.body.size();
    } else {
      response = ProblemResponse(Problem::kOverloaded, "too many large answers at once; try again");
    }
  }
  out_sent_ = 0;
  const Persistence kept = says_keep_ ? Persistence::kKeptBySaying : Persistence::kKept;
  out_head_ = RenderHead(response, close ? Persistence::kClosed : kept, state_->env.now().wall);
  if (head_only_) return;
  if (response.stream) {
    out_stream_ = std::move(response.stream);
    return;
  }
  const std::string_view small = response.value ? response.value->value() : response.body;
  if (small.size() <= kSmallBodyBytes) {
    out_head_.append(small);
  } else {
    out_value_ = std::move(response.value);
    if (!out_value_) out_body_ = std::move(response.body);
  }
}

// False when the connection is broken.
bool Connection::Flush() {
  while (!broken_ && output_pending()) {
    const std::string_view tail = out_tail();
    const std::size_t head_sent = std::min(out_sent_, out_head_.size());
    const Socket::Moved sent = socket_.Write(std::string_view(out_head_).substr(head_sent),
                                             tail.substr(out_sent_ - head_sent));
    if (sent.io == Socket::Io::kBlocked) break;
    out_sent_ += sent.bytes;
    broken_ = sent.io != Socket::Io::kDone;
  }
  return !broken_;
}

void Connection::ReleaseOutput() {
  out_head_.clear();
  std::string().swap(out_body_);
  out_value_ = {};
  out_part_.reset();
  out_sent_ = 0;
  state_->budget.Give(std::exchange(out_charged_, 0));
  deadline_ = kNever;  // the one for output does not count any more
}

void Connection::Refuse(const Refusal& refusal, Handler& handler) {
  Response response = ProblemResponse(refusal);
  handler.Refused(response.status);
  linger_ = true;
  head_only_ = RequestReader::is_head(in_);
  deadline_ = kNever;
  Queue(std::move(response), true);
}

// The system reports room only once a third of the socket's buffer is free, which may be megabytes.
// So what counts is how much the client's side has acknowledged.
std::int64_t Connection::OutputTaken() const {
  return static_cast<std::int64_t>(out_sent_) - static_cast<std::int64_t>(socket_.Unacknowledged());
}

void Connection::AwaitProgress(SteadyMs now) {
  out_taken_ = OutputTaken();
  deadline_ = now + state_->options.request_timeout_ms;
}

void Connection::Expire(SteadyMs now, Handler& handler) {
  if (output_pending() && OutputTaken() >= out_taken_ + kWriteProgressBytes) {
    AwaitProgress(now);
    return;
  }
  if (streams()) return;  // Advance asks it for more
  const bool partial = !in_.empty();
  if (!socket_.open() && socket_.tls()->heard()) handler.HandshakeFailed();
  if (!socket_.open() || output_pending() || close_ || (!partial && !surplus_)) {
    broken_ = true;
  } else if (surplus_) {
    Refuse({Problem::kOverloaded, "too many connections"}, handler);
  } else {
    Refuse({Problem::kRequestTimeout, "the request was not complete in time"}, handler);
  }
}

void Connection::ChargeReplaced(const Handler& handler) {
  if (!out_value_ || out_charged_ != 0 || handler.Holds(*out_value_)) return;
  const std::size_t bytes = out_value_->memory_bytes();
  if (state_->budget.Take(bytes)) {
    out_charged_ = bytes;
  } else {
    broken_ = true;
  }
}

Turn Connection::Discard(std::span<char> scratch, SteadyMs now) {
  if (!lingering_) {
    lingering_ = true;
    deadline_ = now + kLingerMs;
    in_.clear();
    ReleaseInput();
    socket_.EndWriting();
  }
  for (int reads = 0; reads < kReadsPerTurn; ++reads) {
    const ssize_t got = socket_.Discard(scratch);
    if (got < 0 && errno == EAGAIN) return Turn::kIdle;
    if (got <= 0) return Turn::kClosed;
    discarded_ += static_cast<std::size_t>(got);
    if (discarded_ > kMaxDiscardBytes) return Turn::kClosed;
  }
  return Turn::kMore;
}

}  // namespace podmirror::rest
