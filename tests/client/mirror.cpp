// Keeps a copy of all entries, and shows one. Usage: example HOST:PORT...
#include <podmirror/client/mirror.h>

#include <chrono>
#include <iostream>

int main(int argc, char** argv) {
  podmirror::client::Options options;
  options.peers.assign(argv + 1, argv + argc);
  const auto made = podmirror::client::Mirror::New(options);
  if (!made.ok()) {
    std::cerr << made.status().ToString() << "\n";
    return 2;
  }
  podmirror::client::Mirror& mirror = **made;
  if (!mirror.WaitSynced(std::chrono::seconds(10))) {
    std::cerr << mirror.Status().error << "\n";
    return 1;
  }
  const podmirror::client::MirrorEntry greeting = mirror.Get(1, "greeting");
  std::cout << (greeting ? greeting.value() : "none") << " of " << mirror.Status().entries << "\n";
  return greeting ? 0 : 1;
}
