r"""TensorFlow Serving's REST API: status, metadata and `:predict`, as its own documentation gives their JSON.

A model has the signatures `serving_default`, from `images` to `probabilities`, and `logits`, from `images` to `logits`.
Either has one output, so predictions are plain rows of numbers. A version is a step; every export of a run is one.

| request | answer |
| --- | --- |
| {"instances": [HxWx3 integers \| {"b64": "<a picture>"} \| {"images": either of these}, …]} | {"predictions": […]} |
| {"inputs": [the same] \| {"images": [the same]}} | {"outputs": […]} |
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic_core

from services.gateway.predict.batching import Outputs
from services.gateway.predict.bodies import BodyReader
from services.gateway.predict.models import Images, LoadedModel
from services.gateway.predict.predictor import Predictor
from services.gateway.predict.requests import PredictRequest, Reply, content
from services.gateway.predict.service import PredictService, number, plain_refusal
from services.gateway.predict.store import Export, RunExports
from shared.errors import InstancesError, TandemError
from shared.records import ExportManifest

INPUT, PROBABILITIES, LOGITS = "images", "probabilities", "logits"
DEFAULT_SIGNATURE = "serving_default"
SIGNATURES = {DEFAULT_SIGNATURE: PROBABILITIES, LOGITS: LOGITS}
_KNOWN = frozenset({"instances", "inputs", "signature_name"})


class TensorFlowServing:
    """Answers requests of TensorFlow Serving's REST API.

    Args:
        service: What they have in common with all requests to predict.
        predictor: Tells what is on the volume.
        reader: From instances to images.
    """

    def __init__(self, *, service: PredictService, predictor: Predictor, reader: BodyReader) -> None:
        self._service = service
        self._predictor = predictor
        self._reader = reader

    async def predict(self, request: PredictRequest) -> Reply:
        """The answer to `:predict`."""
        return await self._service.reply(request, answer=self._predict, refusal=plain_refusal)

    def metadata(self, name: str, *, version: str | None = None, label: str | None = None) -> Reply:
        """The signatures of a model, as `GET …/metadata` gives them."""
        try:
            _, export = self._asked(name, version, label)
        except TandemError as error:
            return plain_refusal(error)
        return _reply(_metadata(name, export.manifest))

    def status(self, name: str, *, version: str | None = None, label: str | None = None) -> Reply:
        """The states of a model's versions, newest first, or of one."""
        try:
            run, export = self._asked(name, version, label)
        except TandemError as error:
            return plain_refusal(error)
        exports = run.exports if version is None and label is None else (export,)
        return _reply({"model_version_status": self.states(exports)})

    def states(self, exports: Sequence[Export]) -> list[dict[str, Any]]:
        """What TensorFlow Serving calls the state of each version, newest first.

        What is not in memory is loaded when it is asked for, so it is AVAILABLE too; what cannot be loaded has come to
        its END.
        """
        newest_first = sorted(exports, key=lambda export: export.manifest.step, reverse=True)
        return [_state(export, self._predictor.failure(export)) for export in newest_first]

    def _asked(self, name: str, version: str | None, label: str | None) -> tuple[RunExports, Export]:
        run = self._predictor.catalog().resolve(name)
        if version is not None:
            return run, run.export(number(version))
        if label is not None:
            return run, run.labelled(label)
        return run, run.current()

    async def _predict(self, request: PredictRequest) -> Reply:
        body = await self._service.body(request)
        model = await self._service.model(request)
        shape = model.manifest.input_shape

        def read() -> tuple[Images, str, bool]:
            return self._read(body, shape)

        images, output, by_rows = await self._service.aside(read)
        outputs = await self._service.outputs(request, model, images)
        return _answer(model, outputs, output=output, key="predictions" if by_rows else "outputs")

    def _read(self, body: bytes, shape: tuple[int, int, int]) -> tuple[Images, str, bool]:
        """The images, the output that is asked for, and whether it is asked for row by row."""
        try:
            values = pydantic_core.from_json(body)
        except ValueError as error:
            raise InstancesError(f"is not JSON: {error}", where="body") from error
        if not isinstance(values, dict) or ("instances" in values) == ("inputs" in values):
            raise InstancesError(
                'has neither "instances" nor "inputs", or both', where="body", hint='Send {"instances": [...]}'
            )
        if unknown := values.keys() - _KNOWN:
            raise InstancesError(
                "is not known", where=min(unknown)[:80], hint=f"A body has {', '.join(sorted(_KNOWN))}"
            )
        signature = values.get("signature_name") or DEFAULT_SIGNATURE
        if not isinstance(signature, str) or signature not in SIGNATURES:
            raise InstancesError(
                f"there is no signature {str(signature)[:80]!r}", where="signature_name", hint=f"There are {_LISTED}"
            )
        by_rows = "instances" in values
        where = "instances" if by_rows else "inputs"
        rows = _rows(values[where], where) if by_rows else _column(values[where], where)
        return self._reader.instances(rows, where=where, input_shape=shape, body=body), SIGNATURES[signature], by_rows


