"""Data sets as arrays on the host, without TensorFlow: reading, checking, downloading, describing."""
