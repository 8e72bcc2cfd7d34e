// What somebody may do: a list of grants, each some verbs on the keys of some types below a prefix.
// Whatever no grant names is forbidden.
// Thread safety: plain values.
// Invariants: (1) the types of a grant rise, none is there twice; none at all stands for every
// type.
//             (2) an empty prefix stands for every key.
//             (3) one grant has to cover a whole request: two that cover a half each do not.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace podmirror::trust {

enum class Verb : std::uint8_t {
  kRead,     // get and list
  kWatch,    // be told of each change
  kWrite,    // put and touch
  kDelete,   // delete
  kStatus,   // status, peers, tls, types
  kMetrics,  // metrics
  kAdmin,    // change how the daemon runs
};

inline constexpr std::array kVerbs = {Verb::kRead,   Verb::kWatch,   Verb::kWrite, Verb::kDelete,
                                      Verb::kStatus, Verb::kMetrics, Verb::kAdmin};

// "read", "watch" and so on, as the file of rules has it.
std::string_view ToString(Verb verb);

class VerbSet {
 public:
  constexpr VerbSet() = default;
  constexpr VerbSet(std::initializer_list<Verb> verbs) {
    for (const Verb verb : verbs) Add(verb);
  }

  constexpr void Add(Verb verb) { bits_ |= Bit(verb); }
  constexpr void Add(VerbSet verbs) { bits_ |= verbs.bits_; }
  constexpr bool Has(Verb verb) const { return (bits_ & Bit(verb)) != 0; }
  constexpr bool empty() const { return bits_ == 0; }
  constexpr bool operator==(const VerbSet&) const = default;

 private:
  static constexpr std::uint32_t Bit(Verb verb) { return 1u << static_cast<unsigned>(verb); }

  std::uint32_t bits_ = 0;
};

struct Grant {
  VerbSet verbs;
  std::vector<std::int32_t> types;
  std::string prefix;

  bool operator==(const Grant&) const = default;
};

class Permissions {
 public:
  // Permits nothing.
  Permissions() = default;
  // Sorts the types of each grant, and drops those that are there twice.
  explicit Permissions(std::vector<Grant> grants);
  // Each verb on each key of each type.
  static Permissions Everything();

  // Asked for each request. Neither allocates nor looks at a grant when one allows everything.
  bool Allows(Verb verb, std::int32_t type, std::string_view key) const;
  // Some key of some type. What is not about keys, such as metrics, asks this.
  bool AllowsSome(Verb verb) const { return some_.Has(verb); }
  // Some key of this type.
  bool AllowsSomeOf(Verb verb, std::int32_t type) const;
  // Every key of this type.
  bool AllowsAllOf(Verb verb, std::int32_t type) const;
  // Every key of every type.
  bool AllowsAll(Verb verb) const { return all_.Has(verb); }

  const std::vector<Grant>& grants() const { return grants_; }

 private:
  std::vector<Grant> grants_;
  VerbSet some_;  // those of all grants
  VerbSet all_;   // those of the grants that have neither types nor a prefix
};

// Somebody who has shown who he is.
struct Subject {
  std::string name;                // for the audit
  std::vector<std::string> roles;  // where the permissions come from
  Permissions permissions;
};

}  // namespace podmirror::trust
