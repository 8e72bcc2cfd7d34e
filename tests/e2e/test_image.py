#!/usr/bin/python3
"""The image: its root file system, made by the script that the Dockerfile runs, and the daemon in
it without rights on a read-only mount. What takes a container engine is only read."""

import errno
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import harness
from harness import DAEMON, GRPC_PORT, REST_PORT, ROOT, Rest, Skip, equal, test, wait_for

BUILT = ROOT / "build/image"
ROOTFS = BUILT / "rootfs"
PROBLEM = BUILT / "problem.txt"     # why there is no root file system; absent when there is one
NO_PACKAGES = 3     # exit code of docker/rootfs when it cannot download them
USER = 65532
MAX_MB = 40

# Packages that are in the image for another reason than a library that the daemon loads.
FOR_THEIR_COPYRIGHT = {"gcc-12-base"}


def make_rootfs():
    """Before the namespaces are entered, since packages come over the network."""
    BUILT.mkdir(exist_ok=True)
    PROBLEM.unlink(missing_ok=True)
    made = subprocess.run([ROOT / "docker/rootfs", ROOTFS, DAEMON, BUILT / "debs"], text=True,
                          capture_output=True, timeout=120, check=False)
    if made.returncode == NO_PACKAGES:
        PROBLEM.write_text("\n".join(made.stderr.splitlines()[:1]))
    elif made.returncode != 0:
        sys.exit(f"docker/rootfs: exit code {made.returncode}: {made.stderr}")
    shutil.rmtree(BUILT / "debs", ignore_errors=True)


def files(root):
    """Every path with what a write would change."""
    found = {}
    for folder, folders, names in os.walk(root):
        if folder == str(root):
            folders.remove("proc")
        for path in (pathlib.Path(folder, name) for name in folders + names):
            info = path.lstat()
            found[str(path)] = (info.st_mode, info.st_uid, info.st_size, info.st_mtime_ns)
    return found


def packages():
    lines = (ROOT / "docker/packages.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def dockerfile():
    """The instructions, continued lines joined."""
    text = (ROOT / "docker/Dockerfile").read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


class Container:
    """The image as a container engine mounts it: read-only, with /proc and the files that every
    engine lays over: hosts, resolv.conf."""

    def __init__(self, cluster, hosts=""):
        if PROBLEM.exists():
            raise Skip(f"the image's packages cannot be downloaded: {PROBLEM.read_text()}")
        if pathlib.Path("/proc/self/uid_map").read_text().split()[2] == "1":
            raise Skip("the image runs as another user, which takes root")
        self.cluster = cluster
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="image-", dir=harness.SCRATCH))
        shutil.copytree(ROOTFS, self.root, symlinks=True, dirs_exist_ok=True)
        (self.root / "etc/hosts").write_text(hosts)
        (self.root / "etc/resolv.conf").write_text("")
        for command in (["mount", "--bind", self.root, self.root],
                        ["mount", "-t", "proc", "proc", self.root / "proc"],
                        ["mount", "-o", "remount,ro,bind", self.root]):
            subprocess.run(command, check=True)

    def command(self, *args):
        return [shutil.which("chroot"), f"--userspec={USER}:{USER}", self.root,
                "/usr/bin/podmirrord", *args]

    def run(self, *args):
        return subprocess.run(self.command(*args), env={}, capture_output=True, text=True,
                              timeout=20, check=False)

    def start(self, address, *args):
        """A daemon that listens on the address with the image's ports."""
        process = self.cluster.spawn(
            self.command("--rest-listen", f"{address}:{REST_PORT}",
                         "--grpc-listen", f"{address}:{GRPC_PORT}", *args),
            address, env={"POD_IP": address, "POD_NAME": f"pod-{address}"},
            stdout=subprocess.DEVNULL)
        return process


def wait_ready(address):
    wait_for(lambda: get(address, "/readyz").status == 200, 20, f"{address} ready")


def get(address, path):
    with Rest(address) as rest:
        return rest.request("GET", path)


@test
def packages_are_what_the_daemon_loads(cluster):
    listed = subprocess.run(["ldd", DAEMON], capture_output=True, text=True, check=True).stdout
    assert "not found" not in listed, listed
    loaded = [os.path.realpath(word) for word in listed.split() if word.startswith("/")]
    assert len(loaded) > 20, listed
    # Debian 12 installs into /usr what some packages say they have in /.
    names = [name for library in loaded for name in (library, library.removeprefix("/usr"))]
    found = subprocess.run(["dpkg", "--search", *names], capture_output=True, text=True,
                           check=False).stdout
    owner_of = {os.path.realpath(line.split(": ")[1]): line.split(":")[0]
                for line in found.splitlines()}
    owners = {owner_of[library] for library in loaded} | FOR_THEIR_COPYRIGHT
    equal(packages(), sorted(owners), "docker/packages.txt")


