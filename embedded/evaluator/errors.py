"""How an evaluation ends early.

EvaluationError     the job fails; the text says what was tried, what came back and what to do
├── ItemError       this one item cannot be answered (the model refuses it): the item counts as NaN
└── DataError       rows, columns or templates do not fit together
Stopped             cancelled by the user, or the service goes down; neither result nor failure
"""


class EvaluationError(Exception):
    """The job fails with this text."""


class ItemError(EvaluationError):
    """One item fails with this text; the others go on."""


class DataError(EvaluationError):
    """The data do not fit the configuration."""


class Stopped(Exception):  # noqa: N818 - an end, not an error
    """Work was given up on request."""
