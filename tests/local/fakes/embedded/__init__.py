"""Stands for `embedded/` in the clone that tests/local makes."""
