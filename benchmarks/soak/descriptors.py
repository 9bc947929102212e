"""What processes hold open: of trainers while they work, of the others when nothing is under way any more."""

from benchmarks.soak.house import House
from benchmarks.soak.load import Load
from benchmarks.soak.processes import held_open
from shared.layout import Volume

PERIOD_SECONDS = 0.5


class Descriptors(Load):
    """Counts what trainers have open until it is stopped.

    Args:
        house: Whose trainers.

    Attributes:
        most: How many descriptors a trainer in each slot had at most.
    """

    def __init__(self, *, house: House) -> None:
        super().__init__(self._watch)
        self.most: dict[str, int] = dict.fromkeys(house.slots, 0)
        self._house = house

    def look(self) -> None:
        """Counts once."""
        for slot in self.most:
            pid, _ = self._house.door(slot)
            self.most[slot] = max(self.most[slot], len(held_open(pid)))

    def _watch(self) -> None:
        while self.goes_on(PERIOD_SECONDS):
            self.look()


def left_open(volume: Volume, held: list[str]) -> list[str]:
    """Which of the files that a process holds open it should have closed, when nothing is under way any more.

    Args:
        volume: Whose files count.
        held: What its descriptors lead to, as the kernel words it.
    """
    below = [name for name in held if name.startswith(f"{volume.root}/")]
    return sorted(name for name in below if name.endswith(" (deleted)") or name.startswith(f"{volume.runs}/"))
