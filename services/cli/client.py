"""A typed client of the gateway's REST API. It is what the `tandem` command uses; `docs/client.md` is its manual.

    with connect("http://127.0.0.1:8000") as client:
        run = client.start_run(recipe="shapes", spec={"steps": 300})
        print(client.run(run.id).step)

Every call either gives a value or raises a `TandemError`: the class whose `code` the gateway named, or
`UnavailableError` where no gateway answered, or `GatewayError` where something answered that is no gateway.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from services.cli.views import Checkpoint, Classification, Evaluation, Model, Run, Series
from shared.errors import TandemError, UnavailableError
from shared.records import Verdict

V = TypeVar("V", bound=BaseModel)


class GatewayError(TandemError):
    """What answered did not answer as this release's gateway does: an error of its own, or another program."""

    code = "gateway_error"


class Client:
    """The calls of the API, one method each.

    Args:
        http: Knows the gateway's address and how long to wait for it. `connect` makes one.
    """

    def __init__(self, *, http: httpx.Client) -> None:
        self._http = http

    @property
    def url(self) -> str:
        """The gateway's address, without a slash at its end."""
        return str(self._http.base_url).rstrip("/")

    def ready(self) -> bool:
        """Whether a gateway answers at that address and says that it is ready. Never raises for one that is not."""
        try:
            return self._http.get("/readyz").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def recipes(self) -> list[str]:
        """The names of the recipes that the gateway knows."""
        return [
            item if isinstance(item, str) else str(item.get("name"))
            for item in _listed(self._send("GET", "/v1/recipes"), "recipes")
        ]

    def start_run(self, *, recipe: str | None = None, spec: Mapping[str, Any] | None = None) -> Run:
        """Starts a run.

        Args:
            recipe: The recipe's name; without one the spec's defaults are the base.
            spec: Keys of a `RunSpec`, laid over the recipe.

        Raises:
            SpecError: A key or value is wrong; `where` is its path.
            NotFoundError: There is no such recipe.
        """
        return _view(Run, self._send("POST", "/v1/runs", json={"recipe": recipe, "spec": dict(spec or {})}))

    def runs(self) -> list[Run]:
        """Every run, in the gateway's order."""
        return [_view(Run, item) for item in _listed(self._send("GET", "/v1/runs"), "runs")]

    def run(self, run: str) -> Run:
        """One run by its id. Raises NotFoundError where there is none."""
        return _view(Run, self._send("GET", f"/v1/runs/{_part(run)}"))

    def stop_run(self, run: str) -> Run:
        """Asks a run to commit a last checkpoint and stop for good. Raises ConflictError where it is over already."""
        return _view(Run, self._send("POST", f"/v1/runs/{_part(run)}:stop"))

    def series(self, run: str, *, points: int | None = None) -> Series:
        """The curves of a run, of at most about `points` rows; without it as many as the gateway finds sensible."""
        query = {} if points is None else {"points": points}
        return _view(Series, self._send("GET", f"/v1/runs/{_part(run)}/series", params=query))

    def evaluations(self, run: str) -> list[Evaluation]:
        """The figures of every verdict of a run."""
        answer = self._send("GET", f"/v1/runs/{_part(run)}/evaluations")
        return [_view(Evaluation, item) for item in _listed(answer, "evaluations")]

    def evaluation(self, run: str, step: int, weights: str) -> Verdict:
        """One whole verdict, with confusion matrix and figures per class.

        Args:
            run: The run's id.
            step: Of the checkpoint.
            weights: `raw`, `ema`, or `ema-<decay>` where the run has several averages.
        """
        answer = self._send("GET", f"/v1/runs/{_part(run)}/evaluations/{step}/{_part(weights)}")
        return _view(Verdict, answer)

    def checkpoints(self, run: str) -> list[Checkpoint]:
        """The checkpoints of a run that are on the volume."""
        answer = self._send("GET", f"/v1/runs/{_part(run)}/checkpoints")
        return [_view(Checkpoint, item) for item in _listed(answer, "checkpoints")]

    def models(self) -> list[Model]:
        """What can be asked for a classification, the newest run first, before them all `best`."""
        return [_view(Model, item) for item in _listed(self._send("GET", "/v1/models"), "models")]

    def classify(
        self, image: bytes, *, model: str = "best", media_type: str = "image/png", top: int = 5
    ) -> Classification:
        """Classifies one encoded picture.

        Args:
            image: The bytes of a PNG or JPEG file.
            model: A run's id, a run's name, or `best`: the best judged weights of the newest run that has any.
            media_type: `image/png` or `image/jpeg`.
            top: How many classes to name.

        Raises:
            ImageError: The bytes are no such picture.
            UnavailableError: Nothing was judged yet; worth a retry.
        """
        answer = self._send(
            "POST",
            f"/v1/models/{_part(model)}:classify",
            params={"top": top},
            content=image,
            headers={"content-type": media_type},
        )
        return _view(Classification, answer)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, method: str, path: str, **options: Any) -> Any:
        try:
            response = self._http.request(method, path, **options)
        except httpx.TimeoutException as error:
            raise UnavailableError(
                "the gateway did not answer in time", where=self.url, hint="Look at its log, or try again"
            ) from error
        except httpx.HTTPError as error:
            raise UnavailableError(
                f"no gateway answers ({str(error) or type(error).__name__})",
                where=self.url,
                hint="Start one with `tandem up`, or name its address in TANDEM_URL",
            ) from error
        if response.is_success:
            return _json(response)
        raise _error(response)


def connect(url: str, *, timeout: float = 30.0) -> Client:
    """A client of the gateway at `url`. Nothing is sent yet.

    Args:
        url: Such as `http://127.0.0.1:8000`.
        timeout: Seconds to wait for each answer.
    """
    return Client(http=httpx.Client(base_url=url, timeout=timeout, trust_env=False))


def _part(name: str) -> str:
    return quote(name, safe="")


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise _foreign(response) from error


def _listed(answer: Any, key: str) -> Sequence[Any]:
    items = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(items, list):
        raise GatewayError(f"the gateway's answer has no list {key!r}", hint="Use the release of tandem that it runs")
    return items


def _view(kind: type[V], values: Any) -> V:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise GatewayError(
            f"the gateway's answer is not the {kind.__name__.lower()} that was asked for: {field}: {first['msg']}",
            hint="Use the release of tandem that it runs",
        ) from error


def _error(response: httpx.Response) -> TandemError:
    """The error in the gateway's JSON shape, as the class that has its code."""
    body = _json(response)
    values = body.get("error") if isinstance(body, dict) else None
    if not isinstance(values, dict) or not isinstance(values.get("message"), str):
        return _foreign(response)
    kind = _classes().get(str(values.get("code")), GatewayError)
    return kind(values["message"], where=values.get("where"), hint=values.get("hint"))


def _foreign(response: httpx.Response) -> GatewayError:
    return GatewayError(
        f"answered {response.status_code} without an answer of tandem's",
        where=str(response.request.url),
        hint="Is that address the gateway's? TANDEM_URL names another",
    )


def _classes() -> dict[str, type[TandemError]]:
    return {kind.code: kind for kind in _tree(TandemError)}


def _tree(kind: type[TandemError]) -> Iterator[type[TandemError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _tree(below)
