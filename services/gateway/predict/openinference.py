"""The Open Inference Protocol (`/v2`) over HTTP, with its extensions for binary tensors and for classification.

A model takes the one input `images`, UINT8 [n, height, width, 3], and answers `logits` and `probabilities`, FP32
[n, classes]. A version is a step. In the binary form a JSON header of Inference-Header-Content-Length bytes comes
first, then the tensors one after the other; a header of no bytes means that the whole body is the one input.
"""

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic_core

from services.gateway.predict.batching import Outputs
from services.gateway.predict.bodies import BodyReader, shown
from services.gateway.predict.models import Images, LoadedModel
from services.gateway.predict.predictor import Predictor
from services.gateway.predict.requests import PredictRequest, Reply, content
from services.gateway.predict.service import PredictService, number, plain_refusal
from services.gateway.predict.store import Export, RunExports
from services.gateway.predict.tfserving import INPUT, LOGITS, PROBABILITIES, numbers
from shared import observe
from shared.errors import InstancesError, TandemError, UnavailableError

NAME = "tandem"
EXTENSIONS = ("binary_tensor_data", "classification")
PLATFORM = "onnxruntime_onnx"
HEADER = b"inference-header-content-length"
OUTPUTS = (LOGITS, PROBABILITIES)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One output that a request asks for: `top` of the classes instead of numbers if that is not 0."""

    name: str
    binary: bool
    top: int = 0


@dataclass(frozen=True, kw_only=True)
class Inference:
    """What a request to infer asks: pictures, and outputs in order; `seconds` is the most that it may take."""

    id: str | None
    images: Images
    outputs: tuple[Wanted, ...]
    seconds: float | None


class OpenInference:
    """Answers requests of the Open Inference Protocol.

    Args:
        service: What they have in common with all requests to predict.
        predictor: Tells what is on the volume.
        reader: Checks what is sent.
    """

    def __init__(self, *, service: PredictService, predictor: Predictor, reader: BodyReader) -> None:
        self._service = service
        self._predictor = predictor
        self._reader = reader

    async def infer(self, request: PredictRequest) -> Reply:
        """The answer to `…/infer`."""
        return await self._service.reply(request, answer=self._infer, refusal=plain_refusal)

    def server(self) -> Reply:
        """What this server is."""
        return _reply({"name": NAME, "version": observe.version(), "extensions": list(EXTENSIONS)})

    def live(self) -> Reply:
        """That this server is there."""
        return _reply({"live": True})

    def ready(self) -> Reply:
        """Whether the best model can be asked now: 200, or 400 with the reason, as the protocol wants it."""
        reason = self._predictor.why_not_ready()
        return _reply({"ready": True}) if reason is None else _reply({"error": reason}, status=400)

    def model_ready(self, name: str, *, version: str | None = None) -> Reply:
        """Whether this model can be asked; what is not in memory is loaded when it is."""
        try:
            run, export = self._asked(name, version)
            failures = [self._predictor.failure(each) for each in (run.exports if version is None else (export,))]
            if None not in failures:  # of a run another one answers as long as there is one that can
                raise UnavailableError(f"it cannot be served: {failures[0]}")
        except TandemError as error:
            return plain_refusal(error)
        return _reply({"name": name, "ready": True})

    def metadata(self, name: str, *, version: str | None = None) -> Reply:
        """A model's versions and tensors."""
        try:
            run, export = self._asked(name, version)
        except TandemError as error:
            return plain_refusal(error)
        manifest = export.manifest
        steps = sorted(each.manifest.step for each in run.exports) if version is None else [manifest.step]
        classes = len(manifest.classes)
        return _reply(
            {
                "name": name,
                "versions": [str(step) for step in steps],
                "platform": PLATFORM,
                "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, *manifest.input_shape]}],
                "outputs": [{"name": output, "datatype": "FP32", "shape": [-1, classes]} for output in OUTPUTS],
            }
        )

    def _asked(self, name: str, version: str | None) -> tuple[RunExports, Export]:
        run = self._predictor.catalog().resolve(name)
        if version is not None:
            return run, run.export(number(version))
        return run, run.current()

    async def _infer(self, request: PredictRequest) -> Reply:
        body = await self._service.body(request)
        model = await self._service.model(request)
        length = request.header(HEADER)

        def read() -> Inference:
            return read_inference(body, length, shape=model.manifest.input_shape, reader=self._reader)

        asked = await self._service.aside(read)
        if asked.seconds is not None:
            self._service.shorten(request, asked.seconds)
        outputs = await self._service.outputs(request, model, asked.images)
        return _answer(request.name, model, asked, outputs)


