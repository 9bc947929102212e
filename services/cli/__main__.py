"""`tandem`: wires the command line to the environment, the network and the terminal."""

import sys

from rich.console import Console

from services.cli.app import run
from services.cli.client import connect
from services.cli.session import Session
from services.cli.settings import CliSettings
from shared.errors import TandemError
from shared.settings import load_settings


def main() -> None:
    """Runs the command that the arguments name, and exits with its code."""
    errors = Console(stderr=True)
    try:
        settings = load_settings(CliSettings)
    except TandemError as error:
        errors.print(f"tandem: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    console = Console() if sys.stdout.isatty() else Console(width=200)  # a pipe has no width to fit
    sys.exit(run(sys.argv[1:], Session(settings=settings, connect=connect, console=console, errors=errors)))


if __name__ == "__main__":
    main()
