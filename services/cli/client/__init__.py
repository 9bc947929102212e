"""A typed client of the gateway's REST API. It is what the `tandem` command uses; `docs/client.md` is its manual.

    with connect("http://127.0.0.1:8000") as client:
        run = client.start_run(recipe="shapes", spec={"steps": 300})
        for event in client.stream(run.id, kinds=("state", "evaluation")):
            print(event.kind, event.data)

Every call either gives a value or raises a `TandemError`: the class whose `code` the gateway named, or
`UnavailableError` where no gateway answered, or `GatewayError` where something answered that is no gateway.
"""

from types import TracebackType

import httpx

from services.cli.client.results import ResultCalls
from services.cli.client.runs import RunCalls
from services.cli.client.streams import StreamCalls, StreamEvent
from services.cli.client.transport import GatewayError, Transport

__all__ = ["Client", "GatewayError", "StreamEvent", "connect"]


class Client(RunCalls, ResultCalls, StreamCalls):
    """The calls of the API, one method each.

    Args:
        http: Knows the gateway's address, the key, and how long to wait for it. `connect` makes one.
    """

    def __init__(self, *, http: httpx.Client) -> None:
        self._transport = Transport(http=http)

    @property
    def url(self) -> str:
        """The gateway's address, without a slash at its end."""
        return self._transport.url

    def ready(self) -> bool:
        """Whether a gateway answers at that address and says that it is ready. Never raises for one that is not."""
        try:
            return self._transport.http.get("/readyz").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def close(self) -> None:
        """Closes the connections."""
        self._transport.http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(url: str, *, key: str | None = None, timeout: float = 30.0) -> Client:
    """A client of the gateway at `url`. Nothing is sent yet.

    Args:
        url: Such as `http://127.0.0.1:8000`.
        key: An API key, where the gateway asks for one.
        timeout: Seconds to wait for each answer.
    """
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return Client(http=httpx.Client(base_url=url, timeout=timeout, trust_env=False, headers=headers))