@test
def build_has_all_that_it_needs(cluster):
    """What the Dockerfile copies is not ignored and is enough to configure the build."""
    wanted = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines()
              if line.startswith("!")}
    copied = set()
    for line in dockerfile():
        words = line.split()
        if words[0] == "COPY" and not words[1].startswith("--from"):
            copied.update(words[1:-1])
            for source in words[1:-1]:
                target = cluster.directory / "context" / source
                target.parent.mkdir(parents=True, exist_ok=True)
                copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
                copy(ROOT / source, target)
    equal(copied, wanted, "COPY and .dockerignore")
    subprocess.run(["cmake", "-S", cluster.directory / "context", "-B", cluster.directory / "build",
                    "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DPODMIRROR_TESTS=OFF"],
                   check=True, capture_output=True, timeout=120)


@test
def dockerfile_keeps_its_rules(cluster):
    lines = dockerfile()
    last = lines[max(number for number, line in enumerate(lines) if line.startswith("FROM")):]
    text = "\n".join(last)
    assert f"USER {USER}:{USER}" in last, text
    assert 'ENTRYPOINT ["/usr/bin/podmirrord"]' in last, text
    assert "EXPOSE 8080 7070 8443 7443 8081" in last, text
    assert not any(line.startswith("RUN") for line in last), "there is no shell to run it"
    project = (ROOT / "CMakeLists.txt").read_text()
    version = re.search(r"project\(podmirror VERSION ([\d.]+)", project)[1]
    assert f'image.version="{version}"' in text, text


@test
def serves_as_nobody_on_a_read_only_root(cluster):
    container = Container(cluster)
    before = files(container.root)
    try:
        (container.root / "etc/written").touch()
        raise AssertionError("the root file system can be written")
    except OSError as error:
        equal(error.errno, errno.EROFS)
    config = (ROOT / "config/podmirrord.toml").read_text()
    version = container.run("--version")
    equal(version.returncode, 0, version.stderr)
    refused = container.run("--check-config", "--config", "/etc/podmirror/none.toml")
    equal(refused.returncode, 2, refused.stderr)
    setting = re.search(r"^ack = (.*)$", config, re.MULTILINE)[1].strip('"')
    equal(container.run("--check-config", "--discovery", "none", "--ack", setting).returncode, 0)

    address = f"{cluster.net}.1"
    process = container.start(address, "--discovery", "none")
    wait_ready(address)
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    equal(re.search(r"^Uid:\s+(.*)$", status, re.MULTILINE)[1].split(), [str(USER)] * 4)
    equal(get(address, "/healthz").status, 200)
    with Rest(address) as rest:
        equal(rest.request("PUT", "/v1/cache/1/k", b"value").status, 200)
        equal(rest.request("GET", "/v1/cache/1/k").body, b"value")
    opened = [os.readlink(fd) for fd in pathlib.Path(f"/proc/{process.pid}/fd").iterdir()]
    assert not [name for name in opened if name.startswith(str(container.root))], opened
    process.send_signal(signal.SIGTERM)
    equal(process.wait(20), 0, "exit code")
    equal(files(container.root), before, "files of the image")


@test
def daemons_of_the_image_find_each_other_by_name(cluster):
    addresses = [f"{cluster.net}.{number}" for number in (1, 2)]
    names = ["one.test", "two.test"]
    container = Container(cluster, "".join(f"{address} {name}\n"
                                           for address, name in zip(addresses, names)))
    args = ("--discovery", "static", "--peers", ",".join(f"{name}:{GRPC_PORT}" for name in names),
            "--cluster", "image", "--bootstrap-timeout", "2s")
    for address in addresses:
        container.start(address, *args)
    for address in addresses:   # each waits for the other: of two listed, both have to be there
        wait_ready(address)
    with Rest(addresses[0]) as rest:
        wait_for(lambda: rest.request("PUT", "/v1/cache/1/k?ack=one", b"v").json()["ack"]["acked"],
                 10, "a write is acknowledged by the other one")
    equal(get(addresses[1], "/v1/cache/1/k").body, b"v")


@test
def image_is_small_and_holds_no_program_but_the_daemon(cluster):
    if PROBLEM.exists():
        raise Skip(f"the image's packages cannot be downloaded: {PROBLEM.read_text()}")
    every = [path for path in ROOTFS.rglob("*") if path.is_file() and not path.is_symlink()]
    size = sum(path.stat().st_size for path in every) / 1e6
    print(f"     {size:.1f} MB in {len(every)} files")
    assert size < MAX_MB, f"{size:.1f} MB"
    programs = [str(path.relative_to(ROOTFS)) for path in every
                if os.access(path, os.X_OK) and path.stat().st_mode & 0o111
                and ".so" not in path.name]
    equal(programs, ["usr/bin/podmirrord"], "programs")
    equal([path for path in every if path.stat().st_mode & 0o6000], [], "setuid")
    for package in packages():
        assert (ROOTFS / "var/lib/dpkg/status.d" / package).exists(), package
        assert (ROOTFS / "usr/share/doc" / package / "copyright").exists(), package


if __name__ == "__main__":
    if harness.ISOLATED not in os.environ:
        make_rootfs()
    harness.main()
