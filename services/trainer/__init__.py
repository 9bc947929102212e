"""The trainer: trains the run that its slot was assigned and commits checkpoints to the volume.

- The process: `command` (arguments, exit status), `session` (one run from takeover to release), `loop` (steps, and
  what is due between them), `control` (pause, stop, signals), `fencing`, `status`, `journal`, `progress`, `metrics`,
  `settings`.
- One step, the part that imports TensorFlow: `engine` is its interface; `step`, `losses`, `optimizer`, `ema`,
  `loss_scaling`, `replicas` (several devices), `inspection` (TensorBoard's histograms), `devices`.
- Input: `sample_order`, `batches` (prefetching). Augmentation is in `shared.ml.preprocess`.
- Checkpoints: `saver`, `committer`; `beginning`, `resume`, `forking`, `divergence` (where training starts, or goes
  back to).
"""
