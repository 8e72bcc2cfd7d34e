#include "rest/batch.h"

#include <cstdlib>
#include <limits>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "rest/target.h"

namespace podmirror::rest {
namespace {

using Json = nlohmann::json;

// Follows the document's fixed shape; whatever does not fit ends the parse. So depth is bounded and
// no tree is built.
class BatchReader final : public nlohmann::json_sax<Json> {
 public:
  BatchReader(const BatchLimits& limits, std::int64_t default_ttl_ms, std::string& text,
              std::vector<sync::WriteItem>& items)
      : limits_(limits), default_ttl_ms_(default_ttl_ms), text_(text), items_(items) {}

  std::optional<Refusal> TakeRefusal() { return std::move(refusal_); }
  std::size_t deletes() const { return deletes_; }

  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("a boolean"); }
  bool number_float(double, const string_t&) override { return Number(std::nullopt); }
  bool binary(binary_t&) override { return Unexpected("binary data"); }
  bool number_integer(std::int64_t number) override { return Number(number); }
  bool number_unsigned(std::uint64_t number) override {
    const bool fits = number <= std::numeric_limits<std::int32_t>::max();
    return Number(fits ? std::optional(static_cast<std::int64_t>(number)) : std::nullopt);
  }
  bool string(string_t& text) override;
  bool start_object(std::size_t) override;
  bool key(string_t& name) override;
  bool end_object() override;
  bool start_array(std::size_t) override;
  bool end_array() override;
  bool parse_error(std::size_t position, const std::string&, const Json::exception&) override {
    return Fail(Problem::kInvalidJson, absl::StrCat("not JSON at byte ", position));
  }

 private:
  enum class At : std::uint8_t {
    kStart,
    kTop,         // {"data":…,"delete":…}
    kSetList,     // data: […]
    kSet,         // {"type":…,"data":…,"ttl":…}
    kSetMap,      // {"k":…}
    kBase64,      // {"base64":…}
    kDeleteList,  // delete: […]
    kDelete,      // {"type":…,"keys":…}
    kKeyList,     // keys: […]
    kEnd,
  };
  // Fields seen so far in the document and in the current list item.
  enum Seen : unsigned {
    kData = 1,
    kDeleteField = 2,
    kType = 4,
    kItemData = 8,
    kTtl = 16,
    kKeys = 32
  };

  bool Fail(Problem problem, std::string detail) {
    refusal_ = {problem, std::move(detail)};
    return false;
  }
  bool Unexpected(std::string_view what) {
    return Fail(Problem::kInvalidJson, absl::StrCat(Where(), ": unexpected ", std::string(what)));
  }
  std::string Where() const;
  bool TakeFieldName(const std::string& name);
  bool Once(Seen field);
  bool Number(std::optional<std::int64_t> number);
  bool AddKey(const std::string& key, bool remove);
  bool SetValue(std::string_view value);
  bool EndItem(Seen content, std::string_view content_name);
  std::string_view Keep(std::string_view bytes);

  const BatchLimits limits_;
  const std::int64_t default_ttl_ms_;
  std::string& text_;
  std::vector<sync::WriteItem>& items_;
  std::size_t deletes_ = 0;
  std::optional<Refusal> refusal_;

