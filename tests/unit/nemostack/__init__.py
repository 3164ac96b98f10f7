"""Unit tests of nemostack/."""
