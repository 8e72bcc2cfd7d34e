#include "sim/sim_old.h"

#include <optional>
#include <vector>

#include "base/utf8.h"
#include "sim/sim_world.h"

namespace podmirror::sim {

void OldServices::Reset(bool emptied) {
  for (auto& [address, values] : values_) {
    if (emptied) values.clear();
  }
  const auto streams = streams_;
  for (const auto& [key, stream] : streams) End(stream, Code::kUnavailable, "reset");
}

void OldServices::Dial(Process& from, sync::ConnId conn, int address, bool legacy) {
  const auto stream = std::make_shared<Stream>();
  *stream = {&from, conn, address, false, false, {}};
  streams_[{from.serial, conn}] = stream;
  time_.In(time_.Between(1, 20), [this, stream, legacy] {
    if (stream->ended || !up_(stream->process->address, stream->address)) return;
    if (!legacy) {
      End(stream, Code::kUnimplemented, "unknown service podmirror.v1.Peer");
      return;
    }
    stream->process->Tell([this, stream] {
      stream->process->driver->Opened(stream->conn);
      Pump(stream);
    });
  });
}

bool OldServices::Wake(Process& from, sync::ConnId conn) {
  const auto found = streams_.find({from.serial, conn});
  if (found == streams_.end()) return false;
  time_.In(0, [this, stream = found->second] { Pump(stream); });
  return true;
}

bool OldServices::Close(Process& from, sync::ConnId conn) {
  const auto found = streams_.find({from.serial, conn});
  if (found == streams_.end()) return false;
  found->second->ended = true;
  streams_.erase(found);
  return true;
}

void OldServices::Died(const Process& process) {
  std::erase_if(streams_, [&](const auto& item) { return item.first.first == process.serial; });
}

void OldServices::Pump(const StreamRef& stream) {
  Process& process = *stream->process;
  while (!stream->ended && process.alive && !process.paused && stream->tasks.size() < kMaxTasks) {
    std::optional<sync::Message> message = process.driver->Next(stream->conn);
    if (!message) break;
    if (!std::holds_alternative<sync::Heartbeat>(*message)) {
      stream->tasks.push_back(std::move(*message));
    } else if (up_(process.address, stream->address)) {
      process.driver->Receive(stream->conn, sync::Heartbeat{});
    }
  }
  Call(stream);
}

void OldServices::Call(const StreamRef& stream) {
  if (stream->calling || stream->ended || stream->tasks.empty()) return;
  stream->calling = true;
  const SteadyMs deadline = time_.now() + kCallMs;
  time_.In(time_.Between(1, time_.OneIn(5) ? 1500 : 20),
           [this, stream, deadline] { Arrive(stream, deadline); });
}

void OldServices::Arrive(const StreamRef& stream, SteadyMs deadline) {
  // What a dead process had sent may arrive or not; nobody may count on it.
  if (stream->ended || !stream->process->alive) return;
  const int from = stream->process->address;
  if (!up_(from, stream->address) || !up_(stream->address, from)) {
    if (time_.now() >= deadline) {
      End(stream, Code::kDeadline, "deadline exceeded");
    } else {
      time_.In(100, [this, stream, deadline] { Arrive(stream, deadline); });
    }
    return;
  }
  sync::Message reply = Do(stream->address, stream->tasks.front());
  time_.In(time_.Between(1, 20), [this, stream, reply] {
    stream->process->Tell([this, stream, reply] {
      if (stream->ended) return;
      stream->tasks.pop_front();
      stream->calling = false;
      stream->process->driver->Receive(stream->conn, reply);
      Pump(stream);
    });
  });
}

sync::Message OldServices::Do(int address, const sync::Message& call) {
  if (const auto* batch = std::get_if<sync::Batch>(&call)) {
    Set(address, batch->entries);
    return sync::Ack{batch->last_seq};
  }
  if (const auto* push = std::get_if<sync::Push>(&call)) {
    Set(address, push->entries);
    return sync::PushReply{push->pass};
  }
  if (std::holds_alternative<sync::Fetch>(call)) {
    sync::FetchReply copy;
    for (const auto& [key, value] : values_.at(address)) {
      copy.entries.push_back(Entry::Make(key.first, key.second, value, LegacyVersion(value)));
    }
    copy.next = {kBuckets, 0};
    copy.done = true;
    return copy;
  }
  sync::HelloReply hello;
  hello.legacy = true;
  hello.self.incarnation = static_cast<sync::Incarnation>(address) + 1'000'000;
  return hello;
}

// Deletes and times to live cannot be told.
void OldServices::Set(int address, const std::vector<EntryRef>& entries) {
  for (const EntryRef& entry : entries) {
    if (entry->tombstone() || !IsUtf8(entry->value())) continue;
    const Values::key_type key{entry->type(), std::string(entry->key())};
    values_[address][key] = std::string(entry->value());
    told_.emplace(address, key);
  }
}

void OldServices::End(const StreamRef& stream, Code code, const std::string& why) {
  if (std::exchange(stream->ended, true)) return;
  streams_.erase({stream->process->serial, stream->conn});
  time_.In(time_.Between(1, 5), [stream, code, why] {
    stream->process->Tell([=] { stream->process->driver->Closed(stream->conn, {code, why}); });
  });
}

}  // namespace podmirror::sim
