#include "rpc/peer_transport.h"

#include <utility>

#include "net/grpc_channel.h"
#include "rpc/accepted_stream.h"
#include "rpc/dialled_stream.h"
#include "rpc/legacy_stream.h"

namespace podmirror::rpc {
namespace {

// Peers whose last attempt is remembered: far more than any set has.
constexpr std::size_t kMaxTries = 64 * 1024;

}  // namespace

PeerTransport::PeerTransport(net::GrpcQueue& queue, net::BulkThread& bulk,
                             telemetry::Metrics& metrics, const Env& env, Callers& callers,
                             const PeerTls& tls, OnRefused on_refused)
    : queue_(queue),
      bulk_(bulk),
      metrics_(metrics),
      env_(env),
      callers_(callers),
      tls_(tls),
      on_refused_(std::move(on_refused)) {}

PeerTransport::~PeerTransport() = default;

void PeerTransport::Bind(sync::Driver& driver) {
  context_.emplace(StreamContext{driver, streams_, queue_, bulk_, env_});
}

void PeerTransport::AddTo(Methods& methods) {
  methods.try_emplace(
      "/podmirror.v1.Peer/Exchange",
      [this](const std::shared_ptr<ServerCall>& call) { Accept(call); }, Method::Open::kToPeers);
}

void PeerTransport::Accept(const std::shared_ptr<ServerCall>& call) {
  const Caller caller = callers_.Of(call->context());
  const bool plain = tls_.mode != PeerTls::Mode::kRequire;
  if (const Status status = callers_.CheckPeer(caller, plain); !status.ok()) {
    callers_.Refused(call->context());
    on_refused_(IpOf(call->context().peer()), status.message());
    call->Finish(status);
    return;
  }
  AcceptedStream::Accept(call, caller.certificate, *context_);
  // Our credentials may have changed meanwhile: then CheckPeers has not seen this stream.
  if (!callers_.CheckPeer(caller, plain).ok()) CheckPeers();
}

void PeerTransport::Dial(sync::ConnId conn, const PodRecord& peer, bool legacy) {
  const Result<Way> way = WayTo(peer, legacy);
  if (!way.ok()) {
    context_->driver.Closed(conn, way.status());
    return;
  }
  const Status status = legacy ? LegacyStream::Dial(conn, *way, peer, *context_, metrics_)
                               : DialledStream::Dial(conn, *way, *context_);
  if (!status.ok()) context_->driver.Closed(conn, status);
}

Result<Way> PeerTransport::WayTo(const PodRecord& peer, bool legacy) {
  Way way;
  PodRecord at = peer;
  const auto leads_to = std::make_shared<DialledPeer>();
  if (UseTls(peer, legacy, leads_to)) {
    way.keyring = tls_.keyring;
    way.peer = leads_to;
    if (at.port == tls_.plain_port) at.port = tls_.tls_port;
  }
  Result<std::string> target = net::GrpcTargetOf(at);
  if (!target.ok()) return target.status();
  way.target = std::move(*target);
  return way;
}

// With kPrefer: after an attempt with TLS that nobody answered by a certificate, the next is made
// without. One that was answered by a wrong certificate is not: whoever can cut a connection could
// else choose that there is no TLS.
bool PeerTransport::UseTls(const PodRecord& peer, bool legacy,
                           const std::shared_ptr<DialledPeer>& leads_to) {
  if (tls_.mode != PeerTls::Mode::kPrefer) return tls_.mode == PeerTls::Mode::kRequire;
  absl::MutexLock lock(&mu_);
  if (tries_.size() >= kMaxTries) tries_.clear();
  Try& last = tries_[peer.id()];
  // What an old service is asked follows what it was asked in vain, the same way.
  const bool in_vain = last.tls && !last.led_to->presented() && !last.led_to->refusal();
  const bool tls = legacy ? last.tls : !in_vain;
  last = {tls, leads_to};
  return tls;
}

void PeerTransport::CheckPeers() {
  if (tls_.keyring == nullptr) return;
  const std::shared_ptr<const trust::Credentials> current = tls_.keyring->current();
  for (const auto& stream : streams_.All()) {
    const std::shared_ptr<const trust::Presented> presented = stream->presented();
    if (presented == nullptr) continue;
    // Not kRefused: by now it may have another certificate, as when the old authority goes last.
    // The stream is dialled again soon, and then judged by what is presented then.
    if (const Status status = presented->CheckPeer(*current); !status.ok()) {
      stream->Close({Code::kUnavailable, status.message()});
    }
  }
}

void PeerTransport::Wake(sync::ConnId conn) {
  if (const auto stream = streams_.Find(conn)) stream->Wake();
}

void PeerTransport::Close(sync::ConnId conn) {
  if (const auto stream = streams_.Find(conn)) {
    stream->Close({Code::kUnavailable, "closed by the peer"});
  }
}

bool PeerTransport::Stop(absl::Duration timeout) { return streams_.Stop(timeout); }

}  // namespace podmirror::rpc
