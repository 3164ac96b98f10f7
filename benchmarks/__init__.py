"""Ratios and limits, each measured within one run; not tests."""
