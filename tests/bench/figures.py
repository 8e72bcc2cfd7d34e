"""The figures: each measures ours, and the peer where there is one, once; bench.py repeats it and
takes medians. Targets are ratios ours/peer, or plain values where there is no peer."""

import collections
import json
import shutil
import signal
import subprocess
import threading
import time

import systems
from harness import FIXTURES, GRPC_PORT, wait_for
from systems import (cpu_seconds, rss_bytes, run_loader, run_mirror, run_redis_benchmark,
                     run_until_undisturbed, run_wrk, settle)

Figure = collections.namedtuple("Figure", "name unit target peer measure_ours measure_peer")
MILLION = 1_000_000
MIB = 1024 * 1024
CLIENTS = 32  # at a time, of every system


class Bench:
    """The systems, started when first used, and how long to measure."""

    def __init__(self, quick):
        self.quick = quick
        self.seconds = 1 if quick else 3
        self.million = 50_000 if quick else MILLION
        self._systems = {}
        self.numbers = iter(range(1, 250))

    def system(self, name, make):
        if name not in self._systems:
            self._systems[name] = make(next(self.numbers))
        return self._systems[name]

    @property
    def ours(self):
        return self.system("ours", lambda number: systems.Ours(number, 3))

    @property
    def secured(self):
        return self.system("secured", lambda number: systems.Secured(number, 3))

    @property
    def redis(self):
        return self.system("redis", systems.Redis)

    @property
    def etcd(self):
        return self.system("etcd", systems.Etcd3)

    def close(self, *names):
        for name in names or list(self._systems):
            if name in self._systems:
                self._systems.pop(name).close()


def cpu_per(system, run, per_request=1):
    """CPU microseconds of the whole system per entry, and the load's report."""
    settle(system)
    before = system.cpu()
    report = run()
    settle(system)  # what replicas have left to do belongs to it
    return (system.cpu() - before) * 1e6 / (report["requests"] * per_request), report


# --- writes and reads, three processes each ---

def rest_put(bench):
    return cpu_per(bench.ours, lambda: run_wrk(bench.ours.rest, "put", bench.seconds, CLIENTS))


def etcd_put(bench):
    return cpu_per(bench.etcd, lambda: run_wrk(bench.etcd.rest, "etcd-put", bench.seconds, CLIENTS))


def rest_get(bench):
    bench.ours.fill(100_000)
    return cpu_per(bench.ours, lambda: run_wrk(bench.ours.rest, "get", bench.seconds, CLIENTS))[0]


def rest_put_tls(bench):
    return cpu_per(bench.secured,
                   lambda: run_wrk(bench.secured.rest_tls, "put", bench.seconds, CLIENTS))[0]


def rest_get_tls(bench):
    bench.secured.fill(100_000)
    return cpu_per(bench.secured,
                   lambda: run_wrk(bench.secured.rest_tls, "get", bench.seconds, CLIENTS))[0]


def etcd_range(bench):
    keys = 10_000
    bench.system("etcd filled", lambda _: EtcdFilled(bench.etcd, keys))
    return cpu_per(bench.etcd, lambda: run_wrk(bench.etcd.rest, "etcd-range", bench.seconds,
                                               CLIENTS, keys=keys))[0]


class EtcdFilled:
    """Marks that the keys are there."""

    def __init__(self, etcd, keys):
        run_wrk(etcd.rest, "etcd-put", 20, 64, keys=keys)

    def close(self):
        pass


def grpc_get(bench):
    bench.ours.fill(100_000)
    return cpu_per(bench.ours, lambda: run_loader("grpc-get", bench.ours.grpc, calls=CLIENTS,
                                                  entries=30_000 * bench.seconds))[0]


def redis_get(bench):
    run_redis_benchmark(bench.redis, 500_000, clients=CLIENTS)  # its keys, nearly all of them
    count = 100_000 * bench.seconds

    def run():
        run_redis_benchmark(bench.redis, count, clients=CLIENTS, command="get", pipeline=1)
        return {"requests": count}
    return cpu_per(bench.redis, run)[0]


