"""How cost grows: with entries, the size of values, peers, and pods in the namespace. One SVG each,
beside this file in plots/, and the numbers on standard output."""

import pathlib
import statistics

import matplotlib
import systems
from figures import MIB, Crowd, cpu_per, ready, start, until, writer_cpu
from systems import rss_bytes, run_loader, run_wrk

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "podmirror"
from matplotlib import pyplot  # noqa: E402  (after the choice of the backend)

PLOTS = pathlib.Path(__file__).with_name("plots")


def by_entries(bench):
    rows = []
    for entries in (10_000, 30_000, 100_000, 300_000, 1_000_000):
        ours = systems.Ours(next(bench.numbers), 2)
        before = rss_bytes(ours.pids()[0])
        ours.fill(entries)
        memory = (rss_bytes(ours.pids()[0]) - before) / MIB
        put = cpu_per(ours, lambda: run_wrk(ours.rest, "put", bench.seconds, 32, keys=entries))[0]
        get = cpu_per(ours, lambda: run_wrk(ours.rest, "get", bench.seconds, 32, keys=entries))[0]
        joiner = ours.add()
        join = until(lambda: ready(joiner))
        rows.append((entries, put, get, join * 1000, memory))
        ours.close()
    return rows


def by_value(bench):
    rows = []
    for size in (10, 100, 1000, 10_000, 100_000, MIB):
        ours = systems.Ours(next(bench.numbers), 3)
        keys = max(16, min(10_000, 32 * MIB // size))
        run_loader("grpc", ours.grpc, entries=keys, keys=keys, value=size, batch=1)
        put, get = (
            cpu_per(ours, lambda: run_wrk(ours.rest, kind, bench.seconds, 8, keys=keys,
                                          value=size))[0] for kind in ("put", "get"))
        rows.append((size, put, get))
        ours.close()
    return rows


def by_peers(bench):
    rows = []
    for peers in (2, 4, 8, 16):
        writer = writer_cpu(bench, peers)
        ours = bench.system(f"{peers} peers", None)
        entries = 50_000 * bench.seconds
        every = cpu_per(ours, lambda: run_loader("grpc", ours.grpc, entries=entries))[0]
        rows.append((peers, writer, every))
        bench.close(f"{peers} peers")
    return rows


def by_pods(bench):
    rows = []
    for pods_there in (10, 100, 1000, 5000):
        crowd = Crowd(next(bench.numbers), pods_there)
        rows.append((pods_there, statistics.median(start(crowd)[1] * 1000 for _ in range(5))))
        crowd.close()
    return rows


# File, what is on the x axis, the scale of both, what the columns are.
PLANS = [
    ("entries", by_entries, "entries", "log",
     ("PUT, us of CPU, 2 daemons", "GET, us of CPU", "join, ms", "memory, MiB")),
    ("values", by_value, "bytes of a value", "log",
     ("PUT, us of CPU, 3 daemons", "GET, us of CPU")),
    ("peers", by_peers, "peers", "linear",
     ("writer, us of CPU an entry", "all daemons, us of CPU an entry")),
    ("pods", by_pods, "pods in the namespace", "linear", ("a start, ms of CPU",)),
]


def draw(bench):
    PLOTS.mkdir(exist_ok=True)
    for name, rows_of, x_label, scale, columns in PLANS:
        rows = rows_of(bench)
        print(f"\n{x_label:>22} | " + " | ".join(columns))
        for row in rows:
            print(f"{row[0]:>22} | " + " | ".join(f"{value:.2f}" for value in row[1:]))
        figure, axes = pyplot.subplots(figsize=(7, 4.5))
        for number, column in enumerate(columns, start=1):
            axes.plot([row[0] for row in rows], [row[number] for row in rows], marker="o",
                      label=column)
        axes.set(xlabel=x_label, xscale=scale, yscale=scale)
        if scale == "linear":
            axes.set(xlim=0, ylim=0)
        axes.grid(True, alpha=0.3)
        axes.legend()
        figure.savefig(PLOTS / f"{name}.svg", metadata={"Date": None})
        pyplot.close(figure)
