"""Prints "PASSED FAILED SKIPPED" for a JUnit report of ctest, counting Catch2's test cases.

A program that ends badly counts one failure at least; one that is not Catch2 counts as one case. A
case that prints a line "skipped: ..." passed without having tested anything.
"""

import re
import sys
import xml.etree.ElementTree as ElementTree

ALL_PASSED = re.compile(r"^All tests passed \(.* in (\d+) test cases?\)", re.MULTILINE)
SUMMARY = re.compile(r"^test cases: +(\d+) \|(.*)", re.MULTILINE)
FAILED = re.compile(r"(\d+) failed(?! as expected)")
SKIPPED = re.compile(r"^\s*skipped: ", re.MULTILINE)


def count(program):
    output = program.findtext("system-out") or ""
    good = program.get("status") == "run"
    if match := SUMMARY.search(output):
        unexpected = FAILED.search(match[2])
        total, failed = int(match[1]), int(unexpected[1]) if unexpected else 0
    elif match := ALL_PASSED.search(output):
        total, failed = int(match[1]), 0
    else:
        total, failed = 1, 0
    if not good and failed == 0:    # crashed, out of time, leaked, not built
        failed = 1
    skipped = len(SKIPPED.findall(output)) if good else 0
    return max(total - failed - skipped, 0), failed, skipped


def main():
    programs = ElementTree.parse(sys.argv[1]).getroot().iter("testcase")
    totals = [sum(column) for column in zip(*map(count, programs))] or [0, 1, 0]
    print(*totals)


if __name__ == "__main__":
    main()
