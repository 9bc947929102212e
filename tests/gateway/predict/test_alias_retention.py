"""Aliases and the evaluator's retention: whatever happens in which order, an alias points at what answers."""

import random
from collections.abc import Mapping
from typing import Any

import pytest

from services.evaluator.export_retention import prune
from services.gateway.predict.aliases import BEST, LATEST
from shared.errors import ConflictError
from shared.layout import listed_steps
from shared.locks import exclusive_lock
from shared.records import Alias, Aliases, Canary, read_record
from tests.gateway.predict.asking import A, asked, order, place, points

NAMES = (BEST, LATEST, "stable", "mine")


class Story:
    """A run whose exports come and go while its aliases move, and whose gateway is started anew now and then."""

    def __init__(self, models: Any, make_serving: Any, seed: int) -> None:
        self.chance = random.Random(seed)
        self.models = models
        self.folder = models.volume.run(A)
        self.make_serving = make_serving
        self.step = 0
        self.given_up: set[tuple[str, int | None]] = set()
        self.export()
        self.serving = make_serving()

    def export(self) -> None:
        """As the evaluator does: commits an export, then gives up what need not stay, under the lock of both."""
        self.step += 10
        self.models.export(A, self.step, precision=self.chance.choice((0.2, 0.4, 0.6, 0.8)))
        with exclusive_lock(self.folder.exports / ".lock"):
            prune(self.folder, keep=1)

    def place(self) -> None:
        place(self.serving, self.chance.choice(NAMES), self.chance.choice(listed_steps(self.folder.exports)))

    def free(self) -> None:
        name = self.chance.choice((BEST, LATEST))
        order(self.serving, lambda promotion, run: promotion.place(run, name, step=None, pinned=False, reason="free"))

    def roll_back(self) -> None:
        name = self.chance.choice(list(points(self.serving)))
        entry = self.entries()[name]
        there = set(listed_steps(self.folder.exports)) - {entry.step}
        earlier = [move.step for move in entry.moves[:-1] if move.step in there]
        if not earlier:
            with pytest.raises(ConflictError):
                order(self.serving, lambda promotion, run: promotion.roll_back(run, name, reason="back"))
            return
        order(self.serving, lambda promotion, run: promotion.roll_back(run, name, reason="back"))
        assert points(self.serving)[name] == earlier[-1]
        # Where it was even before that need not have been kept.
        self.given_up.add((name, self.entries()[name].before))

    def try_out(self) -> None:
        name, step = (
            self.chance.choice(list(points(self.serving))),
            self.chance.choice(listed_steps(self.folder.exports)),
        )
        if points(self.serving)[name] != step:
            canary = Canary(step=step, share=0.5)
            order(self.serving, lambda promotion, run: promotion.try_out(run, name, canary, reason="try"))

    def restart(self) -> None:
        self.serving.predictor.stop()
        self.serving = self.make_serving()

    def entries(self) -> Mapping[str, Alias]:
        return read_record(self.folder.aliases, Aliases).aliases

    def holds(self) -> None:
        """What must be true at any moment."""
        there = set(listed_steps(self.folder.exports))
        for name, entry in self.entries().items():
            tried = () if entry.canary is None else (entry.canary.step,)
            assert {entry.step, *tried} <= there, name
            assert entry.before in {None, *there} or (name, entry.before) in self.given_up, name
            assert asked(self.serving, A, 3, label=name).keys() <= {entry.step, *tried}, name
        assert {BEST, LATEST} <= points(self.serving).keys()


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_an_alias_points_at_what_answers_and_can_go_back(
    models: Any, make_serving: Any, seed: int
) -> None:
    story = Story(models, make_serving, seed)
    story.holds()
    acts = [story.export, story.export, story.place, story.free, story.roll_back, story.try_out, story.restart]
    for _ in range(60):
        story.chance.choice(acts)()
        story.serving.predictor.refresh()
        story.holds()
