"""What a check found."""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

Level = Literal["damaged", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    `damaged` means that something cannot be relied on; a `note` is what a crash leaves behind and the services put
    right or pass over by themselves. `thing` is the folder or file that would have to go for the rest to be whole, None
    where nothing can.
    """

    level: Level
    path: str
    problem: str
    thing: Path | None = None
    moved: str | None = None

    def __str__(self) -> str:
        moved = f" -> {self.moved}" if self.moved else ""
        return f"{self.level:<8} {self.path}: {self.problem}{moved}"

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {"level": self.level, "path": self.path, "problem": self.problem, "moved": self.moved}


@dataclass
class Report:
    """Everything that was found, and how much was looked at."""

    findings: list[Finding] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)

    @property
    def damaged(self) -> list[Finding]:
        """The findings that matter."""
        return [finding for finding in self.findings if finding.level == "damaged"]

    def moved(self, finding: Finding, where: str) -> None:
        """Notes that what was damaged lies elsewhere now."""
        self.findings[self.findings.index(finding)] = replace(finding, moved=where)

    def summary(self) -> str:
        """One line."""
        counted = ", ".join(f"{self.checked[what]:,} {what}" for what in _COUNTED if self.checked[what])
        size = f"{self.checked['bytes'] / 1e6:,.1f} MB of digests"
        notes = len(self.findings) - len(self.damaged)
        return f"checked  {counted or 'nothing'}, {size}: {len(self.damaged)} damaged, {notes} notes"

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "checked": dict(self.checked),
            "damaged": len(self.damaged),
            "findings": [finding.as_json() for finding in self.findings],
        }


_COUNTED = ("runs", "checkpoints", "exports", "verdicts", "answers", "data sets", "records", "lines")