  At at_ = At::kStart;
  unsigned seen_ = 0;
  Seen field_ = kData;     // the field whose value comes next; valid in kTop, kSet, kDelete
  std::size_t index_ = 0;  // of the current list item
  std::size_t first_ = 0;  // its first entry in items_; its type may come after its keys
  std::int32_t type_ = 0;  // valid when seen_ has kType
  std::int64_t ttl_ms_ = 0;
  bool base64_done_ = false;  // valid in kBase64
};

std::string BatchReader::Where() const {
  switch (at_) {
    case At::kStart:
    case At::kTop:
    case At::kEnd:
      return "the document";
    case At::kSetList:
      return "data";
    case At::kDeleteList:
      return "delete";
    case At::kSet:
      return absl::StrCat("data[", index_, "]");
    case At::kDelete:
    case At::kKeyList:
      return absl::StrCat("delete[", index_, "]");
    case At::kSetMap:
    case At::kBase64:
      if (items_.size() == first_) return absl::StrCat("data[", index_, "].data");
      return absl::StrCat("data[", index_, "], key \"", std::string(items_.back().key), "\"");
  }
  std::abort();
}

std::string_view BatchReader::Keep(std::string_view bytes) {
  // JSON never encodes shorter than what it stands for; a reallocation would break all views.
  if (text_.capacity() - text_.size() < bytes.size()) std::abort();
  const std::size_t begin = text_.size();
  text_.append(bytes);
  return std::string_view(text_).substr(begin);
}

bool BatchReader::Once(Seen field) {
  if ((seen_ & field) != 0) {
    return Fail(Problem::kInvalidJson, absl::StrCat(Where(), ": a field is given twice"));
  }
  seen_ |= field;
  field_ = field;
  return true;
}

bool BatchReader::TakeFieldName(const std::string& name) {
  if (at_ == At::kTop && name == "data") return Once(kData);
  if (at_ == At::kTop && name == "delete") return Once(kDeleteField);
  if ((at_ == At::kSet || at_ == At::kDelete) && name == "type") return Once(kType);
  if (at_ == At::kSet && name == "data") return Once(kItemData);
  if (at_ == At::kSet && name == "ttl") return Once(kTtl);
  if (at_ == At::kDelete && name == "keys") return Once(kKeys);
  if (at_ == At::kBase64 && name == "base64") {
    // A second "base64" is refused where its value comes.
    return true;
  }
  return Fail(Problem::kInvalidJson, absl::StrCat(Where(), ": unknown field \"", name, "\""));
}

bool BatchReader::key(string_t& name) {
  return at_ == At::kSetMap ? AddKey(name, false) : TakeFieldName(name);
}

bool BatchReader::AddKey(const std::string& key, bool remove) {
  if (!IsValidKey(key) || key.size() > limits_.max_key_bytes) {
    return Fail(
        Problem::kInvalidKey,
        absl::StrCat(remove ? "delete[" : "data[", index_, "], key \"", key.substr(0, 64),
                     "\": a key is 1 to ", limits_.max_key_bytes, " bytes of UTF-8 without NUL"));
  }
  if (items_.size() == kMaxBatchItems) {
    return Fail(Problem::kBatchTooLarge, absl::StrCat("over ", kMaxBatchItems, " items"));
  }
  items_.push_back({.type = 0, .key = Keep(key), .value = {}, .remove = remove, .ttl_ms = 0});
  if (remove) ++deletes_;
  return true;
}

bool BatchReader::SetValue(std::string_view value) {
  if (value.size() > limits_.max_value_bytes) {
    return Fail(Problem::kValueTooLarge,
                absl::StrCat(Where(), ": the value is over ", limits_.max_value_bytes, " bytes"));
  }
  items_.back().value = Keep(value);
  return true;
}

bool BatchReader::string(string_t& text) {
  if (at_ == At::kSetMap) return SetValue(text);
  if (at_ == At::kKeyList) return AddKey(text, true);
  if (at_ == At::kBase64) {
    std::string decoded;
    if (base64_done_ || !absl::Base64Unescape(text, &decoded)) {
      return Fail(Problem::kInvalidJson, absl::StrCat(Where(), ": not one base64 text"));
    }
    base64_done_ = true;
    return SetValue(decoded);
  }
  if (at_ == At::kSet && field_ == kTtl) {
    auto refusal = ParseTtl(text, ttl_ms_);
    return !refusal || Fail(refusal->problem, absl::StrCat(Where(), ": ", refusal->detail));
  }
  if (field_ == kType) return Number(std::nullopt);
  return Unexpected("string");
}

bool BatchReader::Number(std::optional<std::int64_t> number) {
  const bool is_type = (at_ == At::kSet || at_ == At::kDelete) && field_ == kType;
  if (!is_type) return Unexpected("number");
  using Limits = std::numeric_limits<std::int32_t>;
  if (!number || *number < Limits::min() || *number > Limits::max()) {
    return Fail(Problem::kInvalidType, absl::StrCat(Where(), ": type must be a 32-bit integer"));
  }
  type_ = static_cast<std::int32_t>(*number);
  return true;
}

bool BatchReader::start_object(std::size_t) {
  switch (at_) {
    case At::kStart:
      at_ = At::kTop;
      return true;
    case At::kSetList:
    case At::kDeleteList:
      at_ = at_ == At::kSetList ? At::kSet : At::kDelete;
      seen_ &= kData | kDeleteField;
      first_ = items_.size();
      ttl_ms_ = default_ttl_ms_;
      return true;
    case At::kSet:
      if (field_ != kItemData) break;
      at_ = At::kSetMap;
      return true;
    case At::kSetMap:
      at_ = At::kBase64;
      base64_done_ = false;
      return true;
    default:
      break;
  }
  return Unexpected("object");
}

bool BatchReader::end_object() {
  switch (at_) {
    case At::kTop:
      at_ = At::kEnd;
      return true;
    case At::kSetMap:
      at_ = At::kSet;
      return true;
    case At::kBase64:
      if (!base64_done_) {
        return Fail(Problem::kInvalidJson, absl::StrCat(Where(), ": base64 is missing"));
      }
      at_ = At::kSetMap;
      return true;
    case At::kSet:
      return EndItem(kItemData, "data");
    case At::kDelete:
      return EndItem(kKeys, "keys");
    default:
      std::abort();
  }
}

bool BatchReader::EndItem(Seen content, std::string_view content_name) {
  if ((seen_ & kType) == 0) {
    return Fail(Problem::kInvalidType, absl::StrCat(Where(), ": type is missing"));
  }
  if ((seen_ & content) == 0) {
    return Fail(Problem::kInvalidJson,
                absl::StrCat(Where(), ": ", std::string(content_name), " is missing"));
  }
  for (std::size_t i = first_; i < items_.size(); ++i) {
    items_[i].type = type_;
    items_[i].ttl_ms = items_[i].remove ? 0 : ttl_ms_;
  }
  at_ = at_ == At::kSet ? At::kSetList : At::kDeleteList;
  ++index_;
  return true;
}

bool BatchReader::start_array(std::size_t) {
  if (at_ == At::kTop) {
    at_ = field_ == kData ? At::kSetList : At::kDeleteList;
    index_ = 0;
    return true;
  }
  if (at_ == At::kDelete && field_ == kKeys) {
    at_ = At::kKeyList;
    return true;
  }
  return Unexpected("array");
}

bool BatchReader::end_array() {
  at_ = at_ == At::kKeyList ? At::kDelete : At::kTop;
  return true;
}

std::optional<Refusal> RefuseDuplicates(const std::vector<sync::WriteItem>& items) {
  absl::flat_hash_set<std::pair<std::int32_t, std::string_view>> seen;
  seen.reserve(items.size());
  for (const sync::WriteItem& item : items) {
    if (seen.emplace(item.type, item.key).second) continue;
    return Refusal{Problem::kInvalidJson, absl::StrCat("type ", item.type, ", key \"",
                                                       std::string(item.key), "\" is given twice")};
  }
  return std::nullopt;
}

}  // namespace

std::optional<Refusal> Batch::Parse(std::string_view body, const BatchLimits& limits,
                                    std::int64_t default_ttl_ms) {
  text_.reserve(body.size());
  BatchReader reader(limits, default_ttl_ms, text_, items_);
  std::optional<Refusal> refusal;
  if (Json::sax_parse(body.begin(), body.end(), &reader)) {
    deletes_ = reader.deletes();
    refusal = RefuseDuplicates(items_);
  } else {
    refusal = reader.TakeRefusal();
  }
  if (refusal) items_.clear();
  return refusal;
}

}  // namespace podmirror::rest
