"""The commands of `tandem`, one module for each thing they are about."""
