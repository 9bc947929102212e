"""The `tandem` command: its commands put together, and its errors put into one line and an exit code."""

from collections.abc import Sequence
from typing import Annotated

import typer
import typer.main
from typer.exceptions import TyperException

from services.cli.commands import data, follow, fsck, keys, models, plot, runs, up, wait, watch
from services.cli.exits import exit_code
from services.cli.session import Session
from shared import observe
from shared.errors import TandemError

app = typer.Typer(name="tandem", no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
app.add_typer(runs.app, name="runs")
app.add_typer(data.app, name="data")
app.add_typer(keys.app, name="keys")
app.add_typer(plot.app, name="plot")
app.add_typer(models.app, name="models")
app.command("up")(up.up)
app.command("predict")(models.predict)
app.command("recipes")(runs.recipes)
app.command("logs")(follow.logs)
app.command("events")(follow.events)
app.command("watch")(watch.watch)
app.command("wait")(wait.wait)
app.command("fsck")(fsck.fsck)
app.command("slots")(runs.slots)


@app.callback(invoke_without_command=True)
def tandem(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Train image classifiers and evaluate them while they train.

    The gateway's address is read from TANDEM_URL (http://127.0.0.1:8000 without it).
    """
    if version:
        session: Session = context.obj
        session.show(observe.version())
        raise typer.Exit


def run(arguments: Sequence[str], session: Session) -> int:
    """Runs one command.

    Args:
        arguments: What stands after `tandem` on the command line.
        session: What commands are given.

    Returns:
        The exit code: 0 when all went well; errors are printed on `session.errors`, one line each.
    """
    command = typer.main.get_command(app)
    try:
        code = command.main(list(arguments), prog_name="tandem", standalone_mode=False, obj=session)
    except TandemError as error:
        _complain(session, str(error))
        return exit_code(error)
    except TyperException as error:
        message = error.format_message().rstrip(".")
        if message:  # without arguments there is none: the help was printed instead
            _complain(session, f"{message}. `tandem --help` shows what there is")
        return 2
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        return 1
    return code if isinstance(code, int) else 0


def _complain(session: Session, text: str) -> None:
    session.tell(f"tandem: {' '.join(text.split())}")
