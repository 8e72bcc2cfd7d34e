#include "sim/sim_network.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "sim/sim_world.h"

namespace podmirror::sim {
namespace {

// Resets further apart have nothing to do with each other: a stream could be opened between them.
constexpr SteadyMs kPause = sync::kHandshakeMs + 1000;

std::uint64_t BytesOf(const sync::Message& message) {
  const auto sum = [](const std::vector<EntryRef>& entries) {
    std::uint64_t bytes = 0;
    for (const EntryRef& entry : entries) bytes += entry->packed_size();
    return bytes;
  };
  if (const auto* batch = std::get_if<sync::Batch>(&message)) return sum(batch->entries);
  if (const auto* push = std::get_if<sync::Push>(&message)) return sum(push->entries);
  if (const auto* reply = std::get_if<sync::OfferReply>(&message)) return sum(reply->entries);
  if (const auto* reply = std::get_if<sync::FetchReply>(&message)) return sum(reply->entries);
  if (const auto* offer = std::get_if<sync::Offer>(&message)) return 24 * offer->listed.size();
  if (const auto* sums = std::get_if<sync::Sums>(&message)) return 8 * sums->sums.size();
  if (const auto* fragment = std::get_if<sync::Fragment>(&message)) return fragment->bytes.size();
  return 0;
}

}  // namespace

void SimNetwork::Cut(int from, int to, bool cut) {
  if (cut) {
    cuts_.insert({from, to});
    return;
  }
  if (cuts_.erase({from, to}) == 0) return;
  for (const auto& [key, place] : streams_) {
    const auto [stream, side] = place;
    time_.In(0, [this, stream = stream, side = side] { Deliver(stream, side); });
  }
}

SteadyMs SimNetwork::ConnectedFor(const Process& dialler, const Process& to) const {
  for (const auto& [key, place] : streams_) {
    const auto& [stream, side] = place;
    if (key.first == dialler.serial && side == 0 && stream->ends[1].process == &to) {
      return time_.now() - stream->opened_at;
    }
  }
  return -1;
}

SteadyMs SimNetwork::ResetFor(int a, int b) const {
  const auto resets = resets_.find(std::minmax(a, b));
  if (resets == resets_.end() || time_.now() - resets->second.last > kPause) return 0;
  return resets->second.last - resets->second.first;
}

bool SimNetwork::SlowWithin(int a, int b, SteadyMs ms) const {
  if (slow_.contains({a, b})) return true;
  const auto was = was_slow_.find({a, b});
  return was != was_slow_.end() && time_.now() - was->second <= ms;
}

void SimNetwork::HealAll() {
  const auto cuts = cuts_;
  for (const auto& [from, to] : cuts) Cut(from, to, false);
  for (const auto& [way, rate] : slow_) was_slow_[way] = time_.now();
  slow_.clear();
}

void SimNetwork::Slow(int a, int b, SteadyMs delay, std::uint64_t bytes_per_ms) {
  for (const std::pair<int, int>& way : {std::pair(a, b), std::pair(b, a)}) {
    if (delay == 0 && bytes_per_ms == 0) {
      if (slow_.erase(way) > 0) was_slow_[way] = time_.now();
    } else {
      slow_[way] = {delay, bytes_per_ms};
    }
  }
}

void SimNetwork::Dark(int address, bool dark) {
  if (dark) {
    dark_.insert(address);
  } else {
    dark_.erase(address);
  }
}

void SimNetwork::Reset(Process& a, Process& b) {
  std::vector<StreamRef> between;
  for (const auto& [key, place] : streams_) {
    const auto& [stream, side] = place;
    if (key.first == a.serial && stream->ends[1 - side].process == &b) between.push_back(stream);
  }
  for (const StreamRef& stream : between) End_(stream, "reset", -1);
  if (between.empty()) return;
  Resets& resets = resets_[std::minmax(a.address, b.address)];
  if (time_.now() - resets.last > kPause) resets.first = time_.now();
  resets.last = time_.now();
}

void SimNetwork::Died(Process& process, bool silent) {
  old_.Died(process);
  std::vector<std::pair<StreamRef, int>> places;
  for (const auto& [key, place] : streams_) {
    if (key.first == process.serial) places.push_back(place);
  }
  std::erase_if(streams_, [&](const auto& item) { return item.first.first == process.serial; });
  if (silent) return;
  for (const auto& [stream, side] : places) End_(stream, "reset", side);
}

void SimNetwork::Continued(Process& process) {
  for (const auto& [key, place] : streams_) {
    if (key.first != process.serial) continue;
    const auto [stream, side] = place;
    time_.In(0, [this, stream = stream, side = side] {
      Deliver(stream, side);
      Pump(stream, side);
    });
  }
}

void SimNetwork::Dial(Process& from, sync::ConnId conn, const PodRecord& peer, bool legacy) {
  if (old_.Has(peer.port)) {
    old_.Dial(from, conn, peer.port, legacy);
    return;
  }
  auto stream = std::make_shared<Stream>();
  stream->ends[0].process = &from;
  stream->ends[0].conn = conn;
  streams_[{from.serial, conn}] = {stream, 0};
  const int address = peer.port;
  time_.In(time_.Between(1, 20), [this, &from, conn, stream, address] {
    // Nothing answers: the dialler gives up by itself.
    if (!from.alive || stream->ended || !Reachable(from.address, address)) return;
    Process* const to = hooks_.listener(address);
    if (to == nullptr) {
      End_(stream, "connection refused", -1);
      return;
    }
    if (to->paused) return;
    stream->opened_at = time_.now();
    stream->ends[1].process = to;
    stream->ends[1].conn = to->driver->Accept();
    streams_[{to->serial, stream->ends[1].conn}] = {stream, 1};
    from.Tell([&from, conn] { from.driver->Opened(conn); });
  });
}

void SimNetwork::Wake(Process& from, sync::ConnId conn) {
  if (old_.Wake(from, conn)) return;
  const auto found = streams_.find({from.serial, conn});
  if (found == streams_.end()) return;
  const auto [stream, side] = found->second;
  if (stream->ends[side].writing) return;
  time_.In(0, [this, stream = stream, side = side] { Pump(stream, side); });
}

SteadyMs SimNetwork::Delay(const End& from, const End& to, const sync::Message& message) {
  SteadyMs delay = time_.Between(1, time_.OneIn(20) ? 200 : 5);
  const auto slow = slow_.find({from.process->address, to.process->address});
  if (slow != slow_.end()) {
    delay += slow->second.delay;
    if (slow->second.bytes_per_ms > 0) {
      delay += static_cast<SteadyMs>(BytesOf(message) / slow->second.bytes_per_ms);
    }
  }
  return delay;
}

void SimNetwork::Pump(const StreamRef& stream, int side) {
  End& end = stream->ends[side];
  End& other = stream->ends[1 - side];
  if (stream->ended || end.writing || !end.process->alive || other.process == nullptr) return;
  if (end.process->paused || other.in_flight.size() >= kInFlight) return;
  std::optional<sync::Message> message = end.process->driver->Next(end.conn);
  if (!message) return;
  hooks_.sent(*end.process, *other.process, *message);
  end.writing = true;
  const SteadyMs delay = Delay(end, other, *message);
  const bool harmless = std::holds_alternative<sync::Batch>(*message) ||
                        std::holds_alternative<sync::Heartbeat>(*message);
  if (duplicate_ && harmless && time_.OneIn(10)) other.in_flight.push_back(*message);
  other.in_flight.push_back(std::move(*message));
  time_.In(delay, [this, stream, side] {
    stream->ends[side].writing = false;
    Deliver(stream, 1 - side);
    Pump(stream, side);
  });
}

void SimNetwork::Deliver(const StreamRef& stream, int side) {
  End& end = stream->ends[side];
  const End& other = stream->ends[1 - side];
  if (end.delivering || end.process == nullptr || other.process == nullptr) return;
  end.delivering = true;
  bool any = false;
  bool held_up = false;
  while (!held_up && !stream->ended && !end.in_flight.empty() && end.process->alive &&
         !end.process->paused && Up(other.process->address, end.process->address)) {
    auto arrival = std::make_shared<sync::Arrival>();
    arrival->conn = end.conn;
    arrival->message = std::move(end.in_flight.front());
    end.in_flight.pop_front();
    any = true;
    held_up = time_.OneIn(4);
    if (held_up) {
      Step(stream, side, arrival);
    } else {
      while (end.process->driver->Step(*arrival)) {
      }
      hooks_.received(*end.process, *other.process, arrival->message);
    }
  }
  if (!held_up) end.delivering = false;
  if (any) Pump(stream, 1 - side);  // it may have been held back
}

void SimNetwork::Step(const StreamRef& stream, int side,
                      const std::shared_ptr<sync::Arrival>& arrival) {
  Process* const process = stream->ends[side].process;
  const bool first = arrival->next == sync::Arrival::Next::kAdmit;
  const bool more = process->driver->Step(*arrival);
  if (!first || !more) hooks_.received(*process, *stream->ends[1 - side].process, arrival->message);
  // Whatever comes next does so from the queue: a message of one step may be followed by many.
  const SteadyMs delay = more ? time_.Between(0, time_.OneIn(20) ? 300 : 5) : 0;
  time_.In(delay, [this, stream, side, arrival, more, process] {
    process->Tell([=, this] {
      if (more) {
        Step(stream, side, arrival);
      } else {
        stream->ends[side].delivering = false;
        Deliver(stream, side);
      }
    });
  });
}

void SimNetwork::End_(const StreamRef& stream, const std::string& why, int except) {
  if (std::exchange(stream->ended, true)) return;
  for (int side = 0; side < 2; ++side) {
    const End& end = stream->ends[side];
    const End& other = stream->ends[1 - side];
    if (side == except || end.process == nullptr || !end.process->alive) continue;
    // No word reaches it; it finds out by the silence.
    if (other.process != nullptr && !Up(other.process->address, end.process->address)) continue;
    Process* const process = end.process;
    const sync::ConnId conn = end.conn;
    streams_.erase({process->serial, conn});
    time_.In(time_.Between(1, 5), [process, conn, why] {
      process->Tell([=] { process->driver->Closed(conn, {Code::kUnavailable, why}); });
    });
  }
}

void SimNetwork::Close(Process& from, sync::ConnId conn) {
  if (old_.Close(from, conn)) return;
  const auto found = streams_.find({from.serial, conn});
  if (found == streams_.end()) return;
  const auto [stream, side] = found->second;
  streams_.erase(found);
  End_(stream, "closed by peer", side);
}

}  // namespace podmirror::sim
