"""What the documentation says of commands is true: they exist, with the flags it names, and none is left out."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from services.cli.app import app
from services.cli.client import Client

CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
TANDEM = re.compile(r"(?:^|[$`(;&|] ?)tandem((?: [^\s`;&|)]+)*)", re.MULTILINE)
MAKE = re.compile(r"(?:^|[$`] ?)make((?: [^\s`]+)*)", re.MULTILINE)
HELP = {"--help", "--install-completion", "--show-completion", "--version"}


def commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command of `tandem` that does something, with the words that call it."""
    command = command or typer.main.get_command(app)
    below = getattr(command, "commands", None)
    if below is None:
        yield path, command
    else:
        if path and command.invoke_without_command:
            yield path, command
        for name, one in below.items():
            yield from commands(one, (*path, name))


def flags(command: Any) -> set[str]:
    return {flag for parameter in command.params for flag in parameter.opts if flag.startswith("--")} - {"--help"}


def documents(root: Path) -> list[Path]:
    return [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").glob("**/*.md"))]


def code_of(path: Path) -> str:
    return "\n".join(CODE.findall(path.read_text(encoding="utf-8")))


def test_every_command_and_flag_of_tandem_is_in_its_manual(root: Path) -> None:
    manual = (root / "docs" / "cli.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## `(tandem [^`]+)`$(.*?)(?=^## |\Z)", manual, re.M | re.S))
    known = {f"tandem {' '.join(path)}": flags(command) for path, command in commands()}
    assert sections.keys() == known.keys()
    assert {title: {flag for flag in known[title] if flag not in text} for title, text in sections.items()} == {
        title: set() for title in sections
    }


def test_every_command_is_shown_with_what_it_prints(root: Path) -> None:
    """`python docs/capture.py` puts the output there."""
    manual = (root / "docs" / "cli.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## `(tandem [^`]+)`$(.*?)(?=^## |\Z)", manual, re.M | re.S))
    shown = {
        title: re.search(rf"^```console\n(?:\$ export .*\n)?\$ {title}\b.*\n(?!\$|```)", text, re.MULTILINE)
        for title, text in sections.items()
    }
    assert [title for title, found in shown.items() if found is None] == []


def test_every_tandem_command_in_the_documents_exists(root: Path) -> None:
    known = dict(commands())
    groups = {path[:1] for path in known if len(path) > 1} | {()}
    wrong, seen = [], 0
    for document in documents(root):
        for match in TANDEM.finditer(code_of(document)):
            words = match.group(1).split()
            names = tuple(word for word in words[:2] if re.fullmatch(r"[a-z]+", word))
            path = next((names[:length] for length in (2, 1) if names[:length] in known), None)
            named = {word.partition("=")[0] for word in words if word.startswith("--")}
            seen += 1
            if path is None:
                if not (names in groups and named <= HELP):
                    wrong.append(f"{document.name}: {match.group()}")
            elif not named <= flags(known[path]) | HELP:
                wrong.append(f"{document.name}: {match.group()}")
    assert wrong == []
    assert seen > 20


def test_every_make_target_in_the_documents_exists(root: Path) -> None:
    makefile = (root / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z]+) *\?=", makefile, re.MULTILINE))
    words = {
        word
        for document in documents(root)
        for match in MAKE.finditer(code_of(document))
        for word in match.group(1).split()
    }
    assert {word for word in words if "=" not in word and re.fullmatch(r"[a-z-]+", word)} <= targets
    assert {word.partition("=")[0] for word in words if "=" in word} <= variables
    assert {"run", "test", "lint"} <= words


def test_make_help_names_every_target(root: Path) -> None:
    makefile = (root / "Makefile").read_text()
    phony = set(" ".join(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)).split())
    assert phony == set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))


def test_every_call_of_the_client_is_in_its_manual(root: Path) -> None:
    manual = (root / "docs" / "client.md").read_text(encoding="utf-8")
    calls = [name for name, _ in inspect.getmembers(Client) if not name.startswith("_")]
    assert [name for name in calls if f"`{name}" not in manual and f".{name}" not in manual] == []


def test_links_between_the_documents_lead_somewhere(root: Path) -> None:
    broken = []
    for document in documents(root):
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
            if "://" not in target and not (document.parent / target).exists():
                broken.append(f"{document.name}: {target}")
    assert broken == []


def anchors(document: Path) -> set[str]:
    """What a `#…` in a link to this document may name: its headings, as they are turned into anchors."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def test_links_to_a_heading_find_it(root: Path) -> None:
    lost, seen = [], 0
    for document in documents(root):
        for target, heading in re.findall(r"\]\(([^)#\s]*\.md)?#([^)]+)\)", document.read_text(encoding="utf-8")):
            seen += 1
            if heading not in anchors((document.parent / target) if target else document):
                lost.append(f"{document.name}: {target}#{heading}")
    assert lost == []
    assert seen > 40


def test_every_page_is_reached_from_the_readme(root: Path) -> None:
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)", (root / "README.md").read_text(encoding="utf-8")))
    assert {f"docs/{path.name}" for path in (root / "docs").glob("*.md")} == linked
