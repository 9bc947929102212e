"""ONNX Runtime, which is imported here alone, so that it is told in time to report nothing to anybody.

Its builds for Linux begin with an identity for the machine and a database of events below the user's home, and a thread
that sends them to their maker whenever it can reach it. `ORT_DISABLE_TELEMETRY` prevents all of it, but only if it
stands in the environment before the library is loaded; so this is the one module that has an effect at import.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

__all__ = ["onnxruntime"]
