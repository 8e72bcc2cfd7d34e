#include "rest/batch.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "rest/target.h"

#ifdef __SSE2__
#define RAPIDJSON_SSE2  // 16 bytes of a text at a time
#endif
#include "rapidjson/reader.h"

namespace podmirror::rest {
namespace {

// The parser looks at whole blocks of this size, the last of which may begin at the text's end.
constexpr std::size_t kPaddingBytes = 16;

// The front of a name, whole characters only, so that a refusal stays small. Requires: UTF-8.
std::string Shown(std::string_view name) {
  std::size_t size = std::min<std::size_t>(name.size(), 64);
  while (size < name.size() && (name[size] & 0xC0) == 0x80) --size;
  return std::string(name.substr(0, size));
}

// Follows the document's fixed shape; whatever does not fit ends the parse. So depth is bounded and
// no tree is built.
class BatchReader {
 public:
  BatchReader(const sync::ItemLimits& limits, std::int64_t default_ttl_ms, std::string& text,
              std::vector<sync::WriteItem>& items)
      : limits_(limits), default_ttl_ms_(default_ttl_ms), text_(text), items_(items) {}

  std::optional<Refusal> TakeRefusal() { return std::move(refusal_); }
  std::size_t deletes() const { return deletes_; }
  std::optional<std::size_t> touches() const { return touches_; }

  // The parser calls these, with texts that it has decoded in place in text_. Returning false ends
  // the parse.
  bool Null() { return Unexpected("null"); }
  bool Bool(bool) { return Unexpected("a boolean"); }
  bool Int(int number) { return Number(number); }
  bool Uint(unsigned number) { return Number(number); }
  bool Int64(std::int64_t number) { return Number(number); }
  bool Uint64(std::uint64_t) { return Number(std::nullopt); }
  bool Double(double) { return Number(std::nullopt); }
  bool RawNumber(const char*, unsigned, bool) { std::abort(); }  // only with a flag that is not set
  bool String(const char* text, unsigned size, bool);
  bool Key(const char* name, unsigned size, bool);
  bool StartObject();
  bool EndObject(unsigned);
  bool StartArray();
  bool EndArray(unsigned);
  bool NotJson(std::size_t offset) {
    return Fail(Problem::kInvalidJson, absl::StrCat("not JSON at byte ", offset + 1));
  }

 private:
  enum class At : std::uint8_t {
    kStart,
    kTop,         // {"data":…,"delete":…,"touch":…}
    kSetList,     // data: […]
    kSet,         // {"type":…,"data":…,"ttl":…}
    kSetMap,      // {"k":…}
    kBase64,      // {"base64":…}
    kDeleteList,  // delete: […]
    kDelete,      // {"type":…,"keys":…}
    kTouchList,   // touch: […]
    kTouch,       // {"type":…,"keys":…,"ttl":…}
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
    kKeys = 32,
    kTouchField = 64
  };
  // What the keys that come now are for.
  enum class For : std::uint8_t { kSet, kDelete, kTouch };

  bool Fail(Problem problem, std::string detail) {
    refusal_ = {problem, std::move(detail)};
    return false;
  }
  bool Unexpected(std::string_view what) {
    return Fail(Problem::kInvalidJson, absl::StrCat(Where(), ": unexpected ", std::string(what)));
  }
  std::string Where() const;
  std::string Item() const;  // the current list item
  bool TakeFieldName(std::string_view name);
  bool Once(Seen field);
  bool InItem() const { return at_ == At::kSet || at_ == At::kDelete || at_ == At::kTouch; }
  static At ListOf(For what) {
    return what == For::kSet      ? At::kSetList
           : what == For::kDelete ? At::kDeleteList
                                  : At::kTouchList;
  }
  bool CheckUtf8(std::string_view text);
  bool Number(std::optional<std::int64_t> number);
  bool AddKey(std::string_view key);
  bool SetValue(std::string_view value);
  bool EndItem(Seen content, std::string_view content_name);
  bool SetBase64(std::string_view text);

  const sync::ItemLimits limits_;
  const std::int64_t default_ttl_ms_;
  std::string& text_;
  std::vector<sync::WriteItem>& items_;
  std::size_t deletes_ = 0;
  std::optional<std::size_t> touches_;
  std::optional<Refusal> refusal_;

