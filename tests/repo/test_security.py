"""Nothing that is read can run; no path is made of what was asked; the rules on security lead to tests that exist."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CAN_RUN = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle", "imp"}
CALLS = {"eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.full_load", "yaml.unsafe_load", "yaml.load_all"}
LINK = re.compile(r"\[`(\w+)`\]\(\.\./(tests/[\w/]+\.py)\)")


def modules(root: Path, files: list[Path], *folders: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in files:
        if path.suffix == ".py" and path.parts[0] in folders:
            yield path, ast.parse((root / path).read_text(encoding="utf-8"))


def broken(tree: ast.AST) -> Iterator[str]:
    """Whatever in a module could run what it reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.partition(".")[0] in CAN_RUN)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in CAN_RUN:
            yield str(node.module)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in CALLS:
                yield called
            for keyword in node.keywords:
                if keyword.arg in ("shell", "allow_pickle") and ast.unparse(keyword.value) != "False":
                    yield f"{called}({keyword.arg}=…)"


def test_no_module_can_run_what_it_reads(root: Path, files: list[Path]) -> None:
    found = {
        path: list(broken(tree)) for path, tree in modules(root, files, "services", "shared", "docker", "benchmarks")
    }
    assert len(found) > 100
    assert {path: what for path, what in found.items() if what} == {}


def test_the_check_sees_each_way_to_run_what_is_read() -> None:
    text = """
import pickle.loads
from joblib import load
eval(text)
yaml.load(text, Loader=yaml.Loader)
subprocess.run(line, shell=True)
numpy.load(file, allow_pickle=True)
"""
    assert len(list(broken(ast.parse(text)))) == 6


def joins(node: ast.AST) -> bool:
    """Whether a path may be made here of something that is not written here: `folder / name`, `Path(name)`, …"""
    if isinstance(node, ast.BinOp):
        constant = isinstance(node.right, ast.Constant) or (
            isinstance(node.right, ast.Name) and node.right.id.isupper()
        )
        return isinstance(node.op, ast.Div) and not constant
    if not isinstance(node, ast.Call) or not node.args or all(isinstance(one, ast.Constant) for one in node.args):
        return False
    called = ast.unparse(node.func)
    return called in ("Path", "open", "os.path.join") or called.endswith((".joinpath", ".with_name", ".with_segments"))


NUMBERS = {
    "1.0 / rate",
    "shifted / shifted.sum(axis=1, keepdims=True)",
    "width / image.width",
    "height / image.height",
    "size[1] * target[0] / target[1]",
    "size[0] * target[1] / target[0]",
    "each / total",
    "int.from_bytes(digest) / 2 ** 64",
    "step / run.steps",
    "(run.steps - step) * run.spec.batch_size / rate",
}
# Whatever makes a path in the gateway, and why nothing that was asked for is in it unchecked.
PATHS = {
    "arrival.py: Path(root, name)": "what a folder was found to hold",
    "arrival.py: folder.root / name": "a fixed list of names",
    "index/reading.py: folder.evaluations / str(step)": "a step that was listed",
    "launchers/process.py: self._folder / f'{slot}{suffix}'": "configured, or fits SLOT_NAME",
    "launchers/procfs.py: PROC / str(pid)": "a whole number",
    "predict/models.py: export.folder / name": "a FileName of a manifest",
    "steering/making.py: checkpoint.folder / name": "a FileName of a manifest",
    "streams/feed.py: self._folder / f'{base:018}.jsonl'": "a whole number",
    "web/assets.py: Path(__file__)": "the page's own files",
    "web/assets.py: Path(name)": "for its suffix alone",
    "web/library.py: Path(found.submodule_search_locations[0])": "a package's own folder",
    "web/library.py: Path(found.submodule_search_locations[0]) / library.folder": "a fixed list of libraries",
    "web/library.py: folder / name": "a fixed list of files",
    "webhooks/configuration.py: path.parent / hook.secret_file": "the operator's configuration",
    "webhooks/positions.py: self._folder / f'{name}.json'": "the operator's configuration, whose names are checked",
}


def test_the_gateway_joins_no_path_but_those_that_were_looked_at(root: Path, files: list[Path]) -> None:
    # Paths on the volume are made by shared.layout, which checks each identifier; routes make none of their own.
    joined = {
        f"{path.relative_to('services/gateway').as_posix()}: {ast.unparse(node)}"
        for path, tree in modules(root, files, "services")
        if path.parts[1] == "gateway"
        for node in ast.walk(tree)
        if joins(node) and ast.unparse(node) not in NUMBERS
    }
    assert joined == PATHS.keys()


@pytest.mark.parametrize(
    "text",
    [
        "folder / name",
        "folder / 'runs' / name.lower()",
        "folder / names[0]",
        "folder / (name + '.json')",
        "Path(name)",
        "Path('/srv', name)",
        "open(name)",
        "os.path.join(folder, name)",
        "folder.joinpath(name)",
        "path.with_name(name)",
        "volume.root / f'{name}.json'",
    ],
)
def test_the_check_sees_each_way_to_join_a_path(text: str) -> None:
    assert any(joins(node) for node in ast.walk(ast.parse(text)))


def test_every_rule_leads_to_a_test_that_exists(root: Path) -> None:
    links = LINK.findall((root / "docs" / "security.md").read_text(encoding="utf-8"))
    assert len(links) > 12
    missing = [link for link in links if f"def test_{link[0]}(" not in (root / link[1]).read_text(encoding="utf-8")]
    assert missing == []
