"""The dataset of a run, and the examples of its in-context prompt."""
