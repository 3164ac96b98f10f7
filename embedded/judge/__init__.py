"""Judge for use without an LLM: rates an answer by its semantic similarity to a ground truth. It is no LLM.

It speaks the OpenAI protocol, so that an `llm-judge` metric runs offline through the same path as with a real judge,
and it says what it is: in its model id `nemostack/similarity-judge`, in each reply, and here. A rating is the cosine of
two all-MiniLM-L6-v2 embeddings mapped to 1..5; it knows nothing of facts, style or instructions, and a negated
sentence may well be rated 5. Do not use its ratings to compare models in earnest; configure a real judge for that.
"""

from pydantic import Field

from embedded.common.service import ServiceSettings

__all__ = ["Settings", "run"]


class Settings(ServiceSettings):
    """What the judge is told."""

    model_id: str = Field(default="nemostack/similarity-judge", description="under which id it answers")


def run(settings: Settings) -> None:
    from embedded.common.service import serve
    from embedded.judge.app import create_app

    serve(create_app(settings), settings)