def rest_batch(bench):
    return cpu_per(bench.ours,
                   lambda: run_wrk(bench.ours.rest, "batch", bench.seconds, CLIENTS), 100)[0]


def grpc_batch(bench):
    entries = 200_000 * bench.seconds
    return cpu_per(bench.ours, lambda: run_loader("grpc", bench.ours.grpc, entries=entries,
                                                  calls=CLIENTS))[0]


def redis_batch(bench):
    count = 300_000 * bench.seconds

    def run():
        run_redis_benchmark(bench.redis, count, clients=CLIENTS)
        return {"requests": count}
    return cpu_per(bench.redis, run)[0]


def visible_ours(bench):
    return run_loader("rest", bench.ours.grpc.replace(":7070", ":8080"),
                      entries=5000 * bench.seconds)["p50_us"]


def visible_redis(bench):
    return run_loader("redis", bench.redis.address, entries=5000 * bench.seconds)["p50_us"]


# --- watching ---

WATCHERS = 500
# At a rate that both carry on two processors with one message to each watcher for each change.
# Above some 50 a second etcd puts the writes off, and ours would save by telling several at once.
CHANGES_A_SECOND = 20


def watch_cpu(bench, system, program, address, kind):
    """CPU microseconds that a watcher takes for an event: with so many of them, less that of the
    same writes without."""
    options = {"rate": CHANGES_A_SECOND, "entries": CHANGES_A_SECOND * 2 * bench.seconds}
    if kind == "rest":
        options["ack"] = "local"

    def write(told):
        settle(system)
        before = system.cpu()
        run_loader(kind, address, **options)
        told(options["entries"])
        return system.cpu() - before
    alone = write(lambda _: None)
    crowd = systems.Crowd(program, address, WATCHERS)
    try:
        watched = write(crowd.wait_told)
    finally:
        crowd.close()
    return (watched - alone) * 1e6 / (options["entries"] * WATCHERS)


def watch_cpu_ours(bench):
    ours = bench.system("one", lambda number: systems.Ours(number, 1))
    return watch_cpu(bench, ours, "watchers", ours.rest.removeprefix("http://"), "rest")


def watch_cpu_etcd(bench):
    etcd = bench.system("etcd one", systems.Etcd1)
    return watch_cpu(bench, etcd, "etcd_watchers", etcd.address, "etcd")


def watched(bench):
    """Writes at one daemon, each waited for at a watcher of another one."""
    one, two = (f"{node.ip}:{systems.REST_PORT}" for node in bench.ours.nodes[:2])
    return run_loader("watched", one, watch=two, ack="one", entries=1000 * bench.seconds)


# --- a million entries ---

def filled(bench):
    """Two daemons that hold a million entries, in an own system."""
    def make(number):
        ours = systems.Ours(number, 2)
        before = rss_bytes(ours.pids()[0])
        ours.fill(bench.million)
        ours.cluster.wait_same(ours.nodes, 60)
        ours.grown = rss_bytes(ours.pids()[0]) - before
        return ours
    return bench.system("filled", make)


def redis_filled(bench):
    def make(number):
        redis = systems.Redis(number, replicas=0)
        redis.before = int(redis.info(1, "used_memory"))
        redis.fill(bench.million)
        return redis
    return bench.system("redis filled", make)


def until(condition, seconds=60):
    """Seconds until condition() is true, looked at each millisecond."""
    begin = time.monotonic()
    while time.monotonic() < begin + seconds:
        try:
            if condition():
                return time.monotonic() - begin
        except OSError:
            pass
        time.sleep(0.001)
    raise AssertionError(f"not within {seconds} s")


def ready(node):
    return node.get("/readyz").status == 200


