"""Tests of the files around the program: the changelog, the package, the documentation site and what a forge reads."""
