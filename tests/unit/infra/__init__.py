"""Tests of `infra/` that start nothing."""
