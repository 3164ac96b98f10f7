"""The in-context prompt that a run chose, and what was tried for it on the validation split."""

from nemostack.models import Model
from workflows.data.rows import Message, Row
from workflows.results.statistics import Estimate


class Tried(Model):
    """A number of examples on the validation split; `score` is of the primary metric."""

    shots: int
    job_id: str
    score: Estimate


class Prompted(Model):
    """Outputs of the stage `prompt`, and prompt.json.

    `by`: what told how alike texts are. `cut`: questions that got fewer examples, for the context has no room for more.
    `shared`: the examples, where all questions see the same; else `items_url` has them with each item.
    """

    method: str
    by: str
    shots: int
    cut: int
    tried: list[Tried]
    shared: list[list[Message]] | None
    items_url: str | None
    model: str

    @property
    def examples(self) -> list[Row]:
        """The examples that all questions see."""
        rows = []
        for turns in self.shared or ():
            *question, answer = turns
            rows.append(Row(question[-1]["content"], answer["content"]))
        return rows
