// What podmirror.v1.Follow answers beside the stream of changes: a follower's comparisons, and its
// copy. Each answer is a pure function of the cache. (The stream: watch_service.h.)
// Thread safety: calls come by the queue, answers are made by the bulk thread.
#pragma once

#include "base/byte_budget.h"
#include "base/status.h"
#include "cache/cache.h"
#include "net/bulk_thread.h"
#include "podmirror/v1/peer.pb.h"
#include "rpc/server_call.h"
#include "sync/driver.h"
#include "trust/access.h"

namespace podmirror::rpc {

// Who follows is told everything, also what others have deleted: kRefused unless it may watch all.
Status PermitFollower(const trust::Access& access, const trust::Asker& asker);

class FollowService final : public Service {
 public:
  // All must outlive this.
  FollowService(const sync::Driver& driver, const Cache& cache, net::BulkThread& bulk,
                const trust::Access& access)
      : driver_(driver), cache_(cache), bulk_(bulk), access_(access) {}

  void AddTo(Methods& methods) override;

 private:
  // `in`: the part of the frame that the request is.
  void Answer(const std::shared_ptr<UnaryCall>& call, google::protobuf::Message* in,
              const std::shared_ptr<v1::Frame>& frame);

  const sync::Driver& driver_;
  const Cache& cache_;
  net::BulkThread& bulk_;
  const trust::Access& access_;
  ByteBudget answers_{64 * 1024 * 1024};
};

}  // namespace podmirror::rpc