def read_inference(body: bytes, length: str, *, shape: tuple[int, int, int], reader: BodyReader) -> Inference:
    """What a body asks.

    Args:
        body: The whole body.
        length: Of the JSON in front, as the header says; empty: all of it is JSON.
        shape: Height, width and channels of the model's input.
        reader: Says how many pictures are taken at once.

    Raises:
        InstancesError: It does not fit the protocol or the model; names the field.
    """
    if not length:
        return _read_json(body, b"", shape=shape, reader=reader, hint=_WITHOUT_LENGTH)
    if not (length.isascii() and length.isdecimal() and len(length) <= 12 and int(length) <= len(body)):
        raise InstancesError(f"{length[:40]!r} is no length within the body", where=HEADER.decode())
    at = int(length)
    if at == 0:
        images = reader.raw(body, shape=None, input_shape=shape)
        return Inference(id=None, images=images, outputs=_all(binary=True), seconds=None)
    return _read_json(body[:at], body[at:], shape=shape, reader=reader)


_WITHOUT_LENGTH = (
    "Where tensors follow the JSON, or are the whole body, the header Inference-Header-Content-Length says so"
)


def _read_json(
    text: bytes, tensors: bytes, *, shape: tuple[int, int, int], reader: BodyReader, hint: str | None = None
) -> Inference:
    try:
        values = pydantic_core.from_json(text)
    except ValueError as error:
        raise InstancesError(f"is not JSON: {error}", where="body", hint=hint) from error
    if not isinstance(values, dict):
        raise InstancesError("is not a JSON object", where="body")
    parameters = _mapping(values.get("parameters"), "parameters")
    inputs = values.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise InstancesError(f"is not a list of the one input {INPUT!r}", where="inputs")
    request_id = values.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise InstancesError("is not text", where="id")
    return Inference(
        id=request_id,
        images=_images(inputs[0], tensors, shape=shape, reader=reader),
        outputs=_wanted(values.get("outputs"), binary=_flag(parameters, "binary_data_output", "parameters")),
        seconds=_seconds(parameters.get("timeout")),
    )


def _images(
    tensor: dict[str, Any], tensors: bytes, *, shape: tuple[int, int, int], reader: BodyReader
) -> npt.NDArray[np.uint8]:
    where = "inputs.0"
    if tensor.get("name") != INPUT:
        raise InstancesError(f"is {shown(tensor.get('name'))}, not {INPUT!r}", where=f"{where}.name")
    if tensor.get("datatype") != "UINT8":
        kind = shown(tensor.get("datatype"))
        hint = "Pixels are integers from 0 to 255, not divided by 255"
        raise InstancesError(f"is {kind}, not 'UINT8'", where=f"{where}.datatype", hint=hint)
    sides = tensor.get("shape")
    count = sides[0] if isinstance(sides, list) and sides else None
    if not isinstance(count, int) or isinstance(count, bool) or count < 1 or sides != [count, *shape]:
        given = f"[{', '.join(map(shown, sides[:8]))}]" if isinstance(sides, list) else shown(sides)
        raise InstancesError(f"is {given}, not [n, {', '.join(map(str, shape))}]", where=f"{where}.shape")
    reader.check_count(count, where=f"{where}.shape")
    size = _mapping(tensor.get("parameters"), f"{where}.parameters").get("binary_data_size")
    if size is None:
        if tensors:
            raise InstancesError(
                f"says no binary_data_size, and {len(tensors)} bytes follow the JSON", where=f"{where}.parameters"
            )
        return _listed(tensor.get("data"), count, shape, reader)
    if tensor.get("data") is not None:
        raise InstancesError("is there, and binary_data_size says that it follows the JSON", where=f"{where}.data")
    if type(size) is not int or size != len(tensors):
        raise InstancesError(
            f"is {shown(size)}; {len(tensors)} bytes follow the JSON",
            where=f"{where}.parameters.binary_data_size",
        )
    images = reader.raw(tensors, shape=None, input_shape=shape)
    if len(images) != count:
        raise InstancesError(f"says {count} pictures; {len(images)} follow", where=f"{where}.shape")
    return images


def _listed(data: Any, count: int, shape: tuple[int, int, int], reader: BodyReader) -> npt.NDArray[np.uint8]:
    """Pixels from JSON, flat or nested."""
    where = "inputs.0.data"
    if not isinstance(data, list) or not data:
        raise InstancesError("is not a list of pixels", where=where)
    if isinstance(data[0], list):
        if len(data) != count:
            raise InstancesError(f"has {len(data)} pictures instead of {count}", where=where)
        return reader.instances(data, where=where, input_shape=shape, body=b"true")
    if len(data) != count * int(np.prod(shape)):
        raise InstancesError(f"has {len(data)} numbers instead of {count * int(np.prod(shape))}", where=where)
    for index, value in enumerate(data):
        if type(value) is not int or not 0 <= value <= 255:
            raise InstancesError("is not an integer from 0 to 255", where=f"{where}.{index}")
    return np.array(data, np.uint8).reshape(count, *shape)


