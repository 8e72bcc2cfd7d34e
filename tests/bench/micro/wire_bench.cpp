// What it costs to write and read a batch for the wire, and a pod record.
#include <benchmark/benchmark.h>

#include <fstream>
#include <sstream>
#include <string>

#include "cache/entry.h"
#include "discovery/pod_record.h"
#include "wire/codec.h"

namespace podmirror {
namespace {

sync::Batch SomeBatch(std::size_t size) {
  sync::Batch batch{1, size, {}};
  const std::string value(100, 'v');
  for (std::size_t i = 0; i < size; ++i) {
    batch.entries.push_back(Entry::Make(1, "key-" + std::to_string(i), value, {i + 1, 7}));
  }
  return batch;
}

void BM_EncodeBatch(benchmark::State& state) {
  const sync::Message batch = SomeBatch(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    v1::Frame frame;
    wire::Encode(batch, &frame);
    benchmark::DoNotOptimize(frame.SerializeAsString());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_EncodeBatch)->Arg(1)->Arg(100);

void BM_DecodeBatch(benchmark::State& state) {
  v1::Frame encoded;
  wire::Encode(SomeBatch(static_cast<std::size_t>(state.range(0))), &encoded);
  const std::string bytes = encoded.SerializeAsString();
  for (auto _ : state) {
    v1::Frame frame;
    frame.ParseFromString(bytes);
    benchmark::DoNotOptimize(wire::Decode(frame));
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_DecodeBatch)->Arg(1)->Arg(100);

void BM_DecodePod(benchmark::State& state, const char* file) {
  std::ostringstream text;
  text << std::ifstream(std::string(PODMIRROR_FIXTURES) + file, std::ios::binary).rdbuf();
  const std::string record = text.str();
  for (auto _ : state) benchmark::DoNotOptimize(discovery::DecodePod(record));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(record.size()));
}
BENCHMARK_CAPTURE(BM_DecodePod, protobuf, "/kube-apiserver-1.20.2/etcd/c-running-ready.etcdvalue");

}  // namespace
}  // namespace podmirror
