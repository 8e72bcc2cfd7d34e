// Watchers are readers of the daemons' changes. Each keeps a copy of what it is told, reads when
// chance lets it, goes away and comes back with its token, and takes another daemon when its own
// has ended.
//
//   versions   of each key no version goes back between two resets, and what is gone comes back
//   only
//              at a newer one
//   nothing is missed   a reader that has been told all that there is holds what its daemon holds
//
// Their chance is one of their own: without them a seed gives the same run.
// Thread safety: none; one thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "sim/sim_world.h"
#include "sim/witness.h"
#include "watch/watcher.h"

namespace podmirror::sim {

class Watchers {
 public:
  // Both must outlive it.
  Watchers(SimWorld& world, Witness& witness, std::uint64_t seed);

  // Some of them read.
  void Read();
  // Once all is quiet: each reads to the end, and is there.
  void CheckQuiet();

 private:
  struct Held {
    Version version;
    bool live = false;
    WallMs expires_at = 0;
  };
  struct Reader {
    std::vector<std::int32_t> types;
    std::string prefix;
    Process* at = nullptr;
    std::unique_ptr<watch::Watcher> watcher;
    std::optional<watch::Token> token;
    std::map<std::pair<std::int32_t, std::string>, Held> copy;
    bool synced = false;
  };

  bool OneIn(std::uint64_t n) { return random_() % n == 0; }
  watch::Feeds& FeedsOf(Process& process);
  // Where it can watch one that serves.
  void Open(Reader& reader);
  // Reads one part, if there is any; returns whether there may be more at once.
  bool ReadPart(Reader& reader);
  void Take(Reader& reader, const watch::Event& event);
  void CheckCopy(const Reader& reader);
  void Fail(const Reader& reader, const std::string& what);

  SimWorld& world_;
  Witness& witness_;
  std::mt19937_64 random_;
  std::map<const Process*, std::unique_ptr<watch::Feeds>> feeds_;
  std::vector<Reader> readers_;
};

}  // namespace podmirror::sim
