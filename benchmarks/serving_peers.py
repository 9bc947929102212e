"""The peers of the benchmark of serving: how each is installed and started.

A peer of another project runs from that project's own package, in an environment of its own, which is made once and
kept below the user's cache folder. All serve the same model file, answer with the five most probable classes, and take
a PNG as the body.
"""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
QUIET = {"ORT_DISABLE_TELEMETRY": "1"}
"""As tandem has it: none spends time on reports to the maker of ONNX Runtime."""
RUNTIME = ("onnxruntime==1.32.0", "pillow==13.0.0", "numpy==2.4.6")


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One peer.

    Attributes:
        name: As printed.
        path: Of the URL to ask.
        command: Its words; `{bin}` is the environment's folder of programs, `{port}` and `{model}` what they say.
        packages: What its environment needs beside ONNX Runtime; none: tandem's own environment does.
        environment: Variables.
    """

    name: str
    path: str
    command: tuple[str, ...]
    packages: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


PEERS = (
    Peer(
        name="FastAPI + ONNX Runtime",
        path="/classify",
        command=(sys.executable, "-m", "benchmarks.serving_peer", "{model}", "{port}"),
    ),
    Peer(
        name="mosec 0.9.8",
        path="/inference",
        command=("{bin}/python", "serving_mosec.py", "--address", "127.0.0.1", "--port", "{port}"),
        packages=("mosec==0.9.8",),
    ),
    Peer(
        name="BentoML 1.4.39",
        path="/classify",
        command=("{bin}/bentoml", "serve", "serving_bentoml:Classifier", "--host", "127.0.0.1", "--port", "{port}"),
        packages=("bentoml==1.4.39",),
        environment={"BENTOML_DO_NOT_TRACK": "1"},
    ),
)


def start(peer: Peer, *, model: Path, port: int) -> "subprocess.Popen[bytes]":
    """Starts a peer; its environment is made if need be."""
    folder = _environment(peer) if peer.packages else Path(sys.prefix)
    words = [word.format(bin=folder / "bin", model=model, port=port) for word in peer.command]
    variables = {**os.environ, **QUIET, **peer.environment, "SERVING_MODEL": str(model)}
    quiet = subprocess.DEVNULL
    where = HERE if peer.packages else HERE.parent
    return subprocess.Popen(words, cwd=where, env=variables, stdout=quiet, stderr=quiet)


def _environment(peer: Peer) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tandem-benchmarks"
    folder = cache / "-".join(peer.packages).replace("==", "-")
    if not (folder / "complete").exists():
        print(f"installing {peer.name} into {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *peer.packages, *RUNTIME], check=True)
        (folder / "complete").touch()
    return folder
