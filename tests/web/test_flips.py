"""Which test images flipped between two judged checkpoints, on the run's page, in a real browser."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from shared.layout import Volume
from tests.processes.test_gateway import GatewayProcess
from tests.web import judging, showcase
from tests.web.browser import Visit

Open = Callable[..., Visit]


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flips") / "volume"


@pytest.fixture(scope="module")
def run(volume: Path) -> str:
    return judging.write(Volume(volume), now=showcase.EVENING)


@pytest.fixture(scope="module")
def gateway(volume: Path, run: str) -> Iterator[GatewayProcess]:
    showcase.write(volume, now=showcase.EVENING, stories=[showcase.Story("drawn", 2, phase="stopped")])
    process = GatewayProcess(volume)
    try:
        yield process.ready()
    finally:
        process.process.terminate()
        process.process.communicate(timeout=60)


def flips_of(page: Page) -> Locator:
    section = page.get_by_role("region", name="Flipped test images")
    section.scroll_into_view_if_needed()
    return section


def side(section: Locator, title: str) -> Locator:
    return section.locator(".flip-side", has=section.page.get_by_role("heading", name=re.compile(f"^{title}")))


def test_images_that_flipped_are_shown_with_what_they_are_and_were_taken_for(
    visit: Open, gateway: GatewayProcess, run: str
) -> None:
    page = visit(f"runs/{run}").page
    section = flips_of(page)
    found = gateway.get(f"/v1/runs/{run}/evaluations/300/ema/flips?against=200").json()
    assert found["wrong_to_right_count"] > 3 < found["right_to_wrong_count"]
    assert section.get_by_label("To", exact=True).input_value() == "300/ema-0.9"
    assert section.get_by_label("From", exact=True).input_value() == "200/ema-0.9"
    right, wrong = side(section, "Became right"), side(section, "Became wrong")
    expect(right.get_by_role("heading")).to_have_text(f"Became right {found['wrong_to_right_count']}")
    expect(wrong.get_by_role("heading")).to_have_text(f"Became wrong {found['right_to_wrong_count']}")
    first, names = found["right_to_wrong"][0], found["classes"]
    label, before, after = (names[first[key]] for key in ("label", "before", "after"))
    words = f"Test image {first['index']}: is {label}; taken for {before} before, for {after} after"
    item = wrong.get_by_role("link", name=words, exact=True)
    expect(item).to_contain_text(f"{before} → {after}")
    # The very picture of the data set, drawn: 32 pixels wide.
    item.locator("img").evaluate("each => each.decode()")
    assert item.locator("img").evaluate("each => each.naturalWidth") == 32
    expect(section).to_contain_text(f"of 400 test images {found['both_right']} stayed right")


def test_any_two_steps_and_kinds_are_chosen_by_keyboard_and_stand_in_the_address(visit: Open, run: str) -> None:
    here = visit(f"runs/{run}")
    page = here.page
    section = flips_of(page)
    expect(section.locator(".flip").first).to_be_visible()
    chosen = section.get_by_label("From", exact=True)
    chosen.focus()
    chosen.select_option("100/raw")
    expect(section.locator(".flip-found")).to_contain_text("from step 100, raw to step 300, EMA 0.9")
    expect(chosen).to_be_focused()
    expect(page.locator("#announcer")).to_have_text(re.compile(r"\d+ became right, \d+ became wrong"))
    assert page.url.endswith(f"#/runs/{run}?from=100%2Fraw&to=300%2Fema-0.9")

    again = visit(page.url.partition("#/")[2]).page
    linked = again.get_by_role("region", name="Flipped test images")
    expect(linked.locator(".flip-found")).to_contain_text("from step 100, raw to step 300, EMA 0.9")
    expect(linked).to_be_in_viewport()


def test_long_lists_come_in_pages_and_the_keyboard_stays_at_the_button(
    visit: Open, gateway: GatewayProcess, run: str
) -> None:
    page = visit(f"runs/{run}?from=100/raw&to=300/ema-0.9").page
    found = gateway.get(f"/v1/runs/{run}/evaluations/300/ema/flips?against=100/raw").json()
    count = found["wrong_to_right_count"]
    assert count > 24
    part = side(flips_of(page), "Became right")
    pager = part.get_by_role("group", name="Became right: pages")
    expect(pager).to_contain_text(re.compile(f"1.24 of {count}"))
    expect(part.locator(".flip")).to_have_count(24)
    expect(pager.get_by_role("button", name="Previous")).to_have_attribute("aria-disabled", "true")
    on = pager.get_by_role("button", name="Next")
    on.focus()
    for _ in range(-(-count // 24)):  # one more than there are pages left
        page.keyboard.press("Enter")
    last = 24 * ((count - 1) // 24)
    expect(pager).to_contain_text(re.compile(f"{last + 1}.{count} of {count}"))
    expect(part.locator(".flip")).to_have_count(count - last)
    expect(on).to_be_focused()
    expect(on).to_have_attribute("aria-disabled", "true")
    expect(part.locator(".flip").last).to_contain_text(f"#{found['wrong_to_right'][-1]['index']}")
    expect(page.locator("#announcer")).to_have_text(re.compile(f"Became right: {last + 1}.{count} of {count}"))


def test_an_image_leads_to_what_judged_weights_take_it_for(visit: Open, run: str) -> None:
    page = visit(f"runs/{run}").page
    link = flips_of(page).locator(".flip").first
    link.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Classify a picture")).to_be_visible()
    shown = page.get_by_role("img", name=re.compile(rf"^the picture test image \d+ of {run}$"))
    expect(shown).to_be_visible()
    assert shown.evaluate("each => each.naturalWidth") == 32


def test_where_nothing_flipped_was_kept_or_is_at_hand_it_says_so(
    visit: Open, gateway: GatewayProcess, run: str, volume: Path
) -> None:
    here = visit(f"runs/{run}?from=300/raw&to=300/raw")
    section = flips_of(here.page)
    expect(side(section, "Became right")).to_contain_text("None")
    here.go(f"runs/{run}?from=100/raw&to=250/raw")
    expect(section.get_by_role("alert")).to_contain_text("the weights raw of step 250 have not been judged")

    drawn = gateway.get("/v1/runs?name=drawn").json()["runs"][0]["id"]
    here.go(f"runs/{drawn}")
    expect(flips_of(here.page).get_by_role("alert")).to_contain_text("to each example are not on the volume")
    here.expected("status of 404")


def test_a_data_set_that_is_not_at_hand_is_told_once_and_the_names_are_there_all_the_same(
    visit: Open, run: str, volume: Path
) -> None:
    here = visit(f"runs/{judging.write_without_data(Volume(volume), run)}")
    asked: list[str] = []
    here.page.on("request", lambda request: asked.append(request.url) if "/examples/" in request.url else None)
    section = flips_of(here.page)
    expect(section.get_by_role("status")).to_contain_text("The pictures cannot be shown: cifar10 is not here")
    expect(section.locator(".flip").first).to_contain_text("→")
    assert len(asked) == 2  # one for each list
    here.expected("status of 409")


@pytest.mark.parametrize("width", [360, 2560])
def test_flips_fit_the_window(visit: Open, run: str, width: int) -> None:
    here = visit(f"runs/{run}", width=width)
    expect(flips_of(here.page).locator(".flip").first).to_be_visible()
    assert here.overflow() <= 0