_LISTED = " and ".join(sorted(SIGNATURES))


def _rows(values: Any, where: str) -> Any:
    if isinstance(values, list):
        return [_value(row, f"{where}.{index}") if isinstance(row, dict) else row for index, row in enumerate(values)]
    return values


def _value(row: dict[str, Any], where: str) -> Any:
    """The value of the one input that a row names; {"b64": …} is such a value itself."""
    if row.keys() == {"b64"}:
        return row
    if row.keys() != {INPUT}:
        raise InstancesError(f"does not have the one input {INPUT!r}", where=where)
    return row[INPUT]


def _column(values: Any, where: str) -> Any:
    return _value(values, where) if isinstance(values, dict) else values


def _state(export: Export, failure: TandemError | None) -> dict[str, Any]:
    error = ("OK", "") if failure is None else ("UNKNOWN", str(failure))
    return {
        "version": str(export.manifest.step),
        "state": "AVAILABLE" if failure is None else "END",
        "status": {"error_code": error[0], "error_message": error[1]},
    }


def _metadata(name: str, manifest: ExportManifest) -> dict[str, Any]:
    images = _tensor(INPUT, "DT_UINT8", *manifest.input_shape)
    signatures = {
        signature: {
            "inputs": {INPUT: images},
            "outputs": {output: _tensor(output, "DT_FLOAT", len(manifest.classes))},
            "method_name": "tensorflow/serving/predict",
        }
        for signature, output in SIGNATURES.items()
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(manifest.step)},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def _tensor(name: str, kind: str, *sides: int) -> dict[str, Any]:
    shape = [{"size": str(side), "name": ""} for side in (-1, *sides)]
    return {"dtype": kind, "tensor_shape": {"dim": shape, "unknown_rank": False}, "name": f"{name}:0"}


def _answer(model: LoadedModel, outputs: Outputs, *, output: str, key: str) -> Reply:
    values = outputs.logits if output == LOGITS else outputs.probabilities
    body = f'{{"{key}": {numbers(values)}}}'.encode()
    return Reply(200, [*content(body), *model.headers], body)


def numbers(rows: npt.NDArray[np.floating[Any]]) -> str:
    """Rows of finite numbers as JSON, with as many digits as float32 needs to come back the same.

    Whole ones have a decimal point too, as TensorFlow Serving writes them: a row of nothing but ones and zeros would be
    taken for one of integers.
    """
    return "[" + ", ".join("[" + ", ".join(map(_number, row)) + "]" for row in rows.tolist()) + "]"


def _number(value: float) -> str:
    text = f"{value:.9g}"
    return text if "." in text or "e" in text else f"{text}.0"


def _reply(values: dict[str, Any]) -> Reply:
    body = pydantic_core.to_json(values)
    return Reply(200, content(body), body)
