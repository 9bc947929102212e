"""The learning rate as a pure function of the step. Free of TensorFlow, so that it can be plotted anywhere."""

import math

from shared.spec import ConstantRate, CosineRate, ExponentialRate, OneCycleRate, RateSpec, RunSpec


def learning_rate(spec: RateSpec, step: int, *, steps: int, steps_per_epoch: float) -> float:
    """The rate at which the update after `step` steps is made.

    Args:
        spec: The schedule.
        step: The number of steps made, from 0 on.
        steps: Of the whole run.
        steps_per_epoch: Training examples / batch size, not rounded.
    """
    match spec:
        case ConstantRate():
            return spec.rate
        case ExponentialRate():
            return _exponential(spec, step, steps_per_epoch=steps_per_epoch)
        case CosineRate():
            return _cosine(spec, step, steps=steps)
        case OneCycleRate():
            return _one_cycle(spec, step / steps)


def rate_curve(spec: RunSpec, *, examples: int, points: int) -> list[tuple[int, float]]:
    """Step and learning rate at evenly spaced steps, the first and the last one of the run included.

    Args:
        spec: The run.
        examples: The size of the training split.
        points: How many, at most; a run of fewer steps has a point for each.
    """
    last, count = spec.steps - 1, min(points, spec.steps)
    steps = [last * number // (count - 1) for number in range(count)] if count > 1 else [last]
    per_epoch = examples / spec.batch_size
    return [
        (step, learning_rate(spec.learning_rate, step, steps=spec.steps, steps_per_epoch=per_epoch)) for step in steps
    ]


def _exponential(spec: ExponentialRate, step: int, *, steps_per_epoch: float) -> float:
    # As in the tutorial, a whole number of steps: 350 epochs of 50,000 examples in batches of 128 are 136,718.
    decay_steps = max(1, int(steps_per_epoch * spec.every_epochs))
    exponent = step // decay_steps if spec.staircase else step / decay_steps
    return float(spec.initial * spec.factor**exponent)


def _cosine(spec: CosineRate, step: int, *, steps: int) -> float:
    if step < spec.warmup_steps:
        return spec.initial * (step + 1) / spec.warmup_steps
    progress = (step - spec.warmup_steps) / (steps - spec.warmup_steps)
    return spec.final + (spec.initial - spec.final) * (1 + math.cos(math.pi * progress)) / 2


def _one_cycle(spec: OneCycleRate, progress: float) -> float:
    if progress < spec.warmup:
        return spec.start + (spec.peak - spec.start) * progress / spec.warmup
    return spec.peak + (spec.final - spec.peak) * (progress - spec.warmup) / (1 - spec.warmup or 1)
