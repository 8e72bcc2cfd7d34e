// A Script plays one scenario: commands go to a simulated cluster without chance, and what happens
// comes back as text.
//
//   start N | crash N | vanish N    a new daemon; killed; gone with its node (nobody answers)
//   pause N | continue N            SIGSTOP, SIGCONT
//   unlist N                        the record of a pod that does not run is deleted
//   cut A B | mend A B              the network between two pods
//   put N KEY=VALUE [ack=all] [timeout=1s] [ttl=0s]
//   delete N KEY [ack=all] [timeout=1s]
//   fill N ENTRIES BYTES            that many entries of that size, not waited for
//   run 500ms | run 5s              time passes
//   show N                          what a daemon holds and how it sees its peers
//   compare                         do all daemons that run hold the same?
// Thread safety: none.
#pragma once

#include <string>
#include <string_view>
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
  void Say(const std::string& text);
  void SayPod(int pod, const std::string& text);
  void Dispatch(const std::vector<std::string>& words);
  void Write(const std::vector<std::string>& words, bool remove);
  void Fill(int pod, int entries, int bytes);
  void Show(int pod);
  void Compare();

  sim::SimWorld world_;
  std::vector<std::string> lines_;
};

}  // namespace podmirror::scenario
