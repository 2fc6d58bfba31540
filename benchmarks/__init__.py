"""Speed, side by side with JAX: ``python -m benchmarks``."""
