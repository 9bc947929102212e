"""`docs/tutorial-map.md` names everything the tutorial's readers know, and what it points at exists."""

import ast
import re
from pathlib import Path

import pytest

NAMES = {
    "cifar10_input.py",
    "cifar10.py",
    "cifar10_train.py",
    "cifar10_eval.py",
    "cifar10_multi_gpu_train.py",
    "read_cifar10",
    "distorted_inputs",
    "inputs",
    "_generate_image_and_label_batch",
    "inference",
    "loss",
    "train",
    "_activation_summary",
    "_add_loss_summaries",
    "_variable_with_weight_decay",
    "_variable_on_cpu",
    "maybe_download_and_extract",
    "evaluate",
    "eval_once",
    "queue runners",
    "shuffle_batch",
}


@pytest.fixture(scope="module")
def rows(root: Path) -> list[list[str]]:
    """The cells of every row below the tables' heads."""
    text = (root / "docs" / "tutorial-map.md").read_text(encoding="utf-8")
    table = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row] for row in table]
    return [row for row in cells if row[0] != "the tutorial" and not set(row[0]) <= set("- ")]


def targets(row: list[str]) -> list[str]:
    return re.findall(r"`([^`]+)`", row[1])


def defined(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def test_every_name_of_the_tutorial_is_in_the_table_once(rows: list[list[str]]) -> None:
    names = [row[0].strip("`") for row in rows]
    assert sorted(names) == sorted(NAMES)


def test_no_cell_is_empty(rows: list[list[str]]) -> None:
    assert [row for row in rows if len(row) != 4 or not all(row)] == []


def test_every_place_that_is_named_exists(rows: list[list[str]], root: Path) -> None:
    missing = []
    for row in rows:
        assert targets(row), f"{row[0]} leads nowhere"
        for target in targets(row):
            path, _, symbol = target.partition("::")
            if not (root / path).is_file() or (symbol and symbol not in defined(root / path)):
                missing.append(f"{row[0]}: {target}")
    assert missing == []


def test_every_function_leads_to_a_symbol(rows: list[list[str]]) -> None:
    functions = [row for row in rows if not row[0].strip("`").endswith(".py")]
    assert [row[0] for row in functions if not all("::" in target for target in targets(row))] == []