def _wanted(outputs: Any, *, binary: bool) -> tuple[Wanted, ...]:
    if outputs is None or outputs == []:
        return _all(binary=binary)
    if not isinstance(outputs, list) or len(outputs) > len(OUTPUTS):
        raise InstancesError(f"is not a list of some of {', '.join(OUTPUTS)}", where="outputs")
    return tuple(_one_wanted(output, f"outputs.{index}", binary=binary) for index, output in enumerate(outputs))


def _one_wanted(output: Any, where: str, *, binary: bool) -> Wanted:
    values = _mapping(output, where)
    if values.get("name") not in OUTPUTS:
        raise InstancesError(f"is {shown(values.get('name'))}, none of {', '.join(OUTPUTS)}", where=f"{where}.name")
    parameters = _mapping(values.get("parameters"), f"{where}.parameters")
    top = parameters.get("classification", 0)
    if not isinstance(top, int) or isinstance(top, bool) or top < 0:
        raise InstancesError("is not a number of classes", where=f"{where}.parameters.classification")
    binary = _flag(parameters, "binary_data", f"{where}.parameters", default=binary)
    return Wanted(name=values["name"], binary=binary, top=top)


def _all(*, binary: bool) -> tuple[Wanted, ...]:
    return tuple(Wanted(name=name, binary=binary) for name in OUTPUTS)


def _seconds(timeout: Any) -> float | None:
    """The parameter `timeout` is in microseconds."""
    if timeout is None:
        return None
    if not isinstance(timeout, int) or isinstance(timeout, bool) or timeout <= 0:
        raise InstancesError("is not a number of microseconds above 0", where="parameters.timeout")
    return timeout / 1e6


def _flag(parameters: dict[str, Any], name: str, where: str, *, default: bool = False) -> bool:
    value = parameters.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InstancesError(f"is {shown(value)}, neither true nor false", where=f"{where}.{name}")
    return value


def _mapping(values: Any, where: str) -> dict[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InstancesError("is not a JSON object", where=where)
    return values


def _answer(name: str, model: LoadedModel, asked: Inference, outputs: Outputs) -> Reply:
    written = [_written(wanted, outputs, model.manifest.classes) for wanted in asked.outputs]
    tensors = [tensor for _, tensor in written if tensor is not None]
    identity = "" if asked.id is None else f', "id": {json.dumps(asked.id)}'
    head = (
        f'{{"model_name": {json.dumps(name)}, "model_version": "{model.manifest.step}"{identity}, '
        f'"outputs": [{", ".join(described for described, _ in written)}]}}'
    ).encode()
    if not tensors:
        return Reply(200, [*content(head), *model.headers], head)
    body = b"".join((head, *tensors))
    headers = [*content(body, b"application/octet-stream"), (HEADER, str(len(head)).encode())]
    return Reply(200, [*headers, *model.headers], body)


def _written(wanted: Wanted, outputs: Outputs, classes: tuple[str, ...]) -> tuple[str, bytes | None]:
    """One output as JSON, and its tensor if that is to follow in binary."""
    values = outputs.logits if wanted.name == LOGITS else outputs.probabilities.astype(np.float32)
    if wanted.top:
        texts = _classified(values, classes, wanted.top)
        kind, shape, flat = "BYTES", [len(texts), len(texts[0])], [text for row in texts for text in row]
        tensor = b"".join(map(_counted, flat)) if wanted.binary else None
        data = json.dumps(flat)
    else:
        kind, shape = "FP32", list(values.shape)
        tensor = values.tobytes() if wanted.binary else None
        data = "" if wanted.binary else numbers(values.reshape(1, -1))[1:-1]
    rest = f'"data": {data}' if tensor is None else f'"parameters": {{"binary_data_size": {len(tensor)}}}'
    return f'{{"name": "{wanted.name}", "datatype": "{kind}", "shape": {json.dumps(shape)}, {rest}}}', tensor


def _classified(values: npt.NDArray[np.float32], classes: tuple[str, ...], top: int) -> list[list[str]]:
    """`value:index:label` of the greatest values of each row, greatest first."""
    order = np.argsort(-values, axis=1, kind="stable")[:, :top]
    return [
        [f"{row[index]:.6f}:{index}:{classes[index]}" for index in best]
        for row, best in zip(values.tolist(), order.tolist(), strict=True)
    ]


def _counted(text: str) -> bytes:
    """Text as the binary form has it: its length in four bytes, then itself."""
    data = text.encode()
    return struct.pack("<I", len(data)) + data


def _reply(values: dict[str, Any], *, status: int = 200) -> Reply:
    body = pydantic_core.to_json(values)
    return Reply(status, content(body), body)
