"""What the services of tandem share. It knows no service.

- The volume: `layout` (paths), `atomic` (all renaming), `records/` (JSON records), `checkpoints`, `retention`,
  `leases`, `locks`, `answers`, `eventfiles` and `summaries` (TensorBoard). `docs/volume.md` is the specification.
- Runs: `spec/` (every key of a recipe), `recipes`, `schedules` (learning rates), `steps`, `states`, `differences`.
- `data/`: data sets as NumPy arrays, without TensorFlow. `ml/`: networks, augmentation and weights, with TensorFlow.
- Every service: `settings`, `errors`, `logs`, `observe` (metrics), `lifecycle` (signals), `devices`, `keys`.
- `significance` (McNemar's test), `onnx_runtime`.
"""
