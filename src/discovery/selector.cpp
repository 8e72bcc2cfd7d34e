#include "discovery/selector.h"

#include <absl/strings/ascii.h>

#include <algorithm>

namespace podmirror::discovery {

// One token ahead is enough: a selector is a list of requirements separated by commas.
class SelectorParser {
 public:
  explicit SelectorParser(std::string_view text) : text_(text) {}

  Result<Selector> Parse() {
    Selector selector;
    SkipBlanks();
    if (at_ == text_.size()) return selector;
    do {
      if (Status status = ParseRequirement(selector); !status.ok()) return status;
    } while (Take(","));
    if (at_ != text_.size()) return Error("',' expected");
    return selector;
  }

 private:
  using Op = Selector::Op;

  Status ParseRequirement(Selector& selector) {
    Selector::Requirement requirement;
    const bool negated = Take("!");
    requirement.key = Word();
    if (requirement.key.empty()) return Error("label name expected");
    if (negated) {
      requirement.op = Op::kNotExists;
    } else if (Take("!=")) {
      requirement.op = Op::kNotIn;
      requirement.values = {Word()};
    } else if (Take("==") || Take("=")) {
      requirement.op = Op::kIn;
      requirement.values = {Word()};
    } else if (const std::string word = Word(); word == "in" || word == "notin") {
      requirement.op = word == "in" ? Op::kIn : Op::kNotIn;
      if (Status status = ParseSet(requirement); !status.ok()) return status;
    } else if (!word.empty()) {
      return Error("'=', '!=', 'in' or 'notin' expected");
    }
    selector.requirements_.push_back(std::move(requirement));
    return Status();
  }

  Status ParseSet(Selector::Requirement& requirement) {
    if (!Take("(")) return Error("'(' expected");
    do {
      requirement.values.push_back(Word());
    } while (Take(","));
    return Take(")") ? Status() : Error("')' expected");
  }

  bool Take(std::string_view token) {
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    SkipBlanks();
    return true;
  }

  // Letters, digits and "-_./": what label names and values are made of. May be empty.
  std::string Word() {
    const std::size_t start = at_;
    while (at_ < text_.size() && (absl::ascii_isalnum(static_cast<unsigned char>(text_[at_])) ||
                                  std::string_view("-_./").find(text_[at_]) != text_.npos)) {
      ++at_;
    }
    std::string word(text_.substr(start, at_ - start));
    SkipBlanks();
    return word;
  }

  void SkipBlanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }

  Status Error(const std::string& what) const {
    return Status(Code::kInvalid, "selector: " + what + " at character " + std::to_string(at_ + 1) +
                                      " of \"" + std::string(text_) + "\"");
  }

  const std::string_view text_;
  std::size_t at_ = 0;
};

Result<Selector> Selector::Parse(std::string_view text) { return SelectorParser(text).Parse(); }

bool Selector::Matches(const std::vector<std::pair<std::string, std::string>>& labels) const {
  return std::all_of(requirements_.begin(), requirements_.end(), [&](const Requirement& wanted) {
    const auto label = std::lower_bound(
        labels.begin(), labels.end(), wanted.key,
        [](const auto& entry, const std::string& key) { return entry.first < key; });
    const bool exists = label != labels.end() && label->first == wanted.key;
    const bool listed = exists && std::find(wanted.values.begin(), wanted.values.end(),
                                            label->second) != wanted.values.end();
    switch (wanted.op) {
      case Op::kIn:
        return listed;
      case Op::kNotIn:
        return !listed;
      case Op::kExists:
        return exists;
      case Op::kNotExists:
        return !exists;
    }
    return false;
  });
}

}  // namespace podmirror::discovery
