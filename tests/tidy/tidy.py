#!/usr/bin/python3
"""The rules of the code that a compiler does not check. Each rule is one test, and is first shown a
file that breaks it. Usage: tests/tidy/tidy.py"""

import os
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINE_COLUMNS = 100
FUNCTION_LINES = 70
FILE_LINES = 400
CORE_FILE_LINES = 300
CORE_FIELDS = 15
README_LINES = 200
POLL_MS = 20

# Who may name what nobody else may.
CLOCKS = {"src/base/env.cpp"}
REAL_ENVS = {
    "src/base/env.cpp",
    "src/app/run.cpp",
    "src/app/stop_signal.cpp",              # nothing can be handed to a signal handler
    "src/client/mirror.cpp",
    "src/settings/settings.cpp",            # Surroundings::Real()
    "src/client/client.cpp",                # in programs of others, who know no Env
}
SLEEPERS = {"src/app/run.cpp"}              # the main thread, while others drain
DETACHERS = {"src/net/resolver.cpp"}        # a name look-up that nothing can end early

# Tests that sleep for longer than a poll of a condition, and why.
SLEEPY_TESTS = {
    "tests/e2e/test_signals.py": "so long a stall would be told, if it were one",
    "tests/integration/rest/hostile_test.cpp": "plays a slow client",
    "tests/integration/rest/http_server_test.cpp": "plays a slow handler",
    "tests/integration/rpc/legacy_peer_test.cpp": "a silence that must not be punished",
}


def lines_of(files, folder="", suffixes=(".h", ".cpp")):
    """(path, number, line) of every line of such files."""
    for path, text in files.items():
        if path.startswith(folder) and path.endswith(suffixes):
            for number, line in enumerate(text.splitlines(), start=1):
                yield path, number, line


def code_of(line):
    """The line without strings and comment."""
    return re.sub(r'//.*', "", re.sub(r'"(\\.|[^"\\])*"', '""', line))


def lines_fit(files):
    suffixes = (".h", ".cpp", ".py", ".sh", ".proto", ".txt", ".cmake", "/up", "/down", "/run")
    for path, number, line in lines_of(files, suffixes=suffixes):
        # What a scenario recorded is as long as it is.
        recorded = "tests/scenario/data/" in path and line.startswith(" ")
        if len(line) > LINE_COLUMNS and "tests/fixtures/" not in path and not recorded:
            yield f"{path}:{number}: {len(line)} columns"


def time_and_threads_stay_at_their_places(files):
    for path, number, line in lines_of(files, "src/"):
        code = code_of(line)
        if path not in CLOCKS and re.search(r"(_clock|Clock)::now\(|\babsl::Now\(|\btime\(", code):
            yield f"{path}:{number}: reads a clock; base::Env has it"
        if path not in SLEEPERS and re.search(r"sleep_for|sleep_until|SleepFor|\busleep\(", code):
            yield f"{path}:{number}: sleeps"
        if re.search(r"std::(recursive_|shared_|timed_)?mutex\b|std::(unique|scoped)_lock|"
                     r"std::lock_guard", code):
            yield f"{path}:{number}: absl::Mutex is what clang can check"
        if path not in DETACHERS and re.search(r"\.detach\(\)", code):
            yield f"{path}:{number}: a detached thread"


def the_real_env_is_handed_in(files):
    for path, number, line in lines_of(files, "src/"):
        if path not in REAL_ENVS and re.search(r"\bEnv::Real\b", code_of(line)):
            yield f"{path}:{number}: names Env::Real(); take an Env&"


def includes_go_through_the_fences(files):
    """src/layers.cmake says who may include what, but not to a name that is relative."""
    for path, number, line in lines_of(files, "src/"):
        if re.match(r'\s*#\s*include ["<]\.', line):
            yield f"{path}:{number}: {line.strip()}"


def nothing_is_left_to_do(files):
    mark = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
    for path, number, line in lines_of(files, suffixes=(".h", ".cpp", ".py", ".proto", ".md",
                                                        ".toml", ".txt", "/up", "/down", "/run")):
        if mark.search(line) and "tests/fixtures/" not in path:
            yield f"{path}:{number}: {line.strip()}"


def functions_are_short(files):
    for path, text in files.items():
        if path.startswith("src/") and path.endswith((".h", ".cpp")):
            for name, first, last in functions(text):
                if last - first + 1 > FUNCTION_LINES:
                    yield f"{path}:{first}: {name} has {last - first + 1} lines"


