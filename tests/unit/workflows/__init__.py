"""The pipeline against a fake stack, and its parts."""
