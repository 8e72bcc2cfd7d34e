"""gRPC as other programs speak it: the code that protoc generates for Python from a .proto file."""

import importlib
import subprocess
import sys
import tempfile

from harness import ROOT


def generate(root, file):
    """The modules X_pb2 and X_pb2_grpc of root/X.proto; root is a folder of the project."""
    name = file.removesuffix(".proto").replace("/", ".")
    with tempfile.TemporaryDirectory() as out:
        subprocess.run(["protoc", f"-I{ROOT / root}", f"--python_out={out}", f"--grpc_out={out}",
                        "--plugin=protoc-gen-grpc=/usr/bin/grpc_python_plugin", file], check=True)
        sys.path.insert(0, out)
        try:
            return (importlib.import_module(f"{name}_pb2"),
                    importlib.import_module(f"{name}_pb2_grpc"))
        finally:
            sys.path.remove(out)
