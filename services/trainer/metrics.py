"""What the trainer measures, under the names that dashboards and alerts use. Counters begin anew with each process."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class TrainerMetrics:
    """The metrics of one run's trainer.

    Args:
        registry: Where they are declared.
        run: The run's id, their label.
    """

    def __init__(self, *, registry: CollectorRegistry, run: str) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, ["run"], registry=registry).labels(run)

        def counter(name: str, text: str) -> Counter:
            return Counter(name, text, ["run"], registry=registry).labels(run)

        def histogram(name: str, text: str) -> Histogram:
            return Histogram(name, text, ["run"], registry=registry, buckets=_SECONDS).labels(run)

        self.step = gauge("tandem_training_step", "Steps made.")
        self.steps = gauge("tandem_training_steps", "Steps that the run is to make.")
        self.loss = gauge("tandem_training_loss", "Total loss of the newest logged step.")
        self.average_loss = gauge("tandem_training_average_loss", "0.9 moving average of the total loss.")
        self.learning_rate = gauge("tandem_training_learning_rate", "Learning rate of the newest logged step.")
        self.examples = counter("tandem_training_examples", "Examples learnt from.")
        self.rate = gauge("tandem_training_examples_per_second", "Over the newest log interval.")
        self.checkpoint_step = gauge("tandem_checkpoint_step", "Step of the newest committed checkpoint.")
        self.checkpoint_interval = gauge("tandem_checkpoint_interval_steps", "Steps from one checkpoint to the next.")
        self.checkpoint_bytes = gauge("tandem_checkpoint_bytes", "Size of the newest committed checkpoint.")
        self.write_seconds = histogram("tandem_checkpoint_write_seconds", "To write and sync one, in the background.")
        self.stall_seconds = histogram("tandem_checkpoint_stall_seconds", "That the training stood still for one.")
        self.commits = counter("tandem_checkpoint_commits", "Checkpoints committed.")
        self.failures = counter("tandem_checkpoint_failures", "Checkpoints that could not be committed.")
        self.skips = counter("tandem_checkpoint_skips", "Checkpoints left out while an earlier one was being written.")
        self.prune_failures = counter("tandem_checkpoint_prune_failures", "Checkpoints that could not be removed.")
        self.quarantined = counter("tandem_checkpoint_quarantined", "Damaged checkpoints moved out of the way.")
        self.lost_summaries = counter(
            "tandem_training_lost_summaries", "Summaries for TensorBoard that could not be written."
        )
        self.lost_lines = counter("tandem_training_lost_records", "Events, series points, heartbeats not written.")
