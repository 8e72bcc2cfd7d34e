#!/usr/bin/python3
"""The history checker finds each kind of fault in a history that was falsified."""

import dataclasses

import harness
from harness import equal, test
from history import (APPLIED, REFUSED, UNKNOWN, Read, Write, apart_faults, contents_faults,
                     read_faults)

KEY = (1, "k")
V1, V2, V3 = (f"{hlc:016x}-00000000000000aa" for hlc in (1, 2, 3))
LOOKED = (100.0, 101.0)


def put(value, version, node="a", begin=1.0, **more):
    more = {"end": begin + 0.5, "outcome": APPLIED, "holders": 3, "by_all": True, **more}
    return Write(node, KEY, value, begin, version=version, **more)


def delete(version, **more):
    return put(None, version, **more)


def kinds(held, writes, losses=(), **which):
    """The first words of the faults found where a node holds this under KEY."""
    contents = {} if held is None else {KEY: held}
    faults = contents_faults(contents, writes, losses, LOOKED, **which)
    return [fault.split()[0] for fault in faults]


@test
def true_history_has_no_fault(_cluster):
    equal(kinds((b"1", V1), [put(b"1", V1)]), [])
    equal(kinds((b"2", V2), [put(b"1", V1), put(b"2", V2, node="b")]), [])
    equal(kinds(None, [put(b"1", V1), delete(V2)]), [])
    equal(kinds((b"3", V3), [put(b"1", V1), delete(V2), put(b"3", V3)]), [])
    equal(kinds(None, [put(b"1", V1, ttl=10)]), [])
    equal(kinds((b"1", V1), [put(b"1", V1, ttl=1000)]), [])
    equal(kinds(None, []), [])


@test
def lost_write_is_found(_cluster):
    equal(kinds(None, [put(b"1", V1)]), ["lost"])
    equal(kinds((b"1", V1), [put(b"1", V1), put(b"2", V2)]), ["lost"])
    equal(kinds(None, [delete(V1), put(b"2", V2)]), ["lost"])
    equal(kinds(None, [put(b"1", V1, ttl=10), put(b"2", V2, ttl=1000)]), ["lost"])
    # A batch has no versions; what one pod accepted goes by time.
    batches = [put(b"1", "", begin=1), put(b"2", "", begin=2)]
    equal(kinds((b"1", V1), batches), ["lost"])
    equal(kinds((b"2", V2), batches), [])


@test
def write_outlives_fewer_losses_than_it_has_holders(_cluster):
    alone = put(b"1", V1, holders=1)
    equal(kinds(None, [alone]), ["lost"])
    equal(kinds(None, [alone], [(9.0, "b"), (9.0, "c")]), ["lost"])     # its own pod is there
    equal(kinds(None, [alone], [(9.0, "a")]), [])
    equal(kinds(None, [alone], [(0.5, "a")]), ["lost"])                 # that was before
    two = put(b"1", V1, holders=2)
    equal(kinds(None, [two], [(9.0, "a")]), ["lost"])
    equal(kinds(None, [two], [(9.0, "a"), (9.5, "a")]), ["lost"])
    equal(kinds(None, [two], [(9.0, "a"), (9.0, "b")]), [])


@test
def unanswered_write_may_be_there_or_not(_cluster):
    open_ = dict(outcome=UNKNOWN, end=float("inf"))
    equal(kinds(None, [put(b"1", "", **open_)]), [])
    equal(kinds((b"1", V1), [put(b"1", "", **open_)]), [])
    equal(kinds((b"1", V1), [put(b"1", V1), put(b"2", "", **open_)]), [])
    equal(kinds(None, [put(b"1", V1), delete("", **open_)]), [])


@test
def resurrected_entry_is_found(_cluster):
    equal(kinds((b"1", V1), [put(b"1", V1), delete(V2)]), ["resurrected"])
    equal(kinds((b"1", V1), [put(b"1", V1, ttl=10)]), ["resurrected"])
    equal(kinds((b"1", V1), [put(b"1", V1), put(b"2", V2, ttl=10)]), ["resurrected"])


@test
def invented_value_is_found(_cluster):
    equal(kinds((b"1", V1), []), ["invented"])
    equal(kinds((b"2", V1), [put(b"1", V1)]), ["invented"])
    equal(kinds((b"1", V2), [put(b"1", V1)]), ["invented"])
    equal(kinds((b"1", V1), [put(b"1", "", outcome=REFUSED)]), ["invented"])


@test
def nodes_that_are_apart_are_found(_cluster):
    held = {KEY: (b"1", V1)}
    equal(apart_faults({"a": held, "b": dict(held)}), [])
    for other in ({}, {KEY: (b"2", V1)}, {KEY: (b"1", V2)}, {**held, (2, "k"): (b"1", V1)}):
        equal([fault.split()[0] for fault in apart_faults({"a": held, "b": other})], ["apart"])


@test
def reader_that_goes_back_is_found(_cluster):
    def reads(*versions, node="a"):
        return [Read(node, KEY, version, begin, begin + 0.5)
                for begin, version in enumerate(versions)]
    equal(read_faults(reads("", V1, V1, V2, "", "", V3)), [])
    equal(read_faults(reads(V2, node="a") + reads(V1, node="b")), [])
    for versions in ((V2, V1), (V1, "", V1), (V2, "", V1), (V1, "", "", V1), (V3, "", V2)):
        faults = read_faults(reads(*versions))
        equal([fault.split()[0] for fault in faults], ["backwards"], versions)


@test
def unready_node_is_found(_cluster):
    before = put(b"1", V1)
    local = dataclasses.replace(before, by_all=False)
    for held, writes, expected in ((None, [before], ["lost"]),
                                   (None, [local], []),
                                   (None, [dataclasses.replace(before, end=50.0)], []),
                                   ((b"1", V1), [before, delete(V2)], ["resurrected"])):
        equal(kinds(held, writes, required=lambda write: write.by_all and write.end < 10), expected)


if __name__ == "__main__":
    harness.main(isolated=False)