def functions(text):
    """(header, first line, last line) of each function: a block with parentheses before it that
    stands in a file, namespace or class."""
    text = re.sub(r'R"(\w*)\((.*?)\)\1"', lambda m: '""' + "\n" * m[0].count("\n"), text,
                  flags=re.DOTALL)
    blocks, header, header_line = [], "", 1     # blocks: (is a container, header, first line)
    for number, line in enumerate(text.splitlines(), start=1):
        code = re.sub(r"'(\\.|[^'\\])'", "' '", code_of(line))
        if code.startswith("#"):
            continue
        for char in code:
            if char == "{":
                outside = all(container for container, _, _ in blocks)
                container = outside and bool(
                    re.match(r"\s*(template\s*<.*>\s*)?(inline\s+)?"
                             r"(namespace|class|struct|union|enum|extern)\b", header))
                blocks.append((container, header.strip(), header_line))
                header = ""
            elif char == "}" and blocks:
                container, title, first = blocks.pop()
                if not container and "(" in title and all(block[0] for block in blocks):
                    yield title.split("(")[0].split()[-1], first, number
                header = ""
            elif char == ";":
                header = ""
            else:
                if not header.strip():
                    header_line = number
                header += char
        header += " "


def files_are_short(files):
    for path, text in files.items():
        lines = len(text.splitlines())
        limit = CORE_FILE_LINES if path.startswith("src/sync/") else FILE_LINES
        if path.startswith("src/") and lines > limit:
            yield f"{path}: {lines} lines"


def classes_of_the_core_are_small(files):
    """Who owns more has more than one thing to do."""
    for path, text in files.items():
        if path.startswith("src/sync/"):
            for name, number in fields(text):
                if number > CORE_FIELDS:
                    yield f"{path}: {name} has {number} fields"


def fields(text):
    """(header, number of fields) of each class and struct."""
    code = re.sub(r"'(\\.|[^'\\])'", "' '", "\n".join(map(code_of, text.splitlines())))
    blocks = []         # [header if it is a class, else None; fields]
    statement = ""
    for char in re.sub(r"^\s*#.*$|\b(public|private|protected):", "", code, flags=re.MULTILINE):
        if char == "{":
            found = re.match(r"\s*(?:template\s*<.*?>\s*)?(?:class|struct)\s+(\w+)", statement)
            # With "=" before it, or a plain name, it is the value that a field begins with.
            blocks.append([found and found[1], 0, statement])
            statement = ""
        elif char == "}" and blocks:
            name, number, statement = blocks.pop()
            if name:
                yield name, number
            value = not name and "(" not in statement and not re.match(
                r"\s*(namespace|enum|union|extern|$)", statement)
            statement = statement if value else ""
        elif char == ";":
            if blocks and blocks[-1][0] and is_field(statement):
                blocks[-1][1] += 1
            statement = ""
        else:
            statement += char


def is_field(statement):
    words = re.sub(r"ABSL_GUARDED_BY\(\w+\)|=.*", "", statement, flags=re.DOTALL)
    words = re.sub(r"\w*function<[^;]*>|variant<[^;]*>", "T", words, flags=re.DOTALL).strip()
    return "(" not in words and len(words.split()) > 1 and not re.match(
        r"(using|static|friend|enum|class|struct|typedef|template|constexpr)\b|.*\boperator\b",
        words)


def headers_open_with_their_rules(files):
    for path, text in files.items():
        if path.startswith("src/") and path.endswith(".h"):
            if not text.startswith("//"):
                yield f"{path}: begins without saying what it is"
            if "\n#pragma once\n" not in text:
                yield f"{path}: no #pragma once"


def sources_are_built(files):
    lists = {path: text for path, text in files.items() if path.endswith("CMakeLists.txt")}
    everything = "\n".join(lists.values())
    for path in files:
        if path.startswith(("src/", "tests/")) and path.endswith(".cpp"):
            folder, _, name = path.rpartition("/")
            near = [lists.get(f"{parent}/CMakeLists.txt", "")
                    for parent in (folder, folder.rpartition("/")[0])]
            if path not in everything and not any(
                    re.search(rf"(^|[\s/(]){re.escape(name)}\b", text) for text in near):
                yield f"{path}: in no CMakeLists.txt"


def tests_do_not_wait_by_sleeping(files):
    """A poll of a condition sleeps for some milliseconds; longer sleeps hope that it is enough."""
    for path, number, line in lines_of(files, "tests/", (".h", ".cpp", ".py")):
        if path not in SLEEPY_TESTS and slept_ms(code_of(line)) > POLL_MS:
            yield f"{path}:{number}: {line.strip()}"


