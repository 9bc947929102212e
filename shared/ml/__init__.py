"""The shared code that imports TensorFlow: input pipeline, models, schedules and averages."""
