#include "client/client.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/env.h"
#include "client/calls.h"
#include "client/fleet.h"
#include "client/message_stream.h"
#include "client/verdict.h"
#include "client/watch_call.h"
#include "client/wire.h"
#include "net/grpc_channel.h"

namespace podmirror::client {
namespace {

using std::chrono::milliseconds;

// The status with the daemon that it came from.
Status At(const Pool::Choice& choice, const Status& status) {
  return {status.code(), Pool::NameOf(choice) + ": " + status.message()};
}

}  // namespace

class Client::Impl {
 public:
  Impl(const Options& options, std::unique_ptr<Fleet> fleet)
      : options_(options),
        fleet_(std::move(fleet)),
        env_(fleet_->env()),
        pool_(fleet_->pool()),
        calls_(options.max_calls) {
    fleet_->Start();
  }

  // The pool first: calls that wait for a daemon end only with it.
  ~Impl() {
    pool_.Stop();
    calls_.Stop();
  }

  template <typename Request, typename Response>
  using Method = grpc::Status (v1::Cache::Stub::*)(grpc::ClientContext*, const Request&, Response*);

  template <typename Request, typename Response>
  Status Read(Method<Request, Response> method, const Request& request, Response& response) {
    return Try(true, options_.deadline,
               [&](const Target& target) { return Unary(target, method, request, response); });
  }

  // request: why there is none, otherwise.
  template <typename Request, typename Response>
  Result<WriteResult> Write(Method<Request, Response> method, const Result<Request>& request,
                            const WriteOptions& options) {
    if (!request.ok()) return request.status();
    const milliseconds ack_timeout = options.ack_timeout.value_or(milliseconds(0));
    if (ack_timeout.count() < 0 || ack_timeout > kLongest) {
      return Invalid("ack_timeout: 0 to 1 h");
    }
    Response response;
    Status status = Try(false, options_.deadline + ack_timeout, [&](const Target& target) {
      return Unary(target, method, *request, response);
    });
    if (!status.ok()) return status;
    return FromWire(response);
  }

  Status GetAll(const v1::GetAllRequest& request, const std::function<bool(Entry)>& each) {
    std::uint64_t given = 0;
    return Try(true, options_.deadline,
               [&](const Target& target) { return Stream(target, request, each, given); });
  }

  Status Watch(v1::WatchRequest request, milliseconds give_up,
               const std::function<bool(WatchEvent)>& each) {
    const Calls::Running running(calls_);
    if (!running.status().ok()) return running.status();
    return WatchCall(*fleet_, calls_, std::move(request), give_up, each).Run();
  }

  Daemons View() { return pool_.View(); }

 private:
  // Where an attempt goes, what it shows there, and how long it may take.
  struct Target {
    const Pool::Choice& choice;
    const Credentials::State& with;
    milliseconds slice;
  };

  // Calls attempt(target) with one daemon after the other, as client.h says.
  template <typename Attempt>
  Status Try(bool read, milliseconds deadline, const Attempt& attempt) {
    const Calls::Running running(calls_);
    if (!running.status().ok()) return running.status();
    Pool::Wish wish;
    wish.read = read;
    wish.until = env_.now().steady + deadline.count();
    Status last;
    for (int left = options_.max_attempts; left > 0; --left) {
      // A write that is sent is not given up for another daemon.
      wish.count_others = read ? left - 1 : 0;
      Result<Pool::Choice> choice = pool_.Choose(wish);
      if (!choice.ok()) return last.ok() ? choice.status() : last;
      const Verdict verdict = fleet_->At(*choice, [&](const auto& at, const auto& with) {
        return attempt(Target{at, with, Slice(wish, at)});
      });
      pool_.Report(*choice, verdict);
      const Status status = read ? verdict.status : OfWrite(verdict);
      if (status.ok()) return {};
      last = At(*choice, status);
      if (!(read ? MayReadElsewhere(verdict.outcome) : MayWriteElsewhere(verdict.outcome))) break;
      wish.tried.push_back(choice->endpoint);
    }
    return last;
  }

  // The time for an attempt: a daemon that hangs must not take that of those that could answer.
  milliseconds Slice(const Pool::Wish& wish, const Pool::Choice& choice) const {
    const SteadyMs rest = std::max<SteadyMs>(wish.until - env_.now().steady, 1);
    return milliseconds(rest / (choice.others + 1) + 1);
  }

  template <typename Request, typename Response>
  Verdict Unary(const Target& target, Method<Request, Response> method, const Request& request,
                Response& response) {
    response.Clear();
    grpc::ClientContext context;
    target.with.AddTo(context);
    net::SetTimeout(context, target.slice.count());
    const Calls::Attempt tracked(calls_, context);
    const grpc::Status status =
        (target.choice.connection->stub.get()->*method)(&context, request, &response);
    return Judge(status, calls_.stopping());
  }

