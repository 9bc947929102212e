"""Every button that asks something of runs, in a real browser, with a real gateway and a real trainer behind it."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.processes.test_gateway import GatewayProcess, wait_for
from tests.web.browser import Visit
from tests.web.runs import end, start

Open = Callable[..., Visit]


def confirm(page: Page, name: str) -> None:
    page.get_by_role("dialog").get_by_role("button", name=name, exact=True).click()


def test_a_run_is_held_in_memory_and_goes_on_at_once_and_a_question_answered_too_late_is_refused(
    visit: Open, gateway: GatewayProcess
) -> None:
    run = start(gateway, name="held")
    try:
        gateway.reaches(run, "running", step=1)
        here = visit(f"runs/{run}")
        here.button("Pause").click()
        here.page.get_by_label("How").select_option("hold")
        confirm(here.page, "Pause")
        expect(here.state()).to_have_text(re.compile("paused"))
        held = gateway.run(run)
        assert (held["state"], held["slot"]) == ("paused", "slot-0")
        here.button("Resume").click()
        expect(here.state()).to_have_text(re.compile("running"))
        gateway.reaches(run, "running", step=held["step"] + 1)
        events = gateway.get(f"/v1/runs/{run}/events").json()["events"]
        assert [each["kind"] for each in events].count("spawned") == 1

        here.button("Pause").click()
        expect(here.page.get_by_role("dialog")).to_be_visible()
        end(gateway, run)  # somebody else was faster
        confirm(here.page, "Pause")
        expect(here.page.locator(".toast.trouble")).to_contain_text(f"run {run} is stopped and cannot be paused")
        here.expected("status of 409")
    finally:
        end(gateway, run)


def test_a_run_is_killed_after_a_word_about_what_is_lost_and_deleted_after_another(
    visit: Open, gateway: GatewayProcess
) -> None:
    run = start(gateway, name="doomed", cadence={"checkpoint_steps": 10_000, "log_steps": 1})
    try:
        gateway.reaches(run, "running", step=2)
        here = visit(f"runs/{run}")
        page = here.page
        here.button("Kill").click()
        expect(page.get_by_role("dialog")).to_contain_text("No checkpoint is written")
        confirm(page, "Cancel")
        assert gateway.run(run)["state"] == "running"
        here.button("Kill").click()
        confirm(page, "Kill")
        expect(here.state()).to_have_text(re.compile("stopped"))
        assert gateway.run(run)["checkpoint_step"] is None

        here.button("Delete").click()
        expect(page.get_by_role("dialog")).to_contain_text("This cannot be undone")
        confirm(page, "Cancel")
        assert gateway.run(run)["state"] == "stopped"
        here.button("Delete").click()
        confirm(page, "Delete")
        expect(page.get_by_role("heading", name="Runs")).to_be_visible()
        expect(page.get_by_role("link", name="cosine")).to_be_visible()
        expect(page.get_by_role("link", name="doomed")).to_have_count(0)
        assert gateway.get(f"/v1/runs/{run}", check=False).status_code == 404
    finally:
        end(gateway, run)


def test_a_checkpoint_is_pinned_unpinned_and_forked(visit: Open, gateway: GatewayProcess) -> None:
    run = start(gateway, name="parent")
    made = []
    try:
        step = wait_for(lambda: gateway.run(run)["checkpoint_step"])
        gateway.post(f"/v1/runs/{run}:stop")
        gateway.reaches(run, "stopped")
        here = visit(f"runs/{run}")
        page = here.page
        row = page.locator(".checkpoints").get_by_role("row", name=re.compile(rf"^{step}\b"))

        def pinned() -> list[int]:
            listed = gateway.get(f"/v1/runs/{run}/checkpoints").json()["checkpoints"]
            return [each["step"] for each in listed if each["pinned"]]

        row.get_by_role("button", name="pin").click()
        expect(row.get_by_role("button", name="pinned")).to_have_attribute("aria-pressed", "true")
        assert pinned() == [step]
        row.get_by_role("button", name="pinned").click()
        expect(row.get_by_role("button", name="pin")).to_have_attribute("aria-pressed", "false")
        assert pinned() == []

        here.button("Fork …").click()
        expect(page.get_by_role("heading", name="Fork a run")).to_be_visible()
        page.go_back()
        row.get_by_role("link", name="Fork").click()
        expect(page.locator("#checkpoint")).to_have_value(str(step))
        page.locator("#field-name").fill("child")
        expect(page.get_by_text("1 value differs from the run")).to_be_visible()
        here.button("Fork").click()
        expect(page.get_by_role("heading", name="child")).to_be_visible()
        made.append(page.url.rpartition("/")[2])
        expect(page.get_by_text(f"forked from {run} at step {step}")).to_be_visible()
        assert gateway.run(made[0])["forked_from"] == {"run": run, "step": step}
        gateway.reaches(made[0], "running", step=step + 1)
    finally:
        end(gateway, run, *made)


def test_chosen_runs_are_paused_resumed_stopped_restarted_killed_and_deleted_together(
    visit: Open, gateway: GatewayProcess
) -> None:
    runs = [start(gateway, name=name) for name in ("first", "second")]
    try:
        gateway.reaches(runs[0], "running", step=1)
        here = visit()
        page = here.page
        for name in ("first", "second"):
            page.get_by_label(f"Choose {name}").check()
        bulk = page.get_by_role("group", name="Chosen runs")
        expect(bulk).to_contain_text("2 chosen")

        def ask(name: str, *states: str, sure: bool = False) -> None:
            bulk.get_by_role("button", name=name, exact=True).click()
            if sure:
                confirm(page, name)
            expect(page.locator(".toast", has_text=f"{name}: 2 of 2 runs")).to_be_visible()
            wait_for(lambda: tuple(sorted(gateway.run(run)["state"] for run in runs)) == states)
            shown = page.locator("tr", has=page.get_by_label(re.compile("^Choose (first|second)$")))
            for state in set(states):  # as far as the page knows, too, which asks only runs that allow it
                expect(shown.and_(page.locator(f'[data-state="{state}"]'))).to_have_count(states.count(state))

        ask("Pause", "paused", "paused")
        ask("Resume", "queued", "running")
        ask("Stop", "stopped", "stopped", sure=True)
        ask("Restart", "queued", "running")
        ask("Kill", "stopped", "stopped", sure=True)
        expect(bulk.get_by_role("button", name="Pause")).to_have_count(0)
        bulk.get_by_role("button", name="Delete", exact=True).click()
        expect(page.get_by_role("dialog")).to_contain_text("Delete first, second?")
        confirm(page, "Cancel")
        bulk.get_by_role("button", name="Delete", exact=True).click()
        confirm(page, "Delete")
        expect(page.get_by_label("Choose first")).to_have_count(0)
        expect(bulk).to_be_hidden()
        assert [gateway.get(f"/v1/runs/{run}", check=False).status_code for run in runs] == [404, 404]
    finally:
        end(gateway, *runs)
