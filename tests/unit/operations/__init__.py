"""Unit tests of operations/."""
