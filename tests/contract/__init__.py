"""Contract tests: the embedded services through the official clients. Run in .venv-embedded, `-n0`."""
