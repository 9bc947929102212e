"""The shared code that imports TensorFlow.

- `preprocess`: augmentation for training, crop and standardisation for evaluation and export.
- `models/`: the networks that a recipe can name, and `build_model`.
- `weights`: a network's weights by name, to and from arrays.
"""