  // The call is not tried at another daemon: the entries given would come again.
  static Verdict Broken(const Status& status, std::uint64_t given) {
    return {Outcome::kAnswered,
            {status.code(), status.message() + " (after " + std::to_string(given) + " entries)"}};
  }

  Verdict Stream(const Target& target, const v1::GetAllRequest& request,
                 const std::function<bool(Entry)>& each, std::uint64_t& given) {
    grpc::ClientContext context;
    target.with.AddTo(context);
    const Calls::Attempt tracked(calls_, context);
    MessageStream<v1::GetAllResponse> stream(context, [&](auto* reactor) {
      target.choice.connection->stub->async()->GetAll(&context, &request, reactor);
    });
    milliseconds step = target.slice;
    while (v1::GetAllResponse* message = stream.Next(step)) {
      step = options_.deadline;
      for (v1::Entry& entry : *message->mutable_entries()) {
        if (calls_.stopping()) return Broken({Code::kUnavailable, "the client ends"}, given);
        ++given;
        if (!each(FromWire(entry))) return {};
      }
    }
    Verdict verdict = Judge(stream.Finish());
    if (given > 0 && !verdict.status.ok()) {
      pool_.Report(target.choice, verdict);
      return Broken(verdict.status, given);
    }
    return verdict;
  }

  const Options options_;
  const std::unique_ptr<Fleet> fleet_;
  Env& env_;
  Pool& pool_;
  Calls calls_;
};

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Client::~Client() = default;

Result<std::unique_ptr<Client>> Client::New(const Options& options) {
  return New(options, nullptr);
}

Result<std::unique_ptr<Client>> Client::New(const Options& options,
                                            std::unique_ptr<discovery::PeerSource> source) {
  auto fleet = Fleet::New(options, std::move(source), Env::Real());
  if (!fleet.ok()) return fleet.status();
  return std::unique_ptr<Client>(new Client(std::make_unique<Impl>(options, std::move(*fleet))));
}

Result<Entry> Client::Get(std::int32_t type, const std::string& key) {
  auto entries = Get({{type, key}});
  if (!entries.ok()) return entries.status();
  if (entries->empty()) return Status(Code::kNotFound, "no entry of this type and key");
  return std::move(entries->front());
}

Result<std::vector<Entry>> Client::Get(const std::vector<Key>& keys) {
  const auto request = ToWire(keys);
  if (!request.ok()) return request.status();
  v1::GetResponse response;
  if (Status status = impl_->Read(&v1::Cache::Stub::Get, *request, response); !status.ok()) {
    return status;
  }
  std::vector<Entry> entries;
  for (v1::Entry& entry : *response.mutable_entries()) entries.push_back(FromWire(entry));
  return entries;
}

Result<WriteResult> Client::Set(const std::vector<Item>& items, const WriteOptions& options) {
  return impl_->Write(&v1::Cache::Stub::Set, ToWire(items, options), options);
}

Result<WriteResult> Client::Delete(const std::vector<Key>& keys, const WriteOptions& options) {
  return impl_->Write(&v1::Cache::Stub::Delete, ToWire(keys, options), options);
}

Result<WriteResult> Client::DeletePrefix(std::int32_t type, const std::string& prefix,
                                         const WriteOptions& options) {
  return impl_->Write(&v1::Cache::Stub::DeletePrefix, ToWire(type, prefix, options), options);
}

Result<WriteResult> Client::Touch(const std::vector<Key>& keys, milliseconds ttl,
                                  const WriteOptions& options) {
  return impl_->Write(&v1::Cache::Stub::Touch, ToWire(keys, ttl, options), options);
}

Status Client::GetAll(const Selection& what, const std::function<bool(Entry)>& each) {
  const auto request = ToWire(what);
  if (!request.ok()) return request.status();
  return impl_->GetAll(*request, each);
}

Status Client::GetAllKeys(const Selection& what, const std::function<bool(Entry)>& each) {
  auto request = ToWire(what);
  if (!request.ok()) return request.status();
  request->set_keys_only(true);
  return impl_->GetAll(*request, [&each](Entry entry) {
    entry.value.clear();  // a daemon of a version before gives it all the same
    return each(std::move(entry));
  });
}

Status Client::Watch(const WatchOptions& options, const std::function<bool(WatchEvent)>& each) {
  auto request = ToWire(options);
  if (!request.ok()) return request.status();
  return impl_->Watch(*std::move(request), options.give_up, each);
}

Daemons Client::GetDaemons() const { return impl_->View(); }

}  // namespace podmirror::client
