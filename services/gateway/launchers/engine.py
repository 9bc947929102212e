"""The Docker engine, asked by name. The only module that knows the Docker SDK.

It uses the SDK's low-level client: the high-level objects look a container up and then ask by id, which docker-proxy
refuses. A connection is made when it is first needed and again after it was lost, so the engine may come later, or go
and come back.
"""

from collections.abc import Callable, Iterator
from typing import Any

from docker.constants import DEFAULT_DOCKER_API_VERSION
from docker.errors import APIError, DockerException, NotFound
from requests.exceptions import RequestException

from docker import APIClient
from shared.errors import NotFoundError, TandemError, UnavailableError

AWAY = frozenset({502, 503, 504})  # docker-proxy's own answers when nobody listens behind it
FAILED = 500
FORBIDDEN = 403
CONFLICT = 409


class EngineError(TandemError):
    """The engine is there and could not do what was asked; its reason is the message."""

    code = "engine_failed"


def connect(url: str, *, timeout: float) -> APIClient:
    """A client of the engine at `url`, speaking the engine's own version of the API.

    Raises:
        DockerException: The engine is not there, or is none.
    """
    # What the SDK would do by itself, but for the connection that it leaves open when the engine is not there.
    asking = APIClient(base_url=url, version=DEFAULT_DOCKER_API_VERSION, timeout=timeout)
    try:
        version = asking.version(api_version=False)["ApiVersion"]
    finally:
        asking.close()
    return APIClient(base_url=url, version=version, timeout=timeout)


class Engine:
    """The few questions that a launcher has.

    Every method raises UnavailableError while the engine is away, and EngineError when it could not do it. One that
    fails at a mere question is away as well: nothing is known then. Why it fails at a start is a reason of its own.

    Args:
        connect: Makes a client. It asks the engine for its version, so it may fail.
        where: The engine's address, for errors.
    """

    def __init__(self, *, connect: Callable[[], APIClient], where: str) -> None:
        self._connect = connect
        self._where = where
        self._client: APIClient | None = None

    def ping(self) -> None:
        """Returns if the engine answers."""
        self._ask(lambda client: client.ping())

    def names(self, prefix: str) -> list[str]:
        """The names of all containers, running or not, that begin with `prefix`."""
        found = self._ask(lambda client: client.containers(all=True, filters={"name": [f"^/{prefix}"]}))
        names = (name.removeprefix("/") for container in found for name in container["Names"])
        return [name for name in names if name.startswith(prefix)]

    def state(self, name: str) -> dict[str, Any]:
        """What `docker inspect` calls the State of a container.

        Raises:
            NotFoundError: There is no such container.
        """
        state: dict[str, Any] = self._ask(lambda client: client.inspect_container(name), name)["State"]
        return state

    def start(self, name: str) -> None:
        """Starts a container that is there. One that runs already is left as it is. Raises like `state`."""
        self._ask(lambda client: client.start(name), name)

    def kill(self, name: str, signal: str) -> None:
        """Sends a signal to a container's first process, if it runs. Raises like `state`."""
        self._ask(lambda client: client.kill(name, signal), name)

    def events(self) -> Iterator[str]:
        """What happens to containers from now on, as actions (`start`, `die`, …), until the connection ends."""
        stream = self._ask(lambda client: client.events(decode=True))
        try:
            for event in stream:
                yield str(event.get("Action", ""))
        finally:
            stream.close()
            self.close()

    def close(self) -> None:
        """Closes the connection, if there is one; the next question makes another."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _ask(self, question: Callable[[APIClient], Any], name: str = "") -> Any:
        try:
            if self._client is None:
                self._client = self._connect()
            return question(self._client)
        except NotFound as error:
            raise NotFoundError(
                "there is no such container", where=name, hint="`docker compose up` makes the slots' containers"
            ) from error
        except APIError as error:
            return self._answered(error, name)
        except (DockerException, RequestException, OSError) as error:
            self.close()
            raise self._away() from error

    def _answered(self, error: APIError, name: str) -> None:
        status = error.status_code
        if status == CONFLICT:  # "is not running": what was wanted is so
            return
        reason = str(error.explanation or error).strip()
        if status in AWAY:
            raise self._away() from error
        if status >= FAILED and error.response.request.method != "POST":
            raise self._away(f"the Docker engine failed: {reason}") from error
        if status == FORBIDDEN:
            raise EngineError("docker-proxy refused", where=name, hint="Is the container named as a slot?") from error
        raise EngineError(reason, where=name) from error

    def _away(self, message: str = "the Docker engine does not answer") -> UnavailableError:
        return UnavailableError(message, where=self._where, hint="Nothing was changed; try again")
