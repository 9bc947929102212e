"""The gateway: starts and stops runs, exposes metrics, and answers predictions. It never imports TensorFlow."""
