"""The screen with and without a terminal, and when it is gone."""

import io

from rich.console import Console

from services.cli.screen import Screen


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_without_a_terminal_progress_is_a_plain_line_every_few_seconds() -> None:
    output, clock = io.StringIO(), Clock()
    screen = Screen(console=Console(file=output, width=20), clock=clock, interval=5)
    with screen.live():
        for step in range(12):
            screen.progress(f"step {step} of 12 and a text that is longer than twenty characters", step / 12)
            clock.now += 1
    assert [line.split()[1] for line in output.getvalue().splitlines()] == ["0", "5", "10"]
    assert "\x1b" not in output.getvalue()


def test_without_a_terminal_the_same_progress_is_not_repeated() -> None:
    output, clock = io.StringIO(), Clock()
    screen = Screen(console=Console(file=output), clock=clock, interval=5)
    for _ in range(3):
        screen.progress("waiting", None)
        clock.now += 10
    assert output.getvalue() == "waiting\n"


def test_on_a_terminal_lines_stay_above_one_living_line() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=100, legacy_windows=False)
    screen = Screen(console=console, clock=Clock())
    with screen.live():
        screen.progress("step 1 of 2", 0.5)
        screen.line("evaluation  step 1: [raw] 0.5")
        screen.progress("step 2 of 2", 1.0)
    assert "step 1 of 2" in output.getvalue() and "step 2 of 2" in output.getvalue()
    assert "evaluation  step 1: [raw] 0.5\n" in output.getvalue()


def test_closed_terminal_silences_and_never_raises() -> None:
    class Closed(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(5, "Input/output error")

    screen = Screen(console=Console(file=Closed()), clock=Clock())
    with screen.live():
        screen.line("hello")
        screen.progress("step 1 of 2", 0.5)
