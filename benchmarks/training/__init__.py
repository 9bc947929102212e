"""How fast the whole trainer trains, against Keras `fit` of the same network and pipeline."""
