"""Settings of the Evaluator."""

from pydantic import Field

from embedded.common.service import ServiceSettings


class Settings(ServiceSettings):
    """URLs carry no trailing slash and no API path."""

    data_store_url: str = Field(description="where `files_url`s point to, and where results are published")
    entity_store_url: str = Field(description="where references to datasets and models are looked up")
    nim_url: str = Field(description="serves the models that a target names without an endpoint")
    judge_url: str = Field(description="serves the judge of an `llm-judge` metric that names no model")
    judge_model: str = Field(description="model id of that judge")
    tokenizers: dict[str, str] = Field(
        default_factory=dict, description="model id -> tokenizer folder or Hub id, for likelihood benchmarks"
    )
    max_concurrent_jobs: int = Field(default=2, ge=1, description="more jobs wait in state `created`")
    publish_results: bool = Field(default=True, description="copy results to hf://datasets/evaluation-results/JOB")
    run_generated_code: bool = Field(
        default=False, description="let HumanEval run code that the model writes, shut in by bubblewrap"
    )
