"""The evaluator: judges the raw and averaged weights of every checkpoint, on the CPU."""
