"""Watching a served model: whether it is still asked what it was trained for, and answers as well as it did."""
