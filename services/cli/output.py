"""Figures, runs and verdicts as people read them. Pure: values in, text or tables out."""

import time
from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table

from services.cli.client.views import (
    Alias,
    Checkpoint,
    Classification,
    Evaluation,
    LogLine,
    Model,
    Prediction,
    Run,
    RunEvent,
)
from shared.keys import KeyRecord

UNKNOWN = "-"
_SWITCH = {"0": "off", "1": "on"}


def duration(seconds: float | None) -> str:
    """Seconds as `3 s`, `12:05` or `1:02:03`, days in front where there are some."""
    if seconds is None:
        return UNKNOWN
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d}"
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    clock = f"{hours}:{minutes:02d}:{rest:02d}"
    return f"{days} d {clock}" if days else clock


def figure(value: float | None, digits: int = 3) -> str:
    """A number with so many digits after the point, or a dash for none."""
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def figures_of(evaluation: Evaluation) -> str:
    """`EMA 0.612 (0.602-0.622)`, or why there is no figure."""
    name = weights_name(evaluation.weights, evaluation.decay)
    if evaluation.precision_at_1 is None:
        return f"{name} {evaluation.status}: {evaluation.problem or 'no figures'}"
    text = f"{name} {figure(evaluation.precision_at_1)}"
    if evaluation.interval is not None:
        text += f" ({figure(evaluation.interval[0])}-{figure(evaluation.interval[1])})"
    return text


def weights_name(weights: str, decay: float | None) -> str:
    """`raw`, or `EMA` with its decay."""
    if weights == "raw":
        return "raw"
    return "EMA" if decay is None else f"EMA {decay:g}"


def answer_of(prediction: Prediction) -> str:
    """`ship 0.931, airplane 0.042, …`: the classes of one answer."""
    return ", ".join(f"{item.label} {figure(item.probability)}" for item in prediction.classes)


def source_of(answer: Classification) -> str:
    """Which weights gave an answer."""
    precision = "" if answer.precision_at_1 is None else f", precision at 1 {figure(answer.precision_at_1)}"
    return f"{weights_name(answer.weights, answer.decay)} weights of step {answer.step:,}, run {answer.run}{precision}"


def runs_table(runs: Iterable[Run]) -> Table:
    """A line per run."""
    table = _table("run", "state", "step", "loss", "examples/s", "ETA", "best precision at 1")
    for run in runs:
        table.add_row(
            run.id,
            run.state,
            f"{run.step:,} of {run.steps:,}",
            figure(run.average_loss),
            figure(run.examples_per_second, 0),
            duration(run.eta_seconds),
            UNKNOWN if run.best is None else f"{figures_of(run.best)} @ {run.best.step:,}",
        )
    return table


def run_lines(run: Run, evaluations: Sequence[Evaluation]) -> list[str]:
    """Everything about one run, a fact a line."""
    lines = [
        f"run         {run.id}",
        f"state       {run.state}" + (f" ({run.reason})" if run.reason else ""),
        f"step        {run.step:,} of {run.steps:,} ({run.progress:.0%})",
        f"loss        {figure(run.loss)}, averaged {figure(run.average_loss)}, at rate {rate(run.learning_rate)}",
        f"speed       {figure(run.examples_per_second, 0)} examples/s, {duration(run.eta_seconds)} to go",
        f"checkpoint  {UNKNOWN if run.checkpoint_step is None else f'step {run.checkpoint_step:,}'}",
    ]
    if run.slot is not None:
        lines.append(f"slot        {run.slot}")
    if run.position is not None:
        lines.append(f"queue       place {run.position:,}, priority {run.priority}")
    if run.forked_from is not None:
        lines.append(f"forked      from step {run.forked_from.step:,} of {run.forked_from.run}")
    if run.wall_seconds:
        deaths = f", {run.restarts} restarts" if run.restarts else ""
        lines.append(f"trained     for {duration(run.wall_seconds)}{deaths}")
    if run.numerics:
        lines.append(f"computes    {numerics_text(run.numerics)}")
    if run.labels:
        lines.append(f"labels      {', '.join(f'{key}={value}' for key, value in sorted(run.labels.items()))}")
    if run.allowed:
        lines.append(f"allowed     {', '.join(run.allowed)}")
    if run.failure is not None:
        lines.append(f"failure     {run.failure}")
    if run.best is not None:
        lines.append(f"best        {figures_of(run.best)} at step {run.best.step:,}")
    for step in sorted({evaluation.step for evaluation in evaluations}):
        figures = [figures_of(evaluation) for evaluation in evaluations if evaluation.step == step]
        lines.append(f"judged      step {step:,}: {', '.join(sorted(figures))}")
    return lines


