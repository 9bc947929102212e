"""Runs by state, label and name, a page at a time; and one thing asked of many."""

from typing import Any

import pytest

from services.gateway.listing import Filter, page
from shared.errors import InputError


def listed(bench: Any, query: str = "") -> Any:
    return bench.client().get(f"/v1/runs{query}").json()


def ids(bench: Any, query: str = "") -> list[str]:
    return [each["id"] for each in listed(bench, query)["runs"]]


def test_runs_are_found_by_state_label_and_name(bench: Any) -> None:
    first = bench.start(labels={"team": "a", "draft": "yes"})
    second = bench.start(labels={"team": "b"}, name="other")
    third = bench.start(labels={"team": "a"})
    bench.step()
    assert ids(bench, "?label=team=a") == [first, third]
    assert ids(bench, "?label=draft") == [first]
    assert ids(bench, "?label=team=a&label=draft=yes") == [first]
    assert ids(bench, "?label=draft=no") == []
    assert ids(bench, "?name=other") == [second]
    assert ids(bench, "?name=othe") == []
    assert ids(bench, "?state=queued,starting&name=tiny") == [first, third]
    assert ids(bench, "?state=queued&state=starting") == [first, second, third]


def test_a_label_given_later_is_found_too(bench: Any) -> None:
    run = bench.start()
    bench.control.tag(run, priority=None, labels={"sweep": "3"})
    assert ids(bench, "?label=sweep=3") == [run]


def test_pages_lead_from_the_newest_to_the_oldest_without_gap_or_repeat(bench: Any) -> None:
    made = [bench.start() for _ in range(7)]
    found: list[str] = []
    cursor = ""
    while True:
        answer = listed(bench, f"?limit=3{cursor}")
        found = [each["id"] for each in answer["runs"]] + found
        if answer["next"] is None:
            break
        cursor = f"&cursor={answer['next']}"
    assert found == made


def test_a_cursor_stays_good_when_runs_come_and_go(bench: Any) -> None:
    made = [bench.start() for _ in range(5)]
    cursor = listed(bench, "?limit=2")["next"]
    bench.start()
    bench.control.stop(made[3])
    bench.control.delete(made[3])
    assert ids(bench, f"?limit=2&cursor={cursor}") == made[1:3]


def test_the_last_full_page_has_no_next(bench: Any) -> None:
    for _ in range(4):
        bench.start()
    assert listed(bench, "?limit=4")["next"] is None


def test_there_are_fifty_runs_on_a_page_unless_one_asks_for_another_number(bench: Any) -> None:
    for _ in range(51):
        bench.start()
    assert len(ids(bench)) == 50
    assert len(ids(bench, "?limit=51")) == 51


@pytest.mark.parametrize("cursor", ["x", "AAAA", "8J+YgA", "MTIz"])
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InputError, match="no cursor"):
        page([], which=Filter(), limit=1, cursor=cursor)


def bulk(bench: Any, transition: str, **body: Any) -> Any:
    answer = bench.client().post(f"/v1/runs:{transition}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def test_one_thing_is_asked_of_many_and_each_answers_for_itself(bench: Any) -> None:
    first, second = bench.start(), bench.start()
    bench.control.stop(first)
    results = bulk(bench, "pause", runs=[first, second, "no-such-run", second], kind="hold", reason="demo")
    assert [(each["run"], each["status"]) for each in results] == [(first, 409), (second, 202), ("no-such-run", 404)]
    assert "cannot be paused" in results[0]["error"]["message"]
    assert results[1]["error"] is None
    assert bench.reason(second) == "demo; before its first step"


def test_those_that_fit_a_filter_are_asked(bench: Any) -> None:
    made = [bench.start(labels={"sweep": str(number % 2)}) for number in range(4)]
    assert {each["run"] for each in bulk(bench, "stop", filter={"label": "sweep=1"})} == {made[1], made[3]}
    assert [bench.state(each) for each in made] == ["queued", "stopped", "queued", "stopped"]
    assert [each["status"] for each in bulk(bench, "delete", filter={"state": ["stopped"]})] == [204, 204]
    assert ids(bench) == [made[0], made[2]]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "body"),
        ({"runs": [], "filter": {"state": ["queued"]}}, "body"),
        ({"filter": {}}, "body.filter"),
        ({"filter": {"state": ["asleep"]}}, "state"),
    ],
)
def test_a_request_that_does_not_say_which_runs_is_refused(bench: Any, body: Any, where: str) -> None:
    answer = bench.client().post("/v1/runs:stop", json=body)
    assert (answer.status_code, answer.json()["error"]["where"]) == (422, where)


def test_only_transitions_are_asked_of_many(bench: Any) -> None:
    assert bench.client().post("/v1/runs:fork", json={"runs": []}).status_code == 422
