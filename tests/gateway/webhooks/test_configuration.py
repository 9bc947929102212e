"""A file of webhooks that is wrong is refused by the name of what is wrong, and no secret is ever told."""

from pathlib import Path

import pytest

from services.gateway.webhooks.configuration import load, secrets_of
from shared.errors import SettingsError
from tests.gateway.webhooks.receiver import SECRET

HOOK = "webhooks: [{name: team, url: 'https://example.org/x', secret_file: team.secret%s}]"


def write(folder: Path, text: str, secret: str = SECRET) -> Path:
    (folder / "team.secret").write_text(secret)
    path = folder / "webhooks.yaml"
    path.write_text(text)
    return path


def test_a_webhook_is_told_of_states_bests_and_thresholds_unless_it_says_otherwise(tmp_path: Path) -> None:
    (hook,) = load(write(tmp_path, HOOK % ""))
    assert hook.events == ("state", "best", "threshold")
    assert hook.secret_file == tmp_path / "team.secret"
    assert load(None) == []


def test_a_secret_may_be_base64_or_any_text_of_24_bytes(tmp_path: Path) -> None:
    (hook,) = load(write(tmp_path, HOOK % "", secret="just a line of text, long enough\n".replace(" ", "-")))
    assert secrets_of(hook) == [b"just-a-line-of-text,-long-enough"]
    (hook,) = load(write(tmp_path, HOOK % ""))
    assert secrets_of(hook) == [b"0123456789abcdef0123456789abcdef"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("webhooks: [", "not YAML"),
        ("hooks: []", "webhooks"),
        ("[]", "dictionary"),
        (HOOK % ", colour: red", "webhooks.0.colour"),
        (HOOK % ", events: [birthday]", "webhooks.0.events.0"),
        (HOOK % ", states: [happy]", "webhooks.0.states.0"),
        (HOOK % ", thresholds: {ema: 87}", "webhooks.0.thresholds.ema"),
        (HOOK.replace("https:", "ftp:") % "", "webhooks.0.url"),
        (HOOK.replace("example.org", "me:geheim@example.org") % "", "webhooks.0.url"),
        (HOOK.replace("example.org", "example.org:99999999") % "", "webhooks.0.url"),
        (HOOK.replace("name: team", "name: ../team") % "", "webhooks.0.name"),
        (HOOK.replace("team.secret", "other.secret") % "", "team"),
        ((HOOK % "").replace("}]", "}, {name: team, url: 'https://b', secret_file: team.secret}]"), "same name"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(write(tmp_path, text))
    assert named in str(caught.value)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("secret", ["", "short", "whsec_AAAA", "whsec_!!!", "whsec_"])
def test_a_secret_that_is_missing_or_too_short_is_refused_and_not_told(tmp_path: Path, secret: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(write(tmp_path, HOOK % "", secret=secret))
    assert "team" in str(caught.value)
    assert "short" not in secret or str(caught.value).count("short") == 1
