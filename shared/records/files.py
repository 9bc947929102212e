"""What a record says of the files that lie beside it."""

from typing import Annotated

from pydantic import Field

from shared.records.record import Value

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)]
"""Of a file beside the manifest that names it: it leads nowhere else."""


class FileRecord(Value):
    """Size and digest of one file of a committed folder."""

    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
