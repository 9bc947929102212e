"""Data sets as arrays on the host, without TensorFlow. `catalog.open_dataset` opens all of them.

- The kinds: `cifar`, `folder`, `npz`, `idx` (with `arrays`), `shapes`; `examples` is the interface that they have in
  common.
- `holdout` (validation split), `statistics`, `description`; `cache`, `digests`, `checksums` (decoded files,
  fingerprints).
- `download` and `archive` fetch CIFAR-10.
"""
