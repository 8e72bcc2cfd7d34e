// What single operations of the cache cost, on one thread.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <string>
#include <vector>

#include "cache/cache.h"

namespace podmirror {
namespace {

constexpr std::uint64_t kOrigin = 7;
constexpr WallMs kNow = 1'700'000'000'000;

std::string Key(std::uint64_t number) {
  char key[32];
  std::snprintf(key, sizeof key, "key-%014llu", static_cast<unsigned long long>(number));
  return key;
}

std::vector<std::string> Keys(std::uint64_t count) {
  std::vector<std::string> keys;
  for (std::uint64_t i = 0; i < count; ++i) keys.push_back(Key(i));
  return keys;
}

void Fill(Cache& cache, const std::vector<std::string>& keys) {
  const std::string value(100, 'v');
  std::uint64_t hlc = 0;
  for (const std::string& key : keys) {
    cache.Merge(Entry::Make(1, key, value, {++hlc, kOrigin}), kNow);
  }
}

void BM_Find(benchmark::State& state) {
  const auto keys = Keys(static_cast<std::uint64_t>(state.range(0)));
  Cache cache;
  Fill(cache, keys);
  std::size_t at = 0;
  for (auto _ : state) {
    at = (at + 7919) % keys.size();
    benchmark::DoNotOptimize(cache.Find(1, keys[at], kNow));
  }
}
BENCHMARK(BM_Find)->Arg(10'000)->Arg(1'000'000);

// A new version of a key that is there: what a write costs, the digest with it.
void BM_Replace(benchmark::State& state) {
  const auto keys = Keys(static_cast<std::uint64_t>(state.range(0)));
  Cache cache;
  Fill(cache, keys);
  const std::string value(100, 'w');
  std::uint64_t hlc = keys.size();
  std::size_t at = 0;
  for (auto _ : state) {
    at = (at + 7919) % keys.size();
    benchmark::DoNotOptimize(cache.Merge(Entry::Make(1, keys[at], value, {++hlc, kOrigin}), kNow));
  }
}
BENCHMARK(BM_Replace)->Arg(10'000)->Arg(1'000'000);

void BM_Digest(benchmark::State& state) {
  Cache cache;
  Fill(cache, Keys(100'000));
  for (auto _ : state) benchmark::DoNotOptimize(cache.digest());
}
BENCHMARK(BM_Digest);

}  // namespace
}  // namespace podmirror
