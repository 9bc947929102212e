"""Nothing that is read can run; no path is made of what was asked; the rules on security lead to tests that exist."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

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
    """Whether a path is made here: `folder / name`, or `Path(name)` (FastAPI's own `Path` has keywords alone)."""
    if isinstance(node, ast.BinOp):
        constant = isinstance(node.right, ast.Name) and node.right.id.isupper()
        named = isinstance(node.right, ast.Name | ast.JoinedStr | ast.Attribute)
        return isinstance(node.op, ast.Div) and named and not constant
    return isinstance(node, ast.Call) and bool(node.args) and ast.unparse(node.func) in ("Path", "open", "os.path.join")


def test_no_route_joins_a_path_that_it_was_asked_for(root: Path, files: list[Path]) -> None:
    # Paths on the volume are made by shared.layout, which checks each identifier; routes make none of their own.
    joined = [
        f"{path}:{node.lineno}: {ast.unparse(node)}"
        for path, tree in modules(root, files, "services")
        if path.parts[:3] == ("services", "gateway", "routes")
        for node in ast.walk(tree)
        if joins(node)
    ]
    assert joined == []


def test_every_rule_leads_to_a_test_that_exists(root: Path) -> None:
    links = LINK.findall((root / "docs" / "security.md").read_text(encoding="utf-8"))
    assert len(links) > 12
    missing = [link for link in links if f"def test_{link[0]}(" not in (root / link[1]).read_text(encoding="utf-8")]
    assert missing == []
