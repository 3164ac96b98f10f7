"""Tests of how the smoke tests find, skip, show and clean up."""
