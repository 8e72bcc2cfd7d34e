#!/usr/bin/python3
"""What clang knows of the code: clang-format, clang-tidy (.clang-tidy) and who holds which mutex
(-Wthread-safety). clang-tidy and the mutexes are asked by building the preset `tidy`; what has been
found clean once is not looked at again (before_compiling), so that a second run takes seconds.
Each has to find a fault first that it is shown. Usage: tests/tidy/clang.py [format|sources]"""

import json
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

import includes

ROOT = includes.ROOT
BUILD = ROOT / "build-tidy"

# For each tool a source, and what has to be said of it.
FAULTS = {
    "clang-format": ("int  x ;\n", "clang-format-violations"),
    "clang-tidy": ("#include <string>\n#include <utility>\n"
                   "std::string F(std::string x) { const auto y = std::move(x); return y + x; }\n",
                   "bugprone-use-after-move"),
    "thread-safety": ('#include "absl/synchronization/mutex.h"\n'
                      "struct A { absl::Mutex mutex; int x ABSL_GUARDED_BY(mutex) = 0; };\n"
                      "int Get(A& a) { return a.x; }\n",
                      "requires holding mutex"),
}


def run(command, cwd=ROOT):
    """(whether it went well, what it said)"""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    return done.returncode == 0, done.stdout


def formatted(paths):
    return run(["clang-format-14", "--dry-run", "-Werror", "--style=file", *paths])


def compiled(path):
    """The source with the flags of src/cache, as the preset compiles it."""
    return run([ROOT / "tests/tidy/before_compiling", *includes.commands(BUILD)["cache"],
                "-c", path, "-o", "/dev/null"], BUILD)


def notices(tool, check):
    """As `run`: whether the tool refuses its fault and says why."""
    source, what = FAULTS[tool]
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:  # below the root, where the rules are
        path = pathlib.Path(folder) / "fault.cpp"
        path.write_text(source)
        good, said = check(path)
    return not good and what in said, f"does not notice a fault that it is shown: {said}"


def remembered(target):
    """Whether ccache knows this object, which has just been made."""
    log = BUILD / "ccache.log"
    log.unlink(missing_ok=True)
    (BUILD / target).unlink()
    good, said = run(["env", f"CCACHE_STATSLOG={log}", "ninja", "-C", BUILD, target])
    said += log.read_text()
    return good and "direct_cache_hit" in said, said


def check_format():
    paths = [path for top in ("src", "tests") for path in sorted((ROOT / top).rglob("*"))
             if path.suffix in (".h", ".cpp")]
    yield "clang-format notices", *notices("clang-format", lambda path: formatted([path]))
    yield "clang-format-14 -i changes nothing", *formatted(paths)


def check_sources():
    """Each source of src is one test."""
    good, said = run(["cmake", "--preset", "tidy", "--log-level=ERROR"])
    if not good:
        yield "cmake", good, said
        return
    for tool in ("clang-tidy", "thread-safety"):
        yield f"{tool} notices", *notices(tool, compiled)
    sources = {}    # of each object of src
    for entry in json.loads((BUILD / "compile_commands.json").read_text()):
        if (ROOT / "src") in pathlib.Path(entry["file"]).parents:
            words = shlex.split(entry["command"])
            sources[words[words.index("-o") + 1]] = pathlib.Path(entry["file"]).relative_to(ROOT)
    for target in sources:  # ninja does not know what the rules are, ccache does
        (BUILD / target).unlink(missing_ok=True)
    good, said = run(["ninja", "-C", BUILD, "-k", "0", *sources])
    failures = dict(re.findall(r"^FAILED: (\S+).*\n((?:(?!^\[\d+/).*\n)*)", said, re.MULTILINE))
    for target, source in sources.items():
        problem = failures.pop(target, None)
        yield str(source), problem is None, problem
    if not good and (failures or "FAILED" not in said):
        yield "the build", False, said
    if good:
        yield "ccache remembers what is clean", *remembered(next(iter(sources)))


def main():
    checks = {"format": check_format, "sources": check_sources}
    totals = {True: 0, False: 0}
    for check in sys.argv[1:] or checks:
        for name, good, said in checks[check]():
            totals[good] += 1
            print(f"{'ok  ' if good else 'FAIL'} {name}", *([] if good else [said]), sep="\n")
    print(f"{totals[True]} passed, {totals[False]} failed")
    return 1 if totals[False] else 0


if __name__ == "__main__":
    sys.exit(main())