def snapshot_ours(bench):
    """From the start of the process until it is ready with all of it."""
    ours = filled(bench)
    node = ours.add()
    seconds = until(lambda: ready(node))
    assert node.status()["entries"] == bench.million, node.status()
    ours.remove(node)
    return seconds


def snapshot_redis(bench):
    """From the start of the process until the replica has all of it."""
    redis = redis_filled(bench)
    begin = time.monotonic()
    process = redis.start(2)
    until(lambda: redis.synced(2))
    seconds = time.monotonic() - begin
    assert redis.ask(2, "DBSIZE") == str(bench.million), redis.ask(2, "DBSIZE")
    process.kill()
    process.wait(10)
    redis.processes.remove(process)
    shutil.rmtree(redis.cluster.directory / "redis-2")
    return seconds


def donor_load(ours, seconds):
    """The slowest PUT of a hundred, in milliseconds, by few clients."""
    return run_wrk(f"{ours.rest}", "put", seconds, 8)["p99_us"] / 1000


def donor_copied_from(bench):
    """The donor's p99 while one daemon after another copies from it."""
    ours = filled(bench)
    joiners = []

    def join_again():
        if joiners:
            ours.remove(joiners.pop())
        joiners.append(ours.add("--ack=local"))
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            join_again()
            until(lambda: stop.is_set() or ready(joiners[-1]))
    thread = threading.Thread(target=churn)
    thread.start()
    try:
        return donor_load(ours, 2 * bench.seconds)
    finally:
        stop.set()
        thread.join()
        ours.remove(joiners.pop())


def donor_idle(bench):
    return donor_load(filled(bench), 2 * bench.seconds)


def filled_for_long(bench):
    """Two daemons with so much that a copy of it outlasts a measurement."""
    def make(number):
        ours = systems.Ours(number, 2)
        ours.fill(4 * bench.million)
        ours.cluster.wait_same(ours.nodes, 60)
        return ours
    return bench.system("filled for long", make)


COPY_SECONDS = 2


def donor_in_copy(bench):
    """The donor's p99 while one daemon copies, which was started before."""
    ours = filled_for_long(bench)
    joiner = ours.add("--ack=local")
    until(lambda: joiner.status()["bootstrap"]["entries"] > 0)
    p99 = donor_load(ours, COPY_SECONDS)
    assert bench.quick or not ready(joiner), "the copy was complete before the measurement"
    until(lambda: ready(joiner))
    ours.remove(joiner)
    run_until_undisturbed(lambda: donor_without_copy(bench))
    return p99


def donor_without_copy(bench):
    return donor_load(filled_for_long(bench), COPY_SECONDS)


def bytes_ours(bench):
    """Of that moment: later come the buffers of copies, and what the backlog keeps of values that
    are overwritten."""
    return filled(bench).grown / bench.million


def bytes_redis(bench):
    redis = redis_filled(bench)
    return (int(redis.info(1, "used_memory")) - redis.before) / bench.million


def repair_thousand(bench):
    """CPU of both, in milliseconds, from the moment the network is back until they are equal. The
    backlog is too small for what was written meanwhile, so that it takes a repair."""
    ours = bench.system("repair", lambda number: systems.Ours(number, 2, "--backlog-bytes=1MiB"))
    one, two = ours.nodes
    if one.status()["entries"] < bench.million:
        ours.fill(bench.million)
        ours.cluster.wait_same(ours.nodes, 60)
    settle(ours)
    two.signal(signal.SIGSTOP)
    run_loader("grpc", ours.grpc, entries=1000, ack="local", value=2000)
    wait_for(lambda: one.peer(two.name)["state"] == "connecting", 20, "it is out of reach")
    before = ours.cpu()
    begin = time.monotonic()
    two.signal(signal.SIGCONT)
    ours.cluster.wait_same(ours.nodes, 60)
    seconds = time.monotonic() - begin
    used = ours.cpu() - before
    settle(ours)
    # What they take without any difference, asked as often as above.
    before = ours.cpu()
    idle_until = time.monotonic() + seconds
    while time.monotonic() < idle_until:
        ours.cluster.wait_same(ours.nodes)
        time.sleep(0.02)
    return max(used - (ours.cpu() - before), 0) * 1000


