"""The programs of tandem. They never import each other; what they share is in `shared`.

- `trainer`: trains one run at a time, writes checkpoints; TensorFlow on GPU or CPU.
- `evaluator`: computes the test metrics of every checkpoint and exports models to ONNX; TensorFlow on the CPU.
- `gateway`: REST API, web page, run control, predictions by ONNX Runtime; no TensorFlow.
- `cli`: the `tandem` command and the Python client of the REST API.
"""
