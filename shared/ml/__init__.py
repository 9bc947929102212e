"""The shared code that imports TensorFlow: preprocessing, networks and their weights."""
