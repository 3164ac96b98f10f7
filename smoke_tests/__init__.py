"""Tests of any running stack, which they know only by its outputs: `pytest smoke_tests --stack local -n 4`."""
