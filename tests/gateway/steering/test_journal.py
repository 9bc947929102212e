from typing import Any

from services.gateway.steering.journal import History, Journal, fold
from services.gateway.steering.turns import Turns
from shared.layout import Volume
from shared.records import Event


def happened(kind: str, message: str = "", **details: Any) -> Event:
    return Event(time=0, service="gateway", kind=kind, message=message, details=details)


def after(*events: Event) -> History:
    history = History()
    for event in events:
        history = fold(history, event)
    return history


def died(fence: int, checkpoint_step: int | None) -> Event:
    return happened("ended", "killed", fence=fence, outcome="died", checkpoint_step=checkpoint_step)


def test_deaths_are_counted_while_there_is_no_new_checkpoint() -> None:
    assert after(died(1, None), died(2, None), died(3, None)).deaths == 3


def test_a_new_checkpoint_begins_the_count_anew() -> None:
    assert after(died(1, None), died(2, 100), died(3, 100)).deaths == 2


def test_an_older_checkpoint_is_no_progress() -> None:
    assert after(died(1, 200), died(2, 100)).deaths == 2


def test_an_orderly_end_forgets_earlier_deaths() -> None:
    released = happened("ended", "let go", fence=2, outcome="released", checkpoint_step=5)
    history = after(died(1, None), released)
    assert (history.deaths, history.death, history.ended) == (0, None, 2)


def test_a_death_is_known_until_the_next_trainer_is_started() -> None:
    assert after(died(1, None)).death == "killed"
    assert after(died(1, None), happened("spawned", fence=2)).death is None
    assert after(died(1, None), happened("adopted", fence=2)).death is None


def test_an_unknown_kind_changes_nothing() -> None:
    assert after(happened("sang", fence=9)) == History()


def test_a_later_journal_knows_what_an_earlier_one_wrote(tmp_path: Any) -> None:
    volume = Volume(tmp_path)
    earlier = Journal(volume=volume, clock=lambda: 7.0)
    earlier.write("a", "assigned", "has slot slot-0", slot="slot-0", fence=4)
    earlier.write("a", "gave_up", "no progress", restarts=3)
    later = Journal(volume=volume, clock=lambda: 8.0)
    assert later.history("a") == earlier.history("a") == History(fence=4, gave_up="no progress")


def test_a_line_torn_by_a_killed_gateway_costs_only_itself(tmp_path: Any) -> None:
    volume = Volume(tmp_path)
    Journal(volume=volume, clock=lambda: 0.0).write("a", "assigned", "", fence=1)
    with volume.run("a").gateway_events.open("ab") as file:
        file.write(b'{"time": 1, "serv')
    Journal(volume=volume, clock=lambda: 0.0).write("a", "spawned", "", fence=1, pid=1)
    assert Journal(volume=volume, clock=lambda: 0.0).history("a") == History(
        fence=1, spawned=1, since=0.0, turns=Turns(began=0.0)
    )
