"""Certificates for the tests, made by openssl: authorities, and what they sign."""

import dataclasses
import datetime
import pathlib
import subprocess

PEER = "URI:spiffe://cluster.test/ns/default/sa/podmirror"    # what daemons carry here
BOTH = "serverAuth,clientAuth"


def openssl(*args, cwd=None, stdin=None):
    return subprocess.run(["openssl", *map(str, args)], cwd=cwd, input=stdin, check=True,
                          capture_output=True).stdout


@dataclasses.dataclass
class Files:
    cert: pathlib.Path
    key: pathlib.Path


class Authority:
    """Signs for a test. Everything lies in `directory`."""

    def __init__(self, directory, name="ca"):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.cert = self.directory / f"{name}.crt"
        self.key = self.directory / f"{name}.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", self.key, "-out", self.cert, "-days", "2", "-subj", f"/CN={name}",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def issue(self, name, names=PEER, usage=BOTH, start=None, end=None):
        """A certificate for CN=`name` with those alternative names; `start` and `end` are as in
        20261129100000Z."""
        files = Files(self.directory / f"{name}.crt", self.directory / f"{name}.key")
        request = openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                          "-nodes", "-keyout", files.key, "-subj", f"/CN={name}")
        lines = [f"extendedKeyUsage={usage}"] + ([f"subjectAltName={names}"] if names else [])
        (self.directory / "extensions").write_text("\n".join(lines) + "\n")
        (self.directory / "index.txt").write_text("")
        (self.directory / "ca.cnf").write_text(
            "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nnew_certs_dir=.\nrand_serial=yes\n"
            "policy=p\ndefault_md=sha256\n[p]\ncommonName=supplied\n")
        (self.directory / "request.csr").write_bytes(request)
        when = ["-startdate", start] if start else []
        when += ["-enddate", end] if end else ["-days", "2"]
        openssl("ca", "-batch", "-config", "ca.cnf", "-in", "request.csr", "-notext",
                "-cert", self.cert, "-keyfile", self.key, "-extfile", "extensions",
                "-out", files.cert, *when, cwd=self.directory)
        return files


def in_seconds(seconds):
    """A time from now, as Authority.issue takes it."""
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return moment.strftime("%Y%m%d%H%M%SZ")


def self_signed(directory, name, names=PEER):
    """A certificate that nobody but itself has signed."""
    files = Files(pathlib.Path(directory) / f"{name}.crt", pathlib.Path(directory) / f"{name}.key")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", files.key, "-out", files.cert, "-days", "2", "-subj", f"/CN={name}",
            "-addext", f"subjectAltName={names}", "-addext", f"extendedKeyUsage={BOTH}",
            "-addext", "basicConstraints=critical,CA:FALSE")
    return files


class Mounted:
    """A folder as a kubelet mounts a Secret: tls.crt, tls.key and ca.crt are links that lead
    through `..data`, and change all at once when that one is replaced."""

    _FILES = {"cert": "tls.crt", "key": "tls.key", "ca": "ca.crt"}

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True)
        self._content = {}
        self._number = 0
        for name in self._FILES.values():
            (self.directory / name).symlink_to(f"..data/{name}")

    def put(self, **files):
        """cert, key, ca: a file, or a list of files for one behind the other. The others stay."""
        for what, sources in files.items():
            sources = sources if isinstance(sources, list) else [sources]
            self._content[what] = b"".join(source.read_bytes() for source in sources)
        self._number += 1
        version = self.directory / f"..{self._number}"
        version.mkdir()
        for what, content in self._content.items():
            (version / self._FILES[what]).write_bytes(content)
        (self.directory / "..data_tmp").symlink_to(version.name)
        (self.directory / "..data_tmp").rename(self.directory / "..data")
