"""One run that is being watched, and how it looks on a terminal."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from services.cli.client import Client
from services.cli.client.views import Evaluation, Run, Series
from services.cli.output import figures_of, progress_text
from services.cli.plots.chart import text_chart
from services.cli.plots.curves import loss_curves, precision_curves
from shared.spec import ema_kind

BAR = 30
MOST_CURVES = 3  # of more runs only the bars are shown


@dataclass
class Watched:
    """What is known of a run. Curves and verdicts are asked for only when there can be new ones."""

    run: Run
    series: Series | None = None
    evaluations: list[Evaluation] = field(default_factory=list)
    told: set[tuple[int, str]] = field(default_factory=set)

    @property
    def over(self) -> bool:
        """Whether the run is over and its newest checkpoint has been judged in each kind, or never will be."""
        if not self.run.finished:
            return False
        judged = {one.kind for one in self.evaluations if one.step == self.run.checkpoint_step}
        return self.run.state != "completed" or judged >= self._kinds()

    def refresh(self, client: Client) -> None:
        """Asks for what is new."""
        before, self.run = self.run, client.run(self.run.id)
        if self.series is None or self.run.step != before.step:
            self.series = client.series(self.run.id, points=300)
        if self.run.latest != before.latest or not self.evaluations:
            self.evaluations = client.evaluations(self.run.id)

    def new_verdicts(self) -> list[Evaluation]:
        """The verdicts that were not told of yet."""
        new = [one for one in self.evaluations if (one.step, one.kind) not in self.told]
        self.told |= {(one.step, one.kind) for one in new}
        return new

    def _kinds(self) -> set[str]:
        """The kinds of weights that an evaluator judges."""
        return {"raw", *(ema_kind(decay) for decay in self.run.spec.get("ema", {}).get("decays", ()))}


def verdict_line(verdict: Evaluation) -> str:
    """A verdict as a line among others."""
    return f"evaluation of step {verdict.step:,}: precision at 1 {figures_of(verdict)}"


def picture(watched: Sequence[Watched], *, width: int, note: str = "") -> RenderableType:
    """Bars of all runs, below them the curves where there are few, in `width` characters."""
    parts: list[RenderableType] = []
    for each in watched:
        parts += [_bar(each.run), Text(f"  {progress_text(each.run)}", overflow="ellipsis", no_wrap=True)]
    for each in watched if len(watched) <= MOST_CURVES else ():
        across = max(20, min(100, width - 12))
        loss = [] if each.series is None else loss_curves(each.series)
        parts += [Text(""), *text_chart(loss, width=across, height=8)]
        if each.evaluations:
            best = max(each.evaluations, key=lambda one: one.precision_at_1 or 0.0)
            title = f"precision at 1, best {figures_of(best)} at step {best.step:,}"
            parts += [Text(""), Text(title), *text_chart(precision_curves(each.evaluations), width=across, height=8)]
    if note:
        parts += [Text(note, style="yellow", overflow="ellipsis", no_wrap=True)]
    return Group(*parts)


def _bar(run: Run) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_row(
        Text(run.id),
        ProgressBar(total=1.0, completed=run.progress, width=BAR),
        Text(f"{run.progress:4.0%} {run.state}"),
    )
    return grid
