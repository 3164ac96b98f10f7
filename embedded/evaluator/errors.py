"""Errors that end an evaluation early.

EvaluationError     the job fails; the text says what was tried, what came back and what to do
├── ItemError       this one item cannot be answered (the model refuses it): the item counts as NaN
├── NoAnswerError   a model did not answer in time, or with an error of its own, also after all retries
└── DataError       rows, columns or templates do not fit together

An evaluation that is cancelled, or whose service goes down, raises `common.job_queue.Stopped`, which is no failure.
"""


class EvaluationError(Exception):
    """The job fails with this text."""


class ItemError(EvaluationError):
    """One item fails with this text; the others go on."""


class NoAnswerError(EvaluationError):
    """A model gave no answer. A task whose target it is fails; a judge may miss some items."""


class DataError(EvaluationError):
    """The data do not fit the configuration."""
