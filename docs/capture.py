"""Runs the commands of `docs/cli.md` and puts what they print in the place of what stands there.

    TANDEM_URL=… TANDEM_VOLUME=… python docs/capture.py FOLDER

Of each block of console lines every `$ tandem …` is run, in the order of the page, in FOLDER, which has a picture
`ring.png`; the volume has a finished run `shapes`. Blocks that start with `$ tandem up` or `$ tandem keys` stay as
they are: the one has to be running, and what the others print is a secret. Long output is cut in its middle.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).with_name("cli.md")
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KEPT = re.compile(r"\$ (tandem (up|keys)|export)\b")
LINES = 14


def main() -> int:
    """Rewrites the page. Returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.absolute()
    page = BLOCK.sub(lambda block: captured(block, folder), PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(page, encoding="utf-8")
    return 0


def captured(block: re.Match[str], folder: Path) -> str:
    """A block with what its commands print now."""
    commands = [line for line in block.group(1).splitlines() if line.startswith("$ ")]
    if not commands or KEPT.match(commands[0]):
        return block.group()
    lines = [line for command in commands for line in (command, *output_of(command.removeprefix("$ "), folder))]
    return "\n".join(["```console", *lines, "```"])


def output_of(command: str, folder: Path) -> list[str]:
    """What a command prints, and its exit code if that is not 0."""
    tandem = f'"{sys.executable}" -m services.cli'
    done = subprocess.run(
        f'tandem() {{ (cd "{folder}" && {tandem} "$@"); }}; {command}',
        shell=True,
        executable="/bin/bash",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    found = [line.rstrip() for line in done.stdout.replace(str(folder), "/home/me").splitlines()]
    if len(found) > LINES:
        found = [*found[: LINES // 2], "…", *found[-(LINES // 2) :]]
    if done.returncode:
        found.append(f"(exit code {done.returncode})")
    return found


if __name__ == "__main__":
    sys.exit(main())
