"""Stages, the directory of a run, and resuming after an interruption."""
