"""Tuned models and prompts on the NeMo Platform: adapters of a base model's entity, and stored prompts."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nemostack.clients.platform import Platform

_QUESTION = {"role": "user", "content": "{{ prompt }}"}


class PlatformModels:
    """Adapters and prompts by `workspace/name`."""

    def __init__(self, platform: "Platform") -> None:
        self._platform = platform

    def _at(self, model: str) -> "tuple[Platform, str]":
        workspace, _, name = model.partition("/")
        return self._platform.within(workspace), name

    def has_model(self, model: str) -> bool:
        """Whether the adapter is there with its files."""
        platform, name = self._at(model)
        adapter = platform.adapter(name)
        if adapter is None:
            return False
        workspace, _, fileset = adapter["fileset"].rpartition("/")
        return platform.within(workspace or platform.workspace).fileset(fileset) is not None

    def delete_model(self, model: str) -> bool:
        """Delete the adapter with its files; False when there was none."""
        platform, name = self._at(model)
        adapter = platform.adapter(name)
        if adapter is None:
            return False
        workspace, _, fileset = adapter["fileset"].rpartition("/")
        platform.withdraw_adapter(name)
        platform.within(workspace or platform.workspace).delete_fileset(fileset)
        return True

    def delete_repository(self, output_model: str) -> bool:
        """Nothing to do: each adapter has a fileset of its own, which goes with it."""
        del output_model
        return False

    def register_prompt(self, model: str, *, base_model: str, examples: str, fields: Mapping[str, object]) -> None:
        """Store the turns of the examples with a place for the question; without shared examples that place alone."""
        platform, name = self._at(model)
        platform.ensure_workspace()
        shown = [turn for turns in json.loads(examples or "[]") for turn in turns]
        messages = [{"role": turn["role"], "content": turn["content"]} for turn in shown]
        about = f"In-context prompt for {base_model}, chosen by nemostack: {json.dumps(dict(fields))}"
        platform.save_prompt(name, [*messages, _QUESTION], about)

    def has_prompt(self, model: str) -> bool:
        """Whether the prompt is stored."""
        platform, name = self._at(model)
        return platform.prompt(name) is not None

    def delete_prompt(self, model: str) -> bool:
        """Delete the prompt; False when there was none."""
        platform, name = self._at(model)
        there = platform.prompt(name) is not None
        platform.delete_prompt(name)
        return there
