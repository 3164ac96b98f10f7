"""Tests of the base model's data, training code and weights, and of the sample dataset."""
