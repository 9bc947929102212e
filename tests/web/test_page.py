"""The page in a real browser, against a real gateway: everything that somebody does with it."""

import re
import time
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from shared.layout import Volume
from shared.records import ClassFigures, Verdict, write_record
from tests.processes.test_gateway import GatewayProcess, wait_for
from tests.web import showcase
from tests.web.browser import Visit
from tests.web.runs import end, start

Open = Callable[..., Visit]


def judge(gateway: GatewayProcess, run: str, *, step: int, right: tuple[int, int]) -> None:
    """Writes what an evaluator would, of two classes with a thousand examples each."""
    precision = sum(right) / 2_000
    figures = {"examples": 1_000, "precision": precision, "recall": precision, "f1": precision}
    verdict = Verdict(
        run=run,
        step=step,
        weights="ema",
        decay=0.9999,
        examples=2_000,
        precision_at_1=precision,
        interval=showcase.wilson(precision, 2_000),
        precision_at_k=0.99,
        loss=0.6,
        seconds=2.0,
        evaluator="evaluator-0",
        time=time.time(),
        confusion=((right[0], 1_000 - right[0]), (1_000 - right[1], right[1])),
        classes=tuple(ClassFigures(name=name, **figures) for name in ("moss", "lake")),
    )
    write_record(Volume(gateway.volume).run(run).verdict(step, "ema-0.9999"), verdict)


def picture(colour: tuple[int, int, int]) -> bytes:
    out = BytesIO()
    Image.new("RGB", (32, 32), colour).save(out, "PNG")
    return out.getvalue()


def test_a_run_is_started_watched_paused_resumed_and_stopped(visit: Open, gateway: GatewayProcess) -> None:
    here = visit("start")
    page = here.page
    page.get_by_role("radio", name="shapes").check()
    page.locator("#field-name").fill("from-the-page")
    page.locator("#field-steps").fill("0")
    expect(page.get_by_text("Input should be greater than or equal to 1")).to_be_visible()
    here.button("Start").click()
    expect(page.locator("#field-steps")).to_be_focused()
    assert "from-the-page" not in {run["name"] for run in gateway.get("/v1/runs").json()["runs"]}

    page.locator("#field-steps").fill("90000")
    expect(page.get_by_text("2 values differ from the recipe")).to_be_visible()
    here.button("Start").click()
    expect(page.get_by_role("heading", name="from-the-page")).to_be_visible()
    run = page.url.rpartition("/")[2]
    try:
        expect(here.state()).to_have_text(re.compile("running"))
        steps = page.locator(".fact", has_text="Steps").locator("dd").first
        seen = steps.inner_text()
        expect(steps).not_to_have_text(seen)
        expect(page.locator(".run-page canvas")).not_to_have_count(0)
        expect(page.get_by_label("Events, newest first")).to_contain_text("running")
        expect(page.get_by_label("Log")).to_contain_text("trainer")

        here.button("Pause").click()
        page.get_by_role("dialog").get_by_role("button", name="Pause").click()
        expect(here.state()).to_have_text(re.compile("paused"))
        assert gateway.run(run)["state"] == "paused"
        here.button("Resume").click()
        expect(here.state()).to_have_text(re.compile("running"))
        here.button("Stop").click()
        page.get_by_role("dialog").get_by_role("button", name="Stop").click()
        expect(here.state()).to_have_text(re.compile("stopped"))
        assert gateway.run(run)["checkpoint_step"] == gateway.run(run)["step"]
        expect(here.button("Restart")).to_be_visible()
    finally:
        if gateway.run(run)["state"] != "stopped":
            end(gateway, run)


def test_a_specification_that_the_api_refuses_as_a_whole_is_told_in_its_words(visit: Open) -> None:
    here = visit("start")
    page = here.page
    page.get_by_role("radio", name="shapes").check()
    page.locator("#field-labels").fill("owner")
    page.locator("summary", has_text="Learning rate").click()
    page.locator("#field-learning_rate-rate").fill("-1")
    expect(page.get_by_text("Input should be greater than 0")).to_be_visible()
    expect(page.get_by_text("One field is not right yet")).to_be_visible()


def test_a_verdict_is_shown_as_soon_as_it_is_there(visit: Open, gateway: GatewayProcess) -> None:
    run = start(gateway, name="judged")
    try:
        gateway.reaches(run, "running", step=1)
        here = visit(f"runs/{run}")
        ema = here.page.locator(".fact", has_text="EMA precision")
        expect(ema).to_contain_text("not judged yet")
        step = wait_for(lambda: gateway.run(run)["checkpoint_step"])
        judge(gateway, run, step=step, right=(812, 813))
        expect(ema).to_contain_text("81.3%")
        expect(here.page.locator(".matrix")).to_be_visible()
        expect(here.page.locator(".checkpoints")).to_contain_text("81.3%")
    finally:
        end(gateway, run)


