"""TensorFlow is told about devices and kernels before any test here imports it, as the services do."""

import os

from shared.devices import prepare_tensorflow

prepare_tensorflow(os.environ, device="cpu")