def numerics_text(numerics: Mapping[str, str]) -> str:
    """`float32 on CPU:0 (x86_64, avx2), oneDNN on, 2 threads, TensorFlow 2.21.0`: what results depend on."""
    known = {"precision": "float32", "devices": "?", "xla": "false", "onednn": "default", "tensorflow": "?", **numerics}
    hardware = [numerics[key] for key in ("device_description", "processor_features") if key in numerics]
    parts = [
        f"{known['precision']} on {known['devices']}" + (f" ({', '.join(hardware)})" if hardware else ""),
        f"oneDNN {_SWITCH.get(known['onednn'], known['onednn'])}",
        f"{known.get('intra_op_threads', '?')} threads",
        f"TensorFlow {known['tensorflow']}",
    ]
    return ", ".join(parts[:1] + ["compiled by XLA"] * (known["xla"] == "true") + parts[1:])


def checkpoint_line(checkpoint: Checkpoint) -> str:
    """`checkpoint  step 300: 12.8 MB, pinned`."""
    size = UNKNOWN if checkpoint.bytes is None else f"{checkpoint.bytes / 1e6:.1f} MB"
    marks = ", pinned" if checkpoint.pinned else ""
    problem = f", {checkpoint.problem}" if checkpoint.problem else ""
    return f"checkpoint  step {checkpoint.step:,}: {size}{marks}{problem}"


def progress_text(run: Run) -> str:
    """`step 1,240 of 3,000  loss 1.234  rate 0.1  812 examples/s  ETA 3:12`, or the state while it does not train."""
    step = f"step {run.step:,} of {run.steps:,}"
    if run.state != "running":
        return f"{step}  {run.state}" + (f": {run.reason}" if run.reason else "")
    loss = run.average_loss if run.average_loss is not None else run.loss
    return (
        f"{step}  loss {figure(loss)}  rate {rate(run.learning_rate)}  "
        f"{figure(run.examples_per_second, 0)} examples/s  ETA {duration(run.eta_seconds)}"
    )


def log_line(line: LogLine) -> str:
    """`11-24 10:15:03 trainer    info     step 100 is committed`, a traceback behind it."""
    text = f"{_clock(line.time)} {line.service:<10} {line.level:<8} {line.message}"
    return f"{text}\n{line.traceback.rstrip()}" if line.traceback else text


def event_line(event: RunEvent) -> str:
    """`11-24 10:15:03 gateway    state        running: trains, in slot slot-0`."""
    at = "" if event.step is None else f" (step {event.step:,})"
    return f"{_clock(event.time)} {event.service:<10} {event.kind:<12} {event.message}{at}"


def models_table(models: Iterable[Model]) -> Table:
    """A line per model."""
    table = _table("model", "weights", "step", "precision at 1", "run", "aliases")
    for model in models:
        name = weights_name(model.weights, model.decay)
        table.add_row(
            model.model, name, f"{model.step:,}", figure(model.precision_at_1), model.run, _steps(model.aliases)
        )
    return table


def alias_of(alias: Alias) -> str:
    """What an alias points at, in one line."""
    parts = [f"{alias.alias}  step {alias.step:,}", f"precision at 1 {figure(alias.precision_at_1)}"]
    if alias.pinned:
        parts.append("pinned")
    if alias.canary is not None:
        parts.append(f"{alias.canary.share:.0%} of requests go to step {alias.canary.step:,}")
    return "  ".join([*parts, f"({alias.reason})"])


def _steps(aliases: Mapping[str, int]) -> str:
    return ", ".join(f"{alias} {step:,}" for alias, step in sorted(aliases.items()))


def rate(value: float | None) -> str:
    """A learning rate."""
    return UNKNOWN if value is None else f"{value:g}"


def _clock(moment: float) -> str:
    """A moment in local time; with its day, since logs go over midnight."""
    return time.strftime("%m-%d %H:%M:%S", time.localtime(moment))


def keys_table(keys: Iterable[KeyRecord]) -> Table:
    """API keys, one a line, without anything of their secrets."""
    table = _table("key", "scopes", "made")
    for key in keys:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(key.created))
        table.add_row(key.name, ", ".join(key.scopes), made)
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table
