"""Customization jobs: a LoRA job from its creation to the model that the Entity Store knows.

Fixtures: `client` on the service, `config`, the name of a configuration of it, `dataset`, the name of a dataset, and
`sdk` on the Entity Store that the service tells of its models; `unique`, a name that no other test uses.
"""

import time
from typing import Any

import pytest
from nemo_microservices import ConflictError, NeMoMicroservices, NotFoundError

from tests.deadlines import Deadline

ENDED = {"completed", "failed", "cancelled"}
ENDED_S = 300


class CustomizationContract:
    """What clients may rely on."""

    def test_a_lora_job_from_its_creation_to_its_model(
        self, client: Any, sdk: NeMoMicroservices, config: str, dataset: str, unique: str
    ) -> None:
        marks = {"run": "r-1", "stage": "lora"}
        created = client.customization.jobs.create(
            config=config,
            dataset=dataset,
            output_model=f"default/{unique}",
            custom_fields=marks,
            hyperparameters={
                "training_type": "sft",
                "finetuning_type": "lora",
                "seed": 7,
                "epochs": 1,
                "log_every_n_steps": 1,
                "lora": {"adapter_dim": 4},
            },
        )
        assert created.status == "created"
        assert created.id.startswith("cust-")
        assert created.output_model == f"default/{unique}@{created.id}"
        assert created.custom_fields == marks
        # what was asked for, and what the service chose
        asked = created.hyperparameters
        assert (asked.epochs, asked.lora.adapter_dim, asked.lora.alpha) == (1, 4, 16)
        assert asked.batch_size > 0
        assert asked.learning_rate > 0
        before = sdk.models.retrieve(f"{unique}@{created.id}", namespace="default")
        assert before.artifact is not None
        assert before.artifact.status == "created"

        deadline = Deadline(ENDED_S)
        while (job := client.customization.jobs.retrieve(created.id)).status not in ENDED:
            assert job.status in {"created", "pending", "running"}
            assert not deadline.passed, f"{created.id} is still {job.status}"
            time.sleep(0.05)
        assert job.status == "completed", job.status_details
        details = job.status_details
        assert details.steps_completed > 0
        assert isinstance(details.status_logs, list)
        assert set(details.metrics.keys) >= {"train_loss"}
        points = details.metrics.metrics.train_loss
        assert points
        assert [point.step for point in points] == list(range(len(points)))
        assert details.metrics.metrics.val_loss
        for point in [*points, *details.metrics.metrics.val_loss]:
            assert point.value > 0
            assert point.timestamp

        model = sdk.models.retrieve(f"{unique}@{created.id}", namespace="default")
        assert model.artifact is not None
        assert model.artifact.status == "upload_completed"
        assert model.artifact.files_url == f"hf://models/default/{unique}@{created.id}"

        listed = client.customization.jobs.list(sort="-created_at", page_size=100)
        assert next(iter(listed)).id == created.id, "the newest first"
        with pytest.raises(ConflictError, match="completed already") as caught:
            client.customization.jobs.cancel(created.id)
        assert caught.value.response.headers["x-should-retry"] == "false"

    def test_the_configuration_is_listed(self, client: Any, config: str) -> None:
        listed = [f"{found.namespace}/{found.name}" for found in client.customization.configs.list(page_size=100)]
        assert config in listed

    def test_an_unknown_job_is_404_naming_it(self, client: Any) -> None:
        for call in ("retrieve", "cancel"):
            with pytest.raises(NotFoundError, match="cust-unknown"):
                getattr(client.customization.jobs, call)("cust-unknown")
