"""What OpenAPI promises is so: schemathesis makes requests of the description, and checks every answer in every way.

A few hundred requests with each run of the tests; `make test-api` makes two thousand and more
(TANDEM_TEST_API_EXAMPLES: how many random ones for each operation and kind).
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway.openapi.serving import served

EXAMPLES = os.environ.get("TANDEM_TEST_API_EXAMPLES")
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.timeout(1800)
def test_every_answer_is_what_the_description_promises(tmp_path: Path) -> None:
    with served(tmp_path) as gateway:
        configuration = tmp_path / "schemathesis.toml"
        text = CONFIGURATION.read_text(encoding="utf-8")
        for name, values in {
            "RUNS": gateway.runs,
            "STEPS": gateway.steps,
            "VERSIONS": list(map(str, gateway.steps)),
        }.items():
            text = text.replace(f"values = {name}\n", f"values = {values}\n")
        configuration.write_text(text)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--config-file", configuration),
                *("run", f"{gateway.url}/openapi.json", "--checks", "all", "--no-color"),
                *("-H", f"Authorization: Bearer {gateway.key}"),
                *("--phases", "examples,coverage,fuzzing,stateful" if EXAMPLES else "examples,fuzzing"),
                *("--max-examples", EXAMPLES or "3", "--seed", "1", "--generation-database", "none"),
                *("--wait-for-schema", "30"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    sys.stderr.write(done.stdout[-3000:])
    assert done.returncode == 0, done.stdout + done.stderr
    generated = re.search(r"([\d,]+) generated", done.stdout)
    assert generated is not None
    assert int(generated.group(1).replace(",", "")) >= (2_000 if EXAMPLES else 100)
