"""The evaluator: computes the test metrics of the raw and EMA weights of every checkpoint, by default on the CPU.

- The loop: `loop`, `watch` (notices commits), `ledger` and `policy` (what is due, in which order), `claims` (sharing
  work by leases), `retries`, `closing` and `export_retention` (what is removed).
- One evaluation: `assessor`; `judge` (TensorFlow), `figures` (metrics from logits), `recalibration` (batch
  normalisation), `drift`, `standings` (comparison with the best), `verdicts` (the records that are written),
  `tensorboard`.
- Export to ONNX: `export`, `graph`.
- The process: `presence`, `heartbeat`, `events`, `metrics`, `devices`, `settings`.
"""
