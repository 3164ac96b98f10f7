"""The examples of the platform's own documentation, run against a stack of that line: which of them work."""
