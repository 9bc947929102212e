"""What an evaluator judges on, so that the trainer has all of its own GPU's memory. Imports no TensorFlow.

cpu       the processor; a GPU that can be seen all the same is refused
gpu:<N>   that GPU alone, which must not be a trainer's; N counts as nvidia-smi does
any       whatever is there: for an evaluator that works while the slot's trainer does not
"""

import re
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

from shared.devices import prepare_tensorflow
from shared.errors import SettingsError

VARIABLE = "TANDEM_EVALUATOR_DEVICE"

_GPU = re.compile(r"gpu:([0-9]{1,3})", re.ASCII)
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_OTHER_MAKERS = {"HIP_VISIBLE_DEVICES": "-1", "ROCR_VISIBLE_DEVICES": "-1"}


@dataclass(frozen=True)
class EvaluationDevice:
    """What to judge on; `number` is a GPU's."""

    kind: Literal["cpu", "gpu", "any"]
    number: int = 0

    @classmethod
    def parse(cls, text: str) -> "EvaluationDevice":
        """The device that a setting names.

        Raises:
            SettingsError: It names none.
        """
        if text == "cpu":
            return cls("cpu")
        if text == "any":
            return cls("any")
        if found := _GPU.fullmatch(text):
            return cls("gpu", int(found.group(1)))
        raise SettingsError(f"{text!r} is nothing to judge on", hint="It is cpu, gpu:<number> or any")

    def prepare(
        self,
        environment: MutableMapping[str, str],
        *,
        threads: int,
        modules: Mapping[str, ModuleType] = sys.modules,
    ) -> None:
        """Prepares TensorFlow for `threads` processors and for the GPUs that this device has.

        Raises:
            SettingsError: TensorFlow is imported already, which is too late; or the environment hides the GPU.
        """
        if "tensorflow" in modules:
            raise SettingsError("TensorFlow was imported before the GPUs were hidden", where="the evaluator's start")
        if self.kind == "cpu":
            environment.update(_OTHER_MAKERS)
        elif self.kind == "gpu":
            environment.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
            environment[_VISIBLE] = self._chosen(environment.get(_VISIBLE))
        prepare_tensorflow(environment, device="cpu" if self.kind == "cpu" else "auto", threads=threads)

    def check(self, visible: Callable[[], Sequence[str]]) -> None:
        """Makes sure that TensorFlow sees what it should.

        Args:
            visible: Names the GPUs that TensorFlow sees.

        Raises:
            SettingsError: It sees a GPU that it must not touch, or not the one that it should use.
        """
        names = visible() if self.kind != "any" else ()
        if self.kind == "cpu" and names:
            raise SettingsError(
                f"TensorFlow sees {', '.join(names)}, and an evaluator on the processor must not touch a GPU",
                where=_VISIBLE,
                hint=f"Give it no GPU (tensorflow-cpu is all it needs), or one of its own: {VARIABLE}=gpu:<number>",
            )
        if self.kind == "gpu" and len(names) != 1:
            raise SettingsError(
                f"TensorFlow sees {', '.join(names) or 'no GPU'} where it should see GPU {self.number} alone",
                where=VARIABLE,
                hint="Look at nvidia-smi, and at whether TensorFlow was installed with CUDA; cpu needs neither",
            )

    def _chosen(self, visible: str | None) -> str:
        """The one GPU, as the driver is told of it; `visible` is what the environment lets this process see."""
        if visible is None:
            return str(self.number)
        there = [each.strip() for each in visible.split(",") if each.strip() not in {"", "-1"}]
        if self.number >= len(there):
            raise SettingsError(f"GPU {self.number} is none of those that {_VISIBLE}={visible} leaves", where=VARIABLE)
        return there[self.number]
