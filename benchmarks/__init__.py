"""What is measured and how: one command each, `python -m benchmarks.<name>`. No test asserts a time."""