# --- a mirror ---

def mirror_million(bench):
    """From the start of a Mirror until it has all of it."""
    ours = filled(bench)
    return run_mirror(ours.grpc, entries=bench.million, reads=10)["followed_ms"] / 1000


def mirror_get(bench, *words, **options):
    ours = filled(bench)
    return run_mirror(ours.grpc, *words, entries=bench.million, reads=300_000 * bench.seconds,
                      **options)["p50_ns"]


def mirror_busy_get(bench):
    return mirror_get(bench, readers=2, changes=20_000)


def mirror_failover(bench):
    """From kill -9 of the daemon that is followed until the Mirror is synced with another one."""
    ours = bench.system("failover", lambda number: systems.Ours(number, 2))
    if ours.nodes[0].status()["entries"] < bench.million:
        ours.fill(bench.million)
        ours.cluster.wait_same(ours.nodes, 60)
    mirror = subprocess.Popen(
        [systems.LOAD / "bench_mirror", *(f"{node.ip}:{GRPC_PORT}" for node in ours.nodes),
         f"--entries={bench.million}", "--failover"], stdout=subprocess.PIPE, text=True)
    follows = json.loads(mirror.stdout.readline())["follows"]
    node = next(node for node in ours.nodes if f"{node.ip}:" in follows)
    begin = time.monotonic()
    node.kill()
    report = json.loads(mirror.stdout.readline())
    seconds = time.monotonic() - begin
    assert mirror.wait(10) == 0 and report["received"] < 1000, report
    node.start(*systems.DEFAULTS)
    until(lambda: ready(node))
    return seconds * 1000


def plain_map_get(bench):
    return mirror_get(bench, "--plain")


# --- peers, pods, start, idle ---

def writer_cpu(bench, peers):
    ours = bench.system(f"{peers} peers", lambda number: systems.Ours(number, peers + 1))
    entries = 100_000 * bench.seconds
    settle(ours)
    writer = [ours.nodes[0].process.pid]
    before = cpu_seconds(writer)
    run_loader("grpc", ours.grpc, entries=entries)
    return (cpu_seconds(writer) - before) * 1e6 / entries


def extra_peer(bench):
    few = writer_cpu(bench, 2)
    many = writer_cpu(bench, 8)
    return (many - few) / 6


def discovery_pods(bench):
    """CPU milliseconds of a start among so many pods, less those of a start among few."""
    few = bench.system("few pods", lambda number: systems.Ours(number, 1))
    many = bench.system("5000 pods", lambda number: Crowd(number, 5000))
    return (start(many)[1] - start(few)[1]) * 1000


class Crowd(systems.Ours):
    """One daemon in a namespace with many other pods, stored as Kubernetes does: protobuf."""

    def __init__(self, number, count):
        super().__init__(number, 1)
        record = (FIXTURES / "kube-apiserver-1.20.2/etcd/c-running-ready.etcdvalue").read_bytes()
        for i in range(count):
            self.cluster.etcd.put(f"/registry/pods/default/other-{i}", record)


def start(ours):
    """Seconds from the start of one more daemon until it is ready, and its CPU seconds by then."""
    node = ours.cluster.node()
    node.write_record()
    begin = time.monotonic()
    node.start(*systems.DEFAULTS)
    ours.nodes.append(node)
    until(lambda: ready(node))
    seconds = time.monotonic() - begin
    used = cpu_seconds([node.process.pid])
    ours.remove(node)
    return seconds, used


def start_to_ready(bench):
    return start(bench.system("empty", lambda number: systems.Ours(number, 2)))[0] * 1000


