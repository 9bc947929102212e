"""The keys that the gateway accepts: those of its key file as it is now, so that a revoked one opens nothing any more.

The file is looked at with every request and read again when it has changed. While it is gone or damaged nobody is let
in: to go on with what it said before would keep alive what somebody may have meant to revoke.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ForbiddenError, TandemError, UnauthenticatedError, UnavailableError
from shared.keys import SCOPES, KeyFile, Scope, read_keys

_log = logging.getLogger(__name__)
_HINT = "Send it as `Authorization: Bearer <key>`; `tandem` sends that of TANDEM_API_KEY"


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        name: Of the key; None where none is asked for.
        scopes: What it opens.
    """

    name: str | None
    scopes: tuple[Scope, ...]


ANYBODY = Caller(name=None, scopes=SCOPES)


class Keyring:
    """Tells callers by their keys.

    Args:
        path: The key file; None: everybody may do everything.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._seen: object = None
        self._keys: KeyFile | None = None

    @property
    def asks(self) -> bool:
        """Whether a key is asked for."""
        return self._path is not None

    def check(self) -> int:
        """Makes sure that the file can be used.

        Returns:
            How many keys are in it.

        Raises:
            TandemError, OSError: It cannot.
        """
        return 0 if self._path is None else len(read_keys(self._path).keys)

    def caller(self, authorizations: Sequence[bytes]) -> Caller:
        """Who sent these values of the header Authorization.

        Raises:
            UnauthenticatedError: Nobody that is known.
            UnavailableError: The key file cannot be used now.
        """
        if self._path is None:
            return ANYBODY
        keys = self._read(self._path)
        if not authorizations:
            raise UnauthenticatedError("this needs an API key", where="Authorization", hint=_HINT)
        scheme, _, secret = authorizations[0].decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or len(authorizations) > 1:
            raise UnauthenticatedError("is not one key", where="Authorization", hint=_HINT)
        key = keys.find(secret.strip())
        if key is None:
            raise UnauthenticatedError(
                "there is no such key", where="Authorization", hint="It may have been revoked, or be another gateway's"
            )
        return Caller(name=key.name, scopes=key.scopes)

    def _read(self, path: Path) -> KeyFile:
        try:
            status = path.stat()
            seen: object = (status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode)
        except OSError as error:
            seen = str(error)
        if seen != self._seen:
            self._seen = seen
            try:
                self._keys = read_keys(path)
            except (TandemError, OSError) as error:
                self._keys = None
                _log.error("nobody is let in until the key file can be read: %s", error)
        if self._keys is None:
            raise UnavailableError("the key file cannot be used", where="keys", hint="The gateway's log says why")
        return self._keys


def require(caller: Caller, scopes: Sequence[Scope]) -> None:
    """Makes sure that a caller has one of these scopes.

    Raises:
        ForbiddenError: It has none of them.
    """
    if not set(scopes) & set(caller.scopes):
        raise ForbiddenError(
            f"the key {caller.name} has not the scope {' or '.join(scopes)}",
            where="Authorization",
            hint=f"It has: {', '.join(caller.scopes)}",
        )
