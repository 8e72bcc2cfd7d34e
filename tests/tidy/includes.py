#!/usr/bin/python3
"""Who may include what, shown by the compiler: with the flags of each folder of src, all that it
may include is found, and all that it must not is refused with a reason.
Usage: tests/tidy/includes.py BUILD"""

import json
import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

FOLDERS = sorted(path.name for path in (ROOT / "src").iterdir() if path.is_dir())

# The folders that may include a header.
HEADERS = {
    "base/status.h": {*FOLDERS},
    "telemetry/metrics.h": {"telemetry", "discovery", "client", "rpc", "rest", "app"},
    "cache/cache.h": {"cache", "watch", "sync", "follow", "wire", "client", "rpc", "rest", "app"},
    "watch/watcher.h": {"watch", "rpc", "rest", "app"},
    "sync/driver.h": {"sync", "follow", "wire", "client", "rpc", "rest", "app"},
    "follow/follower.h": {"follow", "wire", "client", "rpc", "app"},
    "wire/codec.h": {"wire", "client", "rpc", "app"},
    "net/address.h": {"net", "discovery", "client", "rpc", "rest", "app"},
    "trust/guard.h": {"trust", "watch", "discovery", "client", "rpc", "rest", "app"},
    "discovery/peer_source.h": {"discovery", "client", "app"},
    "client/client.h": {"client"},
    "rpc/rpc_server.h": {"rpc", "app"},
    "rest/rest_server.h": {"rest", "app"},
    "settings/settings.h": {"settings", "app"},
    "app/daemon.h": {"app"},
    "CLI/CLI.hpp": {"settings"},
    "google/protobuf/message.h": {"wire", "net", "rpc", "discovery", "client", "app"},
    "grpc/grpc.h": {"net", "rpc", "discovery", "client", "app"},
    "grpcpp/grpcpp.h": {"net", "rpc", "discovery", "client", "app"},
    "httplib.h": {"net"},
    "nlohmann/json.hpp": {"discovery", "app", "trust"},
    "openssl/ssl.h": {"client", "net", "trust"},
    "podmirror/v1/cache.pb.h": {"rpc", "client", "app"},
    "podmirror/v1/peer.pb.h": {"wire", "client", "rpc", "app"},
    "etcd/rpc.pb.h": {"discovery", "client", "app"},
    "prometheus/counter.h": {"telemetry"},
    "rapidjson/reader.h": {"rest"},
    "spdlog/logger.h": {"app"},
    "sys/socket.h": {"net", "rpc", "rest", "settings", "trust"},
    "mutex": {"base", "wire", "net", "discovery", "client", "rpc", "rest", "app", "telemetry"},
    "thread": {"base", "wire", "net", "discovery", "client", "rpc", "rest", "app", "telemetry"},
    "toml++/toml.h": {"settings", "trust"},
    "xxhash.h": {"cache", "rpc"},
    "zlib.h": {"net"},
}


def commands(build):
    """For each folder of src the words that compile a source of it: all but -c and -o."""
    found = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = pathlib.Path(entry["file"])
        if path.parent.parent == ROOT / "src":
            words = shlex.split(entry["command"])
            compiler = next(i for i, word in enumerate(words) if re.search(r"\+\+(-\d+)?$", word))
            found[path.parent.name] = words[compiler:words.index("-o")]
    return found


def errors(build, command, headers):
    """What the preprocessor says to a source that includes them all."""
    source = "".join(f"#if __has_include(<{header}>)\n#include <{header}>\n"
                     f'#else\n#error "{header}: not there"\n#endif\n' for header in headers)
    done = subprocess.run([*command, "-E", "-x", "c++", "-", "-o", "/dev/null"], cwd=build,
                          input=source, capture_output=True, text=True, check=False)
    return done.stderr


def findings(build, folder, command):
    allowed = [header for header, folders in HEADERS.items() if folder in folders]
    if said := errors(build, command, allowed):
        yield f"what it may include fails: {said}"
    refused = [header for header in HEADERS if header not in allowed]
    said = errors(build, command, refused)
    for header in refused:
        if not re.search(rf'error: #error "{re.escape(header)}: (only for|not there)', said):
            yield f"may include {header}"


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    found, failed = commands(build), 0
    for folder in FOLDERS:
        wrong = (list(findings(build, folder, found[folder])) if folder in found else
                 ["no source of it is built"])
        print(f"{'FAIL' if wrong else 'ok  '} {folder}", *(f"     {line}" for line in wrong),
              sep="\n")
        failed += bool(wrong)
    print(f"{len(FOLDERS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
