// A Script plays one scenario: commands go to a simulated cluster without chance, and what happens
// comes back as text. Pods are numbers; each is named pod-N, its UID is uid-N.
//
// Pods
//   fleet N                         pods 1 to N, one a second; all ready, or it is an error.
//                                   Nothing of it is recorded
//   start N [at=A]                  a new daemon, or the container of pod N again; at=A: a new pod
//                                   gets the address of pod A, which does not run any more
//   crash N | vanish N              killed; gone with its node (nobody answers)
//   pause N | continue N            SIGSTOP, SIGCONT
//   drain N                         SIGTERM; killed after 30 s
//   terminate N 5s                  deleted: its record says so at once, drain comes 5 s later
//   skew N 25h                      its wall clock differs that much from the true time
// Records, and who hears of them
//   record N                        of a pod whose daemon does not run yet
//   old N                           a pod that speaks only hellorpc, Ready
//   foreign N                       a pod whose daemon is of another cluster, alone there
//   blind N M | sighted N M         pod N is not shown pod M, and again
//   unlist N | list N               the record is deleted, and there again
//   discovery N silent|late|usual   what pod N hears of records: nothing; 5 s late; 0.3 s late
// Network
//   cut A B | mend A B              between two pods
//   cut-way A B                     only what A sends to B
//   slow A B 300ms [BYTES]          so much longer on the way, and so many bytes a millisecond
//   reset A B                       their streams end, and what is on its way is lost
// Data
//   put N KEY=VALUE [ack=all] [timeout=1s] [ttl=0s] [if=M]
//   delete N KEY [ack=all] [timeout=1s] [if=M]: if=M, on the version that pod M holds now, or on
//       nothing where it holds nothing
//   put-here N KEY=VALUE            stored on that pod and not sent on, as by hellorpc.Sync.Set
//   fill N ENTRIES BYTES            that many entries of that size, not waited for
// Time
//   run 500ms | run 5s
// What to look at
//   get N KEY                       what a reader gets, and its version as a time
//   show N                          what a daemon holds and how it sees its peers
//   compare                         do all daemons that run hold the same?
//   wire A B | wire off             from now on, what these two say to each other (no heartbeats)
//   hide KIND...                    from now on, events of these kinds are not recorded
// Settings, of daemons that start later
//   set NAME=VALUE...               backlog, max-memory (sizes), ttl (tombstone-ttl),
//                                   repair-interval, bootstrap-timeout, bootstrap-alone, cluster,
//                                   restart-seen (how long a record says the old start)
//   set static=true                 of all, at once: discovery has addresses and no records
//   set tick=1s                     of all, at once: how seldom Tick is called, to run for hours
// Thread safety: none.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/sim_world.h"

namespace podmirror::scenario {

class Script {
 public:
  Script();

  // Carries out one command; returns the lines that it led to. Throws std::runtime_error where the
  // command is wrong.
  std::vector<std::string> Do(std::string_view command);

 private:
  // The words of a command, the verb first. Each throws where the word is missing or wrong.
  struct Words {
    std::vector<std::string> words;
    const std::string& At(std::size_t at) const;
    int Pod(std::size_t at) const;
  };

  void Watch();
  void AddPodVerbs();
  void AddOtherVerbs();
  int Running(const Words& words, std::size_t at) const;
  void Say(const std::string& text);
  void SayPod(int pod, const std::string& text);

  void Fleet(int pods);
  void Start(const Words& words);
  void Discovery(const Words& words);
  void Write(const Words& words, bool remove);
  void WriteHere(const Words& words);
  void Fill(int pod, std::int64_t entries, std::int64_t bytes);
  void Get(int pod, const std::string& key);
  void Show(int pod);
  void Compare();
  void Set(const std::string& setting);

  sim::SimWorld world_;
  std::map<std::string_view, std::function<void(const Words&)>> verbs_;
  std::set<std::string> hidden_;    // kinds of events
  std::set<int> wire_;              // two pods, or none
  bool mute_ = false;               // nothing is recorded
  std::vector<std::string> lines_;  // that the present command has led to
};

}  // namespace podmirror::scenario
