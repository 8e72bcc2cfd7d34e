#include "wire/codec_conditions.h"

#include <string>

#include "sync/run.h"

namespace podmirror::wire {
namespace {

static_assert(v1::FEATURE_CONDITIONS == sync::kConditionsFeature);

// Strictly rising places below `end` bound the count.
template <typename Wire, typename T>
Status CheckPlace(const Wire& next, std::size_t end, const std::vector<T>& before) {
  if (next.place() < end && (before.empty() || next.place() > before.back().first)) return {};
  return {Code::kInvalid, "place out of range or order: " + std::to_string(next.place())};
}

}  // namespace

void PutBase(const sync::Base& from, v1::Base* to) {
  to->set_hlc(from.version.hlc);
  to->set_origin(from.version.origin);
  to->set_absent(from.absent);
  to->set_apart(from.apart);
}

sync::Base TakeBase(const v1::Base& from) {
  return {{from.hlc(), from.origin()}, from.absent(), from.apart()};
}

void PutVerdict(const sync::Verdict& from, v1::Verdict* to) {
  to->set_winner_hlc(from.winner.hlc);
  to->set_winner_origin(from.winner.origin);
}

sync::Verdict TakeVerdict(const v1::Verdict& from) {
  const Version winner{from.winner_hlc(), from.winner_origin()};
  return {winner == Version{} ? sync::Verdict::kFine : sync::Verdict::kLost, winner};
}

void PutBases(const Bases& from, google::protobuf::RepeatedPtrField<v1::Base>* to) {
  to->Reserve(static_cast<int>(from.size()));
  for (const auto& [place, base] : from) {
    PutBase(base, to->Add());
    to->rbegin()->set_place(place);
  }
}

Status TakeBases(const google::protobuf::RepeatedPtrField<v1::Base>& from, std::size_t entries,
                 Bases* to) {
  for (const v1::Base& base : from) {
    if (Status status = CheckPlace(base, entries, *to); !status.ok()) return status;
    to->emplace_back(base.place(), TakeBase(base));
  }
  return {};
}

void PutVerdicts(const Verdicts& from, google::protobuf::RepeatedPtrField<v1::Verdict>* to) {
  to->Reserve(static_cast<int>(from.size()));
  for (const auto& [place, verdict] : from) {
    PutVerdict(verdict, to->Add());
    to->rbegin()->set_place(place);
  }
}

Status TakeVerdicts(const google::protobuf::RepeatedPtrField<v1::Verdict>& from, Verdicts* to) {
  for (const v1::Verdict& verdict : from) {
    if (Status status = CheckPlace(verdict, sync::kBatchEntries, *to); !status.ok()) return status;
    to->emplace_back(verdict.place(), TakeVerdict(verdict));
  }
  return {};
}

}  // namespace podmirror::wire
