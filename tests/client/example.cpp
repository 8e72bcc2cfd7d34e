// Writes, reads and lists entries. Usage: example HOST:PORT[,HOST:PORT...]
#include <podmirror/client/client.h>

#include <iostream>
#include <sstream>

namespace client = podmirror::client;

int main(int argc, char** argv) {
  client::Options options;
  std::istringstream peers(argc > 1 ? argv[1] : "127.0.0.1:7070");
  for (std::string peer; std::getline(peers, peer, ',');) options.peers.push_back(peer);
  const auto cache = client::Client::New(options);
  if (!cache.ok()) {
    std::cerr << cache.status().ToString() << "\n";
    return 2;
  }

  const auto set = (*cache)->Set({{1, "greeting", "hello, pods"}, {1, "answer", "42"}});
  if (set.status().code() == podmirror::Code::kUncertain) {
    std::cerr << "perhaps written: " << set.status().ToString() << "\n";
    return 1;
  }
  if (!set.ok()) {
    std::cerr << "not written: " << set.status().ToString() << "\n";
    return 1;
  }
  std::cout << set->count << " set, on " << set->acked << " of " << set->peers << " other pods\n";

  const auto greeting = (*cache)->Get(1, "greeting");
  std::cout << (greeting.ok() ? greeting->value : greeting.status().ToString()) << "\n";

  const auto status = (*cache)->GetAll({.types = {1}}, [](const client::Entry& entry) {
    std::cout << entry.type << "/" << entry.key << " = " << entry.value << "\n";
    return true;  // false: enough
  });
  if (!status.ok()) std::cerr << status.ToString() << "\n";

  for (const client::Daemon& daemon : (*cache)->GetDaemons().daemons) {
    std::cout << daemon.address << " " << client::ToString(daemon.state) << "\n";
  }
  return greeting.ok() && status.ok() ? 0 : 1;
}
