// Writes, reads and lists entries. Usage: example HOST:PORT...
#include <podmirror/client/client.h>

#include <iostream>

int main(int argc, char** argv) {
  podmirror::client::Options options;
  options.peers.assign(argv + 1, argv + argc);  // a DNS name stands for all its addresses
  const auto made = podmirror::client::Client::New(options);
  if (!made.ok()) {
    std::cerr << made.status().ToString() << "\n";
    return 2;
  }
  podmirror::client::Client& cache = **made;

  const auto set = cache.Set({{1, "greeting", "hello, pods"}, {1, "answer", "42"}});
  if (!set.ok()) {
    const bool perhaps = set.status().code() == podmirror::Code::kUncertain;
    std::cerr << (perhaps ? "perhaps" : "not") << " written: " << set.status().ToString() << "\n";
    return 1;
  }
  std::cout << set->count << " set, on " << set->acked << " of " << set->peers << " other pods\n";

  const auto greeting = cache.Get(1, "greeting");
  std::cout << (greeting.ok() ? greeting->value : greeting.status().ToString()) << "\n";

  const auto all = cache.GetAll({.types = {1}}, [](const podmirror::client::Entry& entry) {
    std::cout << entry.key << " = " << entry.value << "\n";
    return true;  // false: enough
  });
  return greeting.ok() && all.ok() ? 0 : 1;
}