def slept_ms(code):
    """How long the line sleeps; 0 when it does not, a second for a name of SECONDS."""
    if not re.search(r"sleep_for\(|sleep_until\(|SleepFor\(|time\.sleep\(", code):
        return 0
    for pattern, unit in ((r"(\d+)ms|milliseconds\((\d+)", 1),
                          (r"\b(\d+)s\b|\bseconds\((\d+)|time\.sleep\(([\d.]+)\)", 1000)):
        if match := re.search(pattern, code, re.IGNORECASE):
            return float(next(group for group in match.groups() if group)) * unit
    return 1000 if re.search(r"time\.sleep\([^)]*SECONDS", code) else 0


def no_path_of_a_machine(files):
    for path, text in files.items():
        if path != "tests/tidy/tidy.py":
            for number, line in enumerate(text.splitlines(), start=1):
                if re.search(r"(^|[\s\"'=(])/(work|root|home)/", line) and "fixtures/" not in path:
                    yield f"{path}:{number}: {line.strip()}"


def readme_is_the_way_in(files):
    """It stays short; what it leaves out is beside what it describes, and each link leads there."""
    if (lines := len(files.get("README.md", "").splitlines())) > README_LINES:
        yield f"README.md: {lines} lines"
    for path, number, line in lines_of(files, suffixes=(".md",)):
        for link in re.findall(r"\]\(([\w./-]*)(?:#[\w-]+)?\)", line):
            target = os.path.normpath(os.path.join(os.path.dirname(path), link or path))
            if not (ROOT / target).exists():
                yield f"{path}:{number}: {link} is not there"


def settings_are_all_in_the_table(files):
    keys = re.findall(r"^#?([a-z][a-z0-9-]+) = ", files.get("config/podmirrord.toml", ""),
                      re.MULTILINE)
    table = "".join(line.split("|")[1] for line in
                    files.get("config/README.md", "").splitlines() if line.startswith("| "))
    for key in sorted({*keys} ^ {*re.findall("`([a-z0-9-]+)`", table)}):
        yield f"{key}: only in one of config/podmirrord.toml and config/README.md"


# Each rule, and a file that breaks it.
RULES = {
    lines_fit: ("src/sync/a.cpp", "x" * (LINE_COLUMNS + 1)),
    time_and_threads_stay_at_their_places: ("src/sync/a.cpp", "auto t = Clock::now();"),
    the_real_env_is_handed_in: ("src/net/a.cpp", "SteadyMs t = Env::Real().now().steady;"),
    includes_go_through_the_fences: ("src/sync/a.cpp", '#include "../rest/server.h"'),
    nothing_is_left_to_do: ("src/sync/a.cpp", "// TO" "DO: later"),
    functions_are_short: (
        "src/sync/a.cpp", "namespace a {\nint F(int x) {\n" + "  x++;\n" * 69 + "}\n}\n"),
    files_are_short: ("src/sync/a.cpp", "\n" * (CORE_FILE_LINES + 1)),
    classes_of_the_core_are_small: (
        "src/sync/a.h", "class A {\n  int F();\n" + "  B<int, int> b_{1};\n" * 15 + " int c_;\n};"),
    headers_open_with_their_rules: ("src/sync/a.h", "#pragma once\n"),
    sources_are_built: ("src/sync/a.cpp", ""),
    tests_do_not_wait_by_sleeping: ("tests/unit/a.cpp", "std::this_thread::sleep_for(200ms);"),
    readme_is_the_way_in: ("README.md", "[more](nowhere.md)"),
    settings_are_all_in_the_table: ("config/podmirrord.toml", "ack = 1"),
    no_path_of_a_machine: ("README.md", "see /home/me/x"),
}


def load_tree():
    """Every text file of the project, by its path."""
    tree = {}
    for top in ("src", "proto", "deploy", "docker", "tests", "config", ".ci"):
        for path in sorted((ROOT / top).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix not in (
                    ".etcdvalue", ".pb", ".pbstream"):
                tree[str(path.relative_to(ROOT))] = path.read_text(errors="replace")
    for name in ("CMakeLists.txt", "README.md"):
        tree[name] = (ROOT / name).read_text()
    return tree


def main():
    tree, failed = load_tree(), 0
    for rule, (path, text) in RULES.items():
        if not list(rule({path: text})):
            findings = ["does not notice a file that breaks it"]
        else:
            findings = list(rule(tree))
        print(f"{'FAIL' if findings else 'ok  '} {rule.__name__}",
              *(f"     {finding}" for finding in findings), sep="\n")
        failed += bool(findings)
    print(f"{len(RULES) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