def eleven(bench):
    return bench.system("eleven", lambda number: systems.Ours(number, 11))


def idle_cpu(bench):
    pid = [eleven(bench).nodes[0].process.pid]
    settle(eleven(bench))
    seconds = 10 * bench.seconds
    before = cpu_seconds(pid)
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / seconds * 100


def idle_rss(bench):
    return rss_bytes(eleven(bench).nodes[0].process.pid) / MIB


# Name, unit, target, peer, ours, theirs.
FIGURES = [
    Figure("rest_put_cpu_us", "us", 0.08, "etcd x3, JSON gateway put",
           lambda bench: rest_put(bench)[0], lambda bench: etcd_put(bench)[0]),
    Figure("rest_put_p99_ms", "ms", 0.12, "etcd x3, JSON gateway put",
           lambda bench: rest_put(bench)[1]["p99_us"] / 1000,
           lambda bench: etcd_put(bench)[1]["p99_us"] / 1000),
    Figure("rest_get_cpu_us", "us", 0.08, "etcd JSON gateway range", rest_get, etcd_range),
    Figure("rest_put_tls_cpu_us", "us", 1.35, "the same without TLS", rest_put_tls,
           lambda bench: rest_put(bench)[0]),
    Figure("rest_get_tls_cpu_us", "us", 1.35, "the same without TLS", rest_get_tls, rest_get),
    Figure("grpc_get_cpu_us", "us", 4, "Redis GET, no pipeline", grpc_get, redis_get),
    Figure("rest_batch_cpu_us_per_entry", "us", 0.5, "Redis SET, pipeline 100, 2 replicas",
           rest_batch, redis_batch),
    Figure("grpc_batch_cpu_us_per_entry", "us", 0.52, "Redis SET, pipeline 100, 2 replicas",
           grpc_batch, redis_batch),
    Figure("visible_everywhere_p50_us", "us", 1.5, "Redis SET + WAIT 2", visible_ours,
           visible_redis),
    Figure("watch_event_cpu_us", "us", 0.2, "etcd watch, gRPC", watch_cpu_ours, watch_cpu_etcd),
    Figure("watch_latency_ratio", "us", 1.5, "the answer to the same PUT, ack=one",
           lambda bench: watched(bench)["p50_us"], lambda bench: watched(bench)["answer_p50_us"]),
    Figure("snapshot_million_s", "s", 0.5, "Redis full sync", snapshot_ours, snapshot_redis),
    Figure("mirror_million_s", "s", 1.2, "a daemon that starts", mirror_million, snapshot_ours),
    Figure("mirror_get_ns", "ns", 150, None, mirror_get, None),
    Figure("mirror_busy_get_ns", "ns", 150, None, mirror_busy_get, None),
    Figure("mirror_failover_ms", "ms", 2000, None, mirror_failover, None),
    Figure("mirror_get_ratio", "ns", 0.9, "std::unordered_map, std::shared_mutex", mirror_get,
           plain_map_get),
    Figure("bytes_per_entry", "bytes", 0.8, "Redis used_memory", bytes_ours, bytes_redis),
    Figure("snapshot_donor_p99", "ms", 2.5, "the same donor idle", donor_copied_from, donor_idle),
    Figure("donor_in_copy_p99", "ms", 2.5, "the same donor idle", donor_in_copy,
           donor_without_copy),
    Figure("extra_peer_cpu_us_per_entry", "us", 0.3, None, extra_peer, None),
    Figure("repair_thousand_ms", "ms", 100, None, repair_thousand, None),
    Figure("discovery_5000_pods_ms", "ms", 150, None, discovery_pods, None),
    Figure("start_to_ready_ms", "ms", 300, None, start_to_ready, None),
    Figure("idle_cpu_percent", "%", 0.25, None, idle_cpu, None),
    Figure("idle_rss_mib", "MiB", 32, None, idle_rss, None),
]
