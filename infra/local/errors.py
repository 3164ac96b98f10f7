"""What goes wrong with local services: one message that says what was tried, what came back, what to do."""


class LocalServiceError(Exception):
    """Shown to the user as it is."""
