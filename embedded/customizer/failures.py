"""Why a job fails: errors whose text is for the person who started it.

JobError          cannot be carried out as asked: data, hyperparameters, base model
└── StoreError    a service that the job depends on does not answer or refuses, after retries
"""


class JobError(Exception):
    """`message` says what is wrong; `explanation` what to do about it."""

    def __init__(self, message: str, explanation: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.explanation = explanation


class StoreError(JobError):
    """The Data Store or the Entity Store."""
