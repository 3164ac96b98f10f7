"""Checks of a cluster that a stack runs on: symptom, evidence, fix."""
