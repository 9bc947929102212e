"""The programs of tandem: trainer, evaluator, gateway and command line. They never import each other."""
