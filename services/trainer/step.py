"""What happens in one step of training, as one TensorFlow graph.

The distortion of the pictures, the losses, the gradients, the update of the weights and of their averages are one
`tf.function`. What decides them comes from outside as plain numbers worked out in double precision from the step: the
learning rate and the averages' shares. So the graph has no counter of its own, and restoring weights, averages and
optimizer restores everything.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from services.trainer.devices import fitting_precision, numerics
from services.trainer.ema import ShadowWeights, shares
from services.trainer.engine import Batch, Groups, Losses, Summary
from services.trainer.inspection import Inspector, histograms, sparsity
from services.trainer.loss_scaling import choose_scaling
from services.trainer.losses import decayed_weights, loss_terms
from services.trainer.optimizer import Optimizer
from services.trainer.replicas import Replicas, choose_replicas
from shared.checkpoints import OPTIMIZER
from shared.data.statistics import ChannelStatistics
from shared.devices import processor_features
from shared.errors import SpecError
from shared.ml.models import build_model
from shared.ml.preprocess import training_view, view_shape
from shared.ml.weights import assign_here, assign_variables, named_variables, random_states, read_variables
from shared.records import Rollbacks
from shared.schedules import learning_rate
from shared.spec import Precision, RunSpec

# The tutorial's decay of the moving averages of losses that people watch.
LOSS_DECAY = 0.9


def build_engine(
    spec: RunSpec,
    *,
    classes: int,
    image_shape: tuple[int, int, int],
    train_examples: int,
    statistics: ChannelStatistics | None = None,
    own_modules: Sequence[str] = (),
) -> "StepEngine":
    """The engine of a run, at step 0.

    Args:
        spec: The run.
        classes: How many classes the data set has.
        image_shape: Height, width and channels of its pictures.
        train_examples: The size of its training split, which gives the length of an epoch.
        statistics: Of its training split; needed for `standardize: dataset` alone.
        own_modules: Modules of the operator's that its network may come from.

    Raises:
        SpecError: The spec names an unknown network or device, or does not fit the pictures, or asks several devices
            for what only one can do.
    """
    replicas = choose_replicas(spec.devices, batch_size=spec.batch_size)
    if spec.xla and len(replicas.names) > 1:
        raise SpecError(
            f"a step is compiled for one device, and {', '.join(replicas.names)} share this one",
            where="xla",
            hint="Leave out xla, or name one device",
        )
    precision = fitting_precision(spec.precision, names=replicas.names, features=processor_features())
    shape = view_shape(spec.augment, image_shape)
    with replicas.scope():
        model = build_model(
            spec.model,
            image_shape=shape,
            classes=classes,
            seed=spec.seed,
            own_modules=own_modules,
            precision=precision,
        )
    return StepEngine(
        spec=spec,
        precision=precision,
        model=model,
        replicas=replicas,
        image_shape=image_shape,
        steps_per_epoch=train_examples / spec.batch_size,
        statistics=statistics,
    )


class StepEngine:
    """The engine that the outer loop drives; see `services.trainer.engine.Engine`.

    Args:
        spec: The run.
        precision: What the network was made for.
        model: The network, a `keras.Model` from pictures to logits, made within the scope of the replicas.
        replicas: The devices that share the work.
        image_shape: Height, width and channels of the pictures in a batch.
        steps_per_epoch: Training examples / batch size.
        statistics: Of the training split; needed for `standardize: dataset` alone.
    """

    def __init__(
        self,
        *,
        spec: RunSpec,
        precision: Precision,
        model: Any,
        replicas: Replicas,
        image_shape: tuple[int, int, int],
        steps_per_epoch: float,
        statistics: ChannelStatistics | None,
    ) -> None:
        self._spec = spec
        self._precision = precision
        self._model = model
        self._replicas = replicas
        self._steps_per_epoch = steps_per_epoch
        self._statistics = statistics
        self._step = 0
        self._rollbacks = Rollbacks()
        self._weights = named_variables(model)
        self._random_states = random_states(model)
        self._trainable = {variable.path: variable.value for variable in model.trainable_variables}
        penalties = [f"weight_decay/{variable.path}" for variable in decayed_weights(model)]
        self._loss_names = ["total", "cross_entropy", *penalties]
        with replicas.scope():
            self._optimizer = Optimizer(weights=self._trainable, spec=spec.optimizer)
            self._scaling = choose_scaling(precision)
            self._shadow_weights = ShadowWeights(weights=self._weights, decays=spec.ema.decays)
            # Rows: of the newest step, moving average. Columns: the losses by name.
            self._losses = tf.Variable(tf.zeros([2, len(self._loss_names)]), trainable=False)
        self._inspector = Inspector(
            spec=spec,
            model=model,
            trainable=self._trainable,
            scaling=self._scaling,
            image_shape=image_shape,
            statistics=statistics,
        )
        self._make_step = tf.function(
            self._trace,
            input_signature=[
                tf.TensorSpec([spec.batch_size, *image_shape], tf.uint8),
                tf.TensorSpec([spec.batch_size], tf.int32),
                tf.TensorSpec([], tf.int64),
                tf.TensorSpec([], tf.float32),
                tf.TensorSpec([len(spec.ema.decays)], tf.float32),
            ],
            autograph=False,
        )
        # XLA draws other random numbers from the same key, so pictures are distorted before it begins.
        self._learn = tf.function(self._move, autograph=False, jit_compile=True) if spec.xla else self._move

    @property
    def step(self) -> int:
        """The number of steps made."""
        return self._step

    @property
    def numerics(self) -> dict[str, str]:
        """What decides the last bits of results: device, versions, kernels, threads, precision, XLA."""
        spec = self._spec
        return {
            **numerics(self._replicas.names),
            "precision": self._precision,
            "xla": "true" if spec.xla else "false",
        }

    def train(self, batches: Sequence[Batch]) -> None:
        """Makes one step for each batch, in order.

        Raises:
            ValueError: A batch belongs to another step.
        """
        for batch in batches:
            self._check(batch)
            self._make_step(
                batch.images,
                batch.labels,
                np.int64(self._step),
                np.float32(self._rate(self._step)),
                shares(self._spec.ema.decays, self._step + 1),
            )
            self._step += 1

    def losses(self) -> Losses:
        """The losses of the newest step, not a number before the first one. Waits for the device."""
        losses = self._named_losses()
        (loss, average), (cross_entropy, _) = losses["total"], losses["cross_entropy"]
        return Losses(
            loss=loss,
            cross_entropy=cross_entropy,
            average_loss=average,
            learning_rate=self._rate(max(0, self._step - 1)),
        )

    def summarize(self, batch: Batch) -> Summary:
        """What people watch; see `Engine.summarize`.

        Raises:
            ValueError: The batch is not that of the next step.
        """
        self._check(batch)
        gradients, activations, inputs = self._inspector.inspect(batch.images, batch.labels, step=self._step)
        return Summary(
            losses=self._named_losses() if self._step else {},
            learning_rate=self._rate(max(0, self._step - 1)),
            weights=histograms(self._inspector.weights()),
            gradients=histograms(gradients),
            activations=histograms(activations),
            sparsity={name: sparsity(figures) for name, figures in activations.items()},
            inputs=inputs,
        )

    def snapshot(self) -> Groups:
        """Copies in host memory; see `Engine.snapshot`."""
        return {
            "raw": read_variables(self._weights),
            **self._shadow_weights.read(),
            OPTIMIZER: read_variables(self._memory()),
        }

    def slow(self, rollbacks: Rollbacks) -> None:
        """Lowers the rate; see `Engine.slow`."""
        self._rollbacks = rollbacks

    def restore(self, groups: Groups, *, step: int) -> None:
        """Takes over what `snapshot` gave at `step`.

        Raises:
            CorruptCheckpointError: The groups are not those of this network, averages and optimizer; names the tensor.
        """
        assign_variables(self._weights, groups.get("raw", {}), source="raw")
        self._shadow_weights.assign(groups)
        assign_variables(self._memory(), groups.get(OPTIMIZER, {}), source=OPTIMIZER)
        self._step = step

    def _check(self, batch: Batch) -> None:
        if batch.step != self._step:
            raise ValueError(f"the batch of step {batch.step} came after {self._step} steps")

    def _named_losses(self) -> dict[str, tuple[float, float]]:
        newest, averages = self._losses.numpy().astype(np.float64)
        if self._step == 0:
            newest, averages = newest * np.nan, averages * np.nan
        else:
            # The stored averages start from zero; this takes the share of that start out again.
            averages /= 1 - LOSS_DECAY**self._step
        return dict(zip(self._loss_names, zip(newest.tolist(), averages.tolist(), strict=True), strict=True))

    def _memory(self) -> dict[str, Any]:
        return {"losses": self._losses, **self._random_states, **self._optimizer.variables, **self._scaling.variables}

    def _rate(self, step: int) -> float:
        spec = self._spec
        rate = learning_rate(spec.learning_rate, step, steps=spec.steps, steps_per_epoch=self._steps_per_epoch)
        return rate * self._rollbacks.rate_factor(step)

    def _trace(self, images: Any, labels: Any, step: Any, rate: Any, average_shares: Any) -> None:
        spec = self._spec

        def work(part: Any, part_labels: Any, first: Any) -> None:
            view = training_view(
                part, spec.augment, self._statistics, seed=spec.seed, step=step, batch_size=spec.batch_size, first=first
            )
            self._learn(view, part_labels, rate, average_shares)

        self._replicas.run(work, images, labels)

    def _move(self, view: Any, labels: Any, rate: Any, average_shares: Any) -> None:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(list(self._trainable.values()))
            logits = self._model(view, training=True)
            terms = loss_terms(self._model, logits, labels, smoothing=self._spec.optimizer.label_smoothing)
            loss = tf.add_n(terms)
            scaled = self._scaling.scaled(loss)
        penalties = terms[len(terms) + 2 - len(self._loss_names) :]
        gradients, newest = self._replicas.average(
            (self._scaling.unscaled(tape.gradient(scaled, self._trainable)), tf.stack([loss, terms[0], *penalties]))
        )
        self._scaling.update(gradients, lambda: self._optimizer.update(gradients, rate=rate))
        self._shadow_weights.update(average_shares)
        assign_here(self._losses, tf.stack([newest, LOSS_DECAY * self._losses[1] + (1 - LOSS_DECAY) * newest]))