def test_the_page_goes_on_by_itself_when_the_gateway_was_away(visit: Open, gateway: GatewayProcess) -> None:
    here = visit()
    expect(here.page.locator("#link")).to_have_attribute("data-link", "live")
    here.page.context.set_offline(True)
    expect(here.page.locator("#offline")).to_be_visible()
    run = start(gateway, name="unseen")
    try:
        here.page.context.set_offline(False)
        expect(here.page.get_by_role("link", name="unseen")).to_be_visible()
        expect(here.page.locator("#offline")).to_be_hidden()
        here.expected("ERR_INTERNET_DISCONNECTED")
    finally:
        end(gateway, run)


def test_a_dropped_picture_is_classified_by_any_exported_checkpoint(visit: Open) -> None:
    here = visit("classify")
    page = here.page
    page.locator("#model option", has_text="baseline").first.wait_for(state="attached")
    data = list(picture((200, 40, 40)))
    transfer = page.evaluate_handle(
        """data => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(data)], "red.png", { type: "image/png" }));
            return transfer;
        }""",
        data,
    )
    page.dispatch_event(".drop", "drop", {"dataTransfer": transfer})
    expect(page.locator(".verdict")).to_contain_text("maple")
    expect(page.locator(".answer")).to_contain_text("cosine")
    page.locator("#model").select_option(index=page.locator("#model option").count() - 1)
    expect(page.locator(".answer")).to_contain_text("baseline")
    page.locator("#picture").set_input_files({"name": "x.png", "mimeType": "image/png", "buffer": b"no picture"})
    expect(page.get_by_role("alert").filter(has_text="It was not recognised")).to_be_visible()
    here.expected("status of 4")


def test_runs_are_compared_with_what_differs_between_them(visit: Open) -> None:
    page = visit().page
    page.get_by_label("Choose baseline").check()
    page.get_by_label("Choose cosine").check()
    page.get_by_role("link", name="Compare").last.click()
    expect(page.get_by_role("heading", name="Compare runs")).to_be_visible()
    expect(page.locator("canvas")).to_have_count(2)
    expect(page.get_by_role("row", name="labels.owner")).to_contain_text("ada")


@pytest.mark.parametrize("width", [360, 2560])
def test_nothing_stands_beyond_the_window(visit: Open, gateway: GatewayProcess, width: int) -> None:
    run = gateway.get("/v1/runs?name=cosine").json()["runs"][0]["id"]
    here = visit(width=width)
    places = {"Runs": "", "Start": "start", "Compare": "compare", "Classify": "classify", "cosine": f"runs/{run}"}
    for title, place in places.items():
        here.go(place)
        expect(here.page).to_have_title(f"{title} \N{EN DASH} tandem")
        expect(here.page.locator("[aria-busy]")).to_have_count(0)
        if title == "cosine":
            expect(here.page.locator(".matrix")).to_be_visible()
        assert here.overflow() <= 0, title
    here.expected("status of 404")  # nothing flipped in what was only drawn


def test_everything_is_reached_by_keyboard(visit: Open, gateway: GatewayProcess) -> None:
    run = start(gateway, name="by-keyboard")
    try:
        gateway.reaches(run, "running", step=1)
        page = visit().page
        link = page.get_by_role("link", name="by-keyboard")
        expect(link).to_be_visible()
        page.keyboard.press("Tab")
        expect(page.locator("#skip")).to_be_focused()
        for _ in range(60):
            page.keyboard.press("Tab")
            if link.evaluate("each => each === document.activeElement"):
                break
        expect(link).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="by-keyboard")).to_be_visible()
        pause = page.get_by_role("button", name="Pause", exact=True)
        expect(pause).to_be_visible()
        for _ in range(30):
            page.keyboard.press("Tab")
            if pause.evaluate("each => each === document.activeElement"):
                break
        expect(pause).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(pause).to_be_focused()
    finally:
        end(gateway, run)


def test_colours_follow_the_system_and_the_choice_is_kept(visit: Open) -> None:
    page = visit(color_scheme="dark").page
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme-button").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    assert np.array(re.findall(r"\d+", dark), int).mean() < 60
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")


def test_the_api_is_read_and_tried_without_any_other_host(visit: Open) -> None:
    here = visit()
    page = here.page
    page.goto(f"{here.url}/docs")
    expect(page.locator(".title")).to_contain_text("tandem")
    page.locator("#operations-runs-list_runs_v1_runs_get button").first.click()
    here.button("Try it out").click()
    here.button("Execute").click()
    expect(page.locator(".live-responses-table")).to_contain_text("baseline")