  At at_ = At::kStart;
  unsigned seen_ = 0;
  Seen field_ = kData;     // whose value comes next; valid in kTop, kSet, kDelete, kTouch
  For for_ = For::kSet;    // valid in the three lists and below
  std::size_t index_ = 0;  // of the current list item
  std::size_t first_ = 0;  // where its keys begin in items_; its type may come after them
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
    case At::kTouchList:
      return "touch";
    case At::kSet:
    case At::kDelete:
    case At::kTouch:
    case At::kKeyList:
      return Item();
    case At::kSetMap:
    case At::kBase64:
      if (items_.size() == first_) return Item() + ".data";
      return absl::StrCat(Item(), ", key \"", std::string(items_.back().key), "\"");
  }
  std::abort();
}

std::string BatchReader::Item() const {
  const char* const list = for_ == For::kSet      ? "data["
                           : for_ == For::kDelete ? "delete["
                                                  : "touch[";
  return absl::StrCat(list, index_, "]");
}

bool BatchReader::Once(Seen field) {
  if ((seen_ & field) != 0) {
    return Fail(Problem::kInvalidJson, absl::StrCat(Where(), ": a field is given twice"));
  }
  seen_ |= field;
  field_ = field;
  return true;
}

bool BatchReader::TakeFieldName(std::string_view name) {
  if (at_ == At::kTop && name == "data") return Once(kData);
  if (at_ == At::kTop && name == "delete") return Once(kDeleteField);
  if (at_ == At::kTop && name == "touch") return Once(kTouchField);
  if (InItem() && name == "type") return Once(kType);
  if (at_ == At::kSet && name == "data") return Once(kItemData);
  if ((at_ == At::kSet || at_ == At::kTouch) && name == "ttl") return Once(kTtl);
  if ((at_ == At::kDelete || at_ == At::kTouch) && name == "keys") return Once(kKeys);
  if (at_ == At::kBase64 && name == "base64") {
    // A second "base64" is refused where its value comes.
    return true;
  }
  return Fail(Problem::kInvalidJson,
              absl::StrCat(Where(), ": unknown field \"", Shown(name), "\""));
}

// The parser does not check that a text is UTF-8.
bool BatchReader::CheckUtf8(std::string_view text) {
  return IsUtf8(text) ||
         Fail(Problem::kInvalidJson, absl::StrCat(Where(), ": a text that is not UTF-8"));
}

bool BatchReader::Key(const char* name, unsigned size, bool) {
  const std::string_view text(name, size);
  if (!CheckUtf8(text)) return false;
  return at_ == At::kSetMap ? AddKey(text) : TakeFieldName(text);
}

bool BatchReader::AddKey(std::string_view key) {
  if (const std::string fault = sync::KeyFault(key, limits_); !fault.empty()) {
    return Fail(Problem::kInvalidKey, absl::StrCat(Item(), ", key \"", Shown(key), "\": ", fault));
  }
  if (items_.size() == sync::kMaxItems) {
    return Fail(Problem::kBatchTooLarge, absl::StrCat("over ", sync::kMaxItems, " items"));
  }
  items_.push_back({.type = 0,
                    .key = key,
                    .value = {},
                    .remove = for_ == For::kDelete,
                    .ttl_ms = 0,
                    .touch = for_ == For::kTouch});
  if (for_ == For::kDelete) ++deletes_;
  if (for_ == For::kTouch) ++*touches_;
  return true;
}

bool BatchReader::SetValue(std::string_view value) {
  if (const std::string fault = sync::ValueFault(value, limits_); !fault.empty()) {
    return Fail(Problem::kValueTooLarge, absl::StrCat(Where(), ": ", fault));
  }
  items_.back().value = value;
  return true;
}

bool BatchReader::SetBase64(std::string_view text) {
  std::string decoded;
  // The decoder lets spaces, other padding and bits left over pass: none of these comes back.
  if (base64_done_ || !absl::Base64Unescape({text.data(), text.size()}, &decoded) ||
      absl::Base64Escape(decoded) != absl::string_view(text.data(), text.size())) {
    return Fail(Problem::kInvalidJson, absl::StrCat(Where(), ": not one base64 text"));
  }
  base64_done_ = true;
  // The decoded bytes are never longer than their encoding, so they can take its place in text_.
  char* const at = text_.data() + (text.data() - text_.data());
  decoded.copy(at, decoded.size());
  return SetValue({at, decoded.size()});
}

bool BatchReader::String(const char* data, unsigned size, bool) {
  const std::string_view text(data, size);
  if (!CheckUtf8(text)) return false;
  if (at_ == At::kSetMap) return SetValue(text);
  if (at_ == At::kKeyList) return AddKey(text);
  if (at_ == At::kBase64) return SetBase64(text);
  if (InItem() && field_ == kTtl) {
    auto refusal = ParseTtl(text, ttl_ms_);
    return !refusal || Fail(refusal->problem, absl::StrCat(Where(), ": ", refusal->detail));
  }
  if (field_ == kType) return Number(std::nullopt);
  return Unexpected("string");
}

bool BatchReader::Number(std::optional<std::int64_t> number) {
  if (!InItem() || field_ != kType) return Unexpected("number");
  using Limits = std::numeric_limits<std::int32_t>;
  if (!number || *number < Limits::min() || *number > Limits::max()) {
    return Fail(Problem::kInvalidType, absl::StrCat(Where(), ": type must be a 32-bit integer"));
  }
  type_ = static_cast<std::int32_t>(*number);
  return true;
}

bool BatchReader::StartObject() {
  switch (at_) {
    case At::kStart:
      at_ = At::kTop;
      return true;
    case At::kSetList:
    case At::kDeleteList:
    case At::kTouchList:
      at_ = for_ == For::kSet ? At::kSet : for_ == For::kDelete ? At::kDelete : At::kTouch;
      seen_ &= kData | kDeleteField | kTouchField;
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

bool BatchReader::EndObject(unsigned) {
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
    case At::kTouch:
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
  if (for_ == For::kTouch && ttl_ms_ == 0) {
    return Fail(Problem::kInvalidTtl, absl::StrCat(Where(), ": ttl is missing"));
  }
  for (std::size_t i = first_; i < items_.size(); ++i) {
    items_[i].type = type_;
    items_[i].ttl_ms = items_[i].remove ? 0 : ttl_ms_;
  }
  at_ = ListOf(for_);
  ++index_;
  return true;
}

bool BatchReader::StartArray() {
  if (at_ == At::kTop) {
    for_ = field_ == kData ? For::kSet : field_ == kDeleteField ? For::kDelete : For::kTouch;
    if (for_ == For::kTouch) touches_ = 0;
    at_ = ListOf(for_);
    index_ = 0;
    return true;
  }
  if ((at_ == At::kDelete || at_ == At::kTouch) && field_ == kKeys) {
    at_ = At::kKeyList;
    return true;
  }
  return Unexpected("array");
}

bool BatchReader::EndArray(unsigned) {
  const At item = for_ == For::kDelete ? At::kDelete : At::kTouch;
  at_ = at_ == At::kKeyList ? item : At::kTop;
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

std::optional<Refusal> Batch::Parse(std::string_view body, const sync::ItemLimits& limits,
                                    std::int64_t default_ttl_ms) {
  text_.reserve(body.size() + kPaddingBytes);
  text_.assign(body).append(kPaddingBytes, '\0');
  BatchReader reader(limits, default_ttl_ms, text_, items_);
  rapidjson::InsituStringStream stream(text_.data());
  const auto result = rapidjson::Reader().Parse<rapidjson::kParseInsituFlag>(stream, reader);
  // The parser stops at a NUL: a body that goes on behind one is not JSON.
  if (result.IsError() ? result.Code() != rapidjson::kParseErrorTermination
                       : stream.Tell() != body.size()) {
    reader.NotJson(result.IsError() ? result.Offset() : stream.Tell());
  }
  std::optional<Refusal> refusal = reader.TakeRefusal();
  if (!refusal) {
    deletes_ = reader.deletes();
    touches_ = reader.touches();
    refusal = RefuseDuplicates(items_);
  }
  if (refusal) items_.clear();
  std::stable_partition(items_.begin(), items_.end(),
                        [](const sync::WriteItem& item) { return !item.touch; });
  return refusal;
}

}  // namespace podmirror::rest
