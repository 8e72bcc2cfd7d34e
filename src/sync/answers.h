// The answers of a repair pass and of a copy: pure functions of the answerer's cache, which keep no
// state between requests. What a pass is: pass.h.
// Thread safety: any thread.
#pragma once

#include <cstdint>
#include <variant>

#include "cache/cache.h"
#include "sync/message.h"
#include "sync/transfer.h"

namespace podmirror::sync {

// What an answer needs to know of the asker.
struct Asker {
  std::uint64_t floor = 0;  // its purge floor, as it last told
  bool fragments = false;   // it has kFragmentsFeature
};

// A request with what the answer needs to know beside the cache, so that the answer can be made
// without the driver's lock; or a fragment to be cut.
struct Question {
  std::variant<SumsRequest, Offer, Fetch, FragmentRequest, Slice> request;
  Asker asker;
};
Message Answer(const Cache& cache, const Question& question);

Sums AnswerSums(const Cache& cache, const SumsRequest& request);
OfferReply AnswerOffer(const Cache& cache, const Offer& offer, const Asker& asker);
// One chunk of the copy. Everything that is in the cache throughout the copy is in some chunk, but
// for large entries where the asker takes fragments: the pass that checks the copy brings these.
FetchReply AnswerFetch(const Cache& cache, const Fetch& fetch, const Asker& asker);
// Of the version asked for, else of a newer one, then from its start.
Fragment AnswerFragment(const Cache& cache, const FragmentRequest& request);

}  // namespace podmirror::sync
