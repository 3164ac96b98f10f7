"""What the tools say when they cannot go on: one message, no traceback."""


class ToolError(Exception):
    """What was tried, what came back, what to do next."""
