// A Client calls the daemons of one podmirror cluster (podmirror.v1.Cache). It finds them as they
// find each other, keeps one connection to each and gives every call to the next one that is ready.
//
// A daemon that fails, or says that it is not ready, gets no calls until it has answered a probe, a
// question of the client's own. The first probe is sent at once, the next 100 ms later, then up to
// 500 ms later each time. So no call is spent on trying out a daemon. Daemons that join or leave
// are followed while the client runs: one that left gets no new calls, but those that it has may
// end.
//
// What is tried again, within the deadline, at another daemon:
// - Reads, whatever went wrong: they change nothing.
// - Writes, only when it is certain that they were not applied: no daemon was reached, or the one
//   reached refused the write because it is not ready, draining or overloaded or does not know it,
//   or closed its port before it took the write. When the connection broke or time ran out after
//   the write was sent, nobody knows whether it was applied. Sent again to another daemon, the
//   write would get a new, greater version, and so win over what others wrote in between: an older
//   value would silently replace a newer one. So the caller is told kUncertain, and decides. A
//   daemon that drains refuses writes for 250 ms or longer before it closes its ports, and answers
//   those that it has taken: stopping one costs no write.
// - Both, once more at the same daemon, when it does not accept the token or certificate although a
//   file has changed since that was read: on a new connection, with what the files hold then.
//
// With Options::tls nothing is sent to a daemon whose certificate is not good: such a daemon is
// kFailed, and calls that find no other end with kUnavailable and say why.
//
// Codes of what failed:
//   kNotFound   no entry of this key (Get of one key)
//   kInvalid    the request is wrong; nothing was applied
//   kPrecondition   the condition of a write does not hold; nothing was applied. The message says
//               which version is there, or "none"
//   kConflict   a write on a condition was applied, and a greater one stands, which may not have
//               seen it. The message says its version
//   kUnavailable, kDeadline   no daemon could do it in time; of a write: nothing was applied
//   kUncertain  the write may have been applied or not
//   kExhausted  a limit: the daemons' memory ("out-of-memory"), an answer over 64 MiB, max_calls;
//               nothing was applied
//   kRefused    the daemon does not know the caller or does not allow it this, in the daemon's
//               words; nothing was applied
//   kUnimplemented   no daemon knows this call, or conditions; nothing was applied
//   kInternal   a daemon broke in a read
//
// Thread safety: all calls from any thread, at the same time; the destructor from one, not from
// within a callback.
// Invariants: (1) every call ends within its deadline, as options.h tells it.
//             (2) a write is applied once at most, and not at all where the code says so.
//             (3) no exception leaves a call, and a callback must not throw.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "client/daemons.h"
#include "client/entry.h"
#include "client/options.h"

namespace podmirror::discovery {
class PeerSource;
}

namespace podmirror::client {

class Client {
 public:
  // Begins to look for daemons and returns at once: the first calls wait until one is ready.
  // kInvalid names the option that is wrong.
  static Result<std::unique_ptr<Client>> New(const Options& options);
  // The same with a given source of daemons, not started yet, in place of that of the options.
  // Null: that of the options.
  static Result<std::unique_ptr<Client>> New(const Options& options,
                                             std::unique_ptr<discovery::PeerSource> source);

  // Cancels the calls that run (reads end with kUnavailable, writes with that or kUncertain) and
  // waits for them: as long as a callback takes, and apart from that about a second at most.
  ~Client();

  // The entry of this key, or kNotFound.
  Result<Entry> Get(std::int32_t type, const std::string& key);
  // The entries that are there, in the order of the keys.
  Result<std::vector<Entry>> Get(const std::vector<Key>& keys);

  // Stores all items or, where the code says that nothing was applied, none; a key may come once.
  Result<WriteResult> Set(const std::vector<Item>& items, const WriteOptions& options = {});
  // Deletes all keys; deleting what is not there is fine.
  Result<WriteResult> Delete(const std::vector<Key>& keys, const WriteOptions& options = {});
  // Deletes, as one write, what the daemon holds of a type under a prefix; kInvalid
  // "batch-too-large" when that is over 100,000 entries.
  Result<WriteResult> DeletePrefix(std::int32_t type, const std::string& prefix,
                                   const WriteOptions& options = {});
  // Gives all keys another time to live, from now on; their values stay. What is not there is not
  // counted. At least a millisecond; kInvalid "batch-too-large": the values take over 64 MiB.
  Result<WriteResult> Touch(const std::vector<Key>& keys, std::chrono::milliseconds ttl,
                            const WriteOptions& options = {});

  // Gives every entry selected to `each`, one after the other in no order, on the calling thread.
  // The daemon's next message is read only when `each` has returned: a slow `each` slows the daemon
  // down, and at most two messages are in memory. When `each` returns false, the call ends: kOk.
  // Another daemon is tried only while no entry has been given, since some would come twice. When
  // the call fails later, the error's message says how many entries were given.
  Status GetAll(const Selection& what, const std::function<bool(Entry entry)>& each);
  // The same without the values.
  Status GetAllKeys(const Selection& what, const std::function<bool(Entry entry)>& each);

  // Gives each change of what is selected to `each`, on the calling thread, one after the other.
  // It goes on at another daemon when one fails. Only the daemon that gave an id knows what came
  // behind it, another one begins with kReset and the whole state: so of each key versions do not
  // go back between two resets, and nothing is missed. It ends with kOk when `each` returns false,
  // with kUnavailable when no daemon can be watched for give_up, and with what a daemon says when
  // asking another would be of no use (kRefused, kInvalid).
  Status Watch(const WatchOptions& options, const std::function<bool(WatchEvent event)>& each);

  // All daemons known now.
  Daemons GetDaemons() const;

 private:
  class Impl;
  explicit Client(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace podmirror::client
