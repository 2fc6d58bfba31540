"""Usable information and how representations of decisions evolve."""
