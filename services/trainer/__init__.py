"""The trainer: trains the run that its slot was assigned and commits checkpoints to the volume."""
