"""Exit codes: what a script learns without reading. Listed in docs/cli.md."""

from shared.errors import (
    AccessError,
    ConflictError,
    DatasetError,
    InputError,
    NotFoundError,
    NotWritableError,
    TandemError,
    UnavailableError,
)

NOT_SO = 6  # what was waited for cannot come true any more; what was checked is damaged
TOO_LATE = 7  # what was waited for did not come true in time

# The first class that fits decides; whatever is in none of them is 1.
EXIT_CODES: tuple[tuple[type[TandemError], int], ...] = (
    (InputError, 2),
    (DatasetError, 2),
    (NotWritableError, 2),
    (AccessError, 2),
    (UnavailableError, 3),
    (NotFoundError, 4),
    (ConflictError, 5),
)


def exit_code(error: TandemError) -> int:
    """The exit code that stands for this error."""
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), 1)
