"""Runs the figures, ours and the peer's in turn, and prints what came of it.

Ratios of medians within one run are what counts: machines differ and are shared. CPU time is that
of all processes of a system together; the load's is not in it.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import harness  # noqa: E402  (found by the line above)
from figures import FIGURES, Bench  # noqa: E402


def measure(bench, figure, pairs):
    """Medians of ours and of the peer, A B A B, after one of each that is not counted."""
    ours, theirs = [], []
    for i in range(pairs + (0 if bench.quick else 1)):
        mine = figure.measure_ours(bench)
        other = figure.measure_peer(bench) if figure.measure_peer else None
        if i == 0 and not bench.quick:
            continue
        ours.append(mine)
        theirs.append(other)
    peer = statistics.median(theirs) if figure.measure_peer else None
    return statistics.median(ours), peer


def result(figure, ours, peer):
    ratio = ours / peer if peer else None
    return {"name": figure.name, "unit": figure.unit, "ours": round(ours, 3),
            "peer": None if peer is None else round(peer, 3), "peer_name": figure.peer,
            "ratio": None if ratio is None else round(ratio, 3), "target": figure.target,
            "met": (ours if ratio is None else ratio) <= figure.target}


def show(row):
    text = "{name:<30}{ours:>11} {unit:<6}".format(**row)
    if row["peer"] is not None:
        text += "{peer:>11} {unit:<6}{ratio:>8} <= {target:<6}".format(**row)
    else:
        text += f"{'':>26}<= {row['target']:<6}"
    verdict = "ok  " if row["met"] else "MISS"
    print(f"{text} {verdict}  {row['peer_name'] or ''}".rstrip(), flush=True)


def main():
    parser = argparse.ArgumentParser(prog="tests/bench/run")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path)
    parser.add_argument("--plots", action="store_true")
    parser.add_argument("figures", nargs="*", metavar="FIGURE")
    options = parser.parse_args()
    if options.json:
        options.json = options.json.absolute()
    harness.enter_namespaces()

    begin = time.monotonic()
    print(f"{'figure':<30}{'ours':>11} {'':<6}{'peer':>11} {'':<6}{'ratio':>8}    target")
    rows = []
    bench = Bench(options.quick)
    try:
        for figure in FIGURES:
            if options.figures and not any(part in figure.name for part in options.figures):
                continue
            ours, peer = measure(bench, figure, 1 if options.quick else 5)
            rows.append(result(figure, ours, peer))
            show(rows[-1])
        if options.plots:
            import growth
            growth.draw(bench)
    finally:
        bench.close()
    if options.json:
        options.json.write_text(json.dumps({"results": rows}, indent=1) + "\n")
    missed = [row["name"] for row in rows if not row["met"]]
    print(f"{len(rows)} figures, {len(missed)} missed{': ' if missed else ''}{', '.join(missed)}"
          f" ({time.monotonic() - begin:.0f} s)")


if __name__ == "__main__":
    main()
