"""The shape of the repository: which folders there are, what is pinned, and what must stand in no file."""

import ast
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

FOLDERS = {".ci", "benchmarks", "docker", "docs", "recipes", "services", "shared", "tests"}
SERVICES = {"trainer", "evaluator", "gateway", "cli"}
TEXT = {"", ".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".json", ".cfg", ".sh", ".html", ".js", ".css", ".svg"}

# In pieces, so that this file does not find itself.
DEVELOPERS_PATHS = re.compile(
    "|".join([r"(?<![\w.])/" + "work/", "/tmp" + "/w/", r"/Users" + "/", r"(?<!\w)/root" + "/"])
)
REGISTRIES = re.compile("|".join(["pypi" + r"\.org", "python" + "hosted", "index" + "-url"]))


def texts(root: Path, files: list[Path]) -> dict[Path, str]:
    return {path: (root / path).read_text(encoding="utf-8") for path in files if path.suffix in TEXT}


def installed_extras(root: Path, *words: str, path: str = os.environ["PATH"]) -> list[str]:
    show = ["make", "--no-print-directory", "--eval", "show:;@echo $(EXTRAS)", *words, "show"]
    environment = os.environ | {"PATH": path}
    return (
        subprocess.run(show, cwd=root, env=environment, capture_output=True, text=True, check=True)
        .stdout.strip()
        .split(",")
    )


def test_top_level_folders_are_those_of_the_house(files: list[Path]) -> None:
    assert {path.parts[0] for path in files if len(path.parts) > 1} <= FOLDERS


def test_a_service_is_a_package_of_its_own_with_a_main(files: list[Path]) -> None:
    packages = {path.parts[1] for path in files if path.parts[0] == "services" and len(path.parts) > 2}
    assert packages == SERVICES
    assert {Path("services") / service / "__main__.py" for service in SERVICES} <= set(files)


def test_tests_mirror_the_source(files: list[Path]) -> None:
    known = SERVICES | {
        "shared",
        "protocol",
        "clients",
        "faults",
        "processes",
        "stack",
        "repo",
        "benchmarks",
        "docker",
        "web",
    }
    assert {path.parts[1] for path in files if path.parts[0] == "tests" and len(path.parts) > 2} <= known


@pytest.mark.parametrize("pattern", [DEVELOPERS_PATHS, REGISTRIES], ids=["a developer's machine", "a package registry"])
def test_no_file_names(pattern: re.Pattern[str], root: Path, files: list[Path]) -> None:
    found = [
        f"{path}: {match.group()}" for path, text in texts(root, files).items() for match in pattern.finditer(text)
    ]
    assert found == []


def test_every_module_says_what_it_is(root: Path, files: list[Path]) -> None:
    modules = [path for path in files if path.suffix == ".py" and path.parts[0] in {"services", "shared", "benchmarks"}]
    assert len(modules) > 30
    silent = [path for path in modules if not ast.get_docstring(ast.parse((root / path).read_text(encoding="utf-8")))]
    assert silent == []


@pytest.mark.parametrize(
    "package", ["services", "shared", *(f"services/{one}" for one in sorted(SERVICES)), "shared/data", "shared/ml"]
)
def test_what_the_map_of_a_package_names_is_there(package: str, root: Path) -> None:
    """Its docstring says in a list what lies where: modules as `name`, packages as `name/`."""
    folder = root / package
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    named = re.findall(r"`([a-z0-9_]+)/?(?=[`.])", text.partition("\n- ")[2])
    assert len(named) > 2
    known = {path.stem for path in folder.iterdir()} | {"shared", "docs", "tandem", "build_model"}
    assert [name for name in named if name not in known] == []


def test_constraints_pin_versions_and_say_nothing_of_where_they_came_from(root: Path) -> None:
    for line in (root / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"(#.*|[A-Za-z0-9._-]+==[A-Za-z0-9.+!-]+)?", line), line


def test_every_dependency_is_pinned(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    pinned = {normal(line.partition("==")[0]) for line in (root / "constraints.txt").read_text().splitlines()}
    requirements = [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ]
    loose = [one for one in requirements if "==" not in one and normal(re.split(r"[\[;<>= ]", one)[0]) not in pinned]
    assert loose == []


def test_what_dependencies_depend_on_is_pinned_too_and_installed_as_it_is_pinned(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lines = (root / "constraints.txt").read_text().splitlines()
    pinned = {normal(line.partition("==")[0]): line.partition("==")[2] for line in lines}
    wanted = [one for extra in installed_extras(root) for one in project["optional-dependencies"][extra]]
    installed = dict(closure([*project["dependencies"], *wanted]))
    assert len(installed) > 80
    del installed["setuptools"]  # which comes with Python's virtual environments
    assert {name: version for name, version in installed.items() if pinned.get(name) != version} == {}


def closure(requirements: list[str]) -> Iterator[tuple[str, str]]:
    """The names and versions of what is installed for requirements, and for those of it, and so on."""
    todo, seen = [Requirement(one) for one in requirements], set()
    while todo:
        one = todo.pop()
        key = (normal(one.name), frozenset(one.extras))
        if key in seen or (one.marker is not None and not one.marker.evaluate({"extra": ""})):
            continue
        seen.add(key)
        found = metadata.distribution(one.name)
        yield key[0], found.version
        for text in found.requires or []:
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *one.extras)):
                needed.marker = None
                todo.append(needed)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_what_runs_on_a_clean_checkout_is_lint_and_the_tests(root: Path) -> None:
    script = (root / ".ci" / "run").read_text()
    called = re.findall(r"^make\b.*?([\w-]+)$", script, re.MULTILINE)
    assert called == ["lint", "test", "test-stack"]
    assert (root / ".ci" / "run").stat().st_mode & 0o111


@pytest.mark.parametrize(
    ("answer", "words", "tensorflow"),
    [("GPU 0: NVIDIA L4", [], "gpu"), ("GPU 0: NVIDIA L4", ["DEVICE=cpu"], "training"), ("", [], "training")],
)
def test_tensorflow_comes_with_cuda_where_there_is_a_gpu(
    root: Path, tmp_path: Path, answer: str, words: list[str], tensorflow: str
) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text(f"#!/bin/sh\n[ -z '{answer}' ] || echo '{answer}'\n")
    driver.chmod(0o755)
    assert installed_extras(root, *words, path=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")[0] == tensorflow
