"""Generated passwords: random, long, the same until replaced, and secret wherever the engine sees them."""

from typing import Any

import pulumi
import pytest

from infra.platform.passwords import GeneratedPassword, PasswordProvider
from tests.unit.infra.cluster_support import run

provider = PasswordProvider()


def password(length):
    made = provider.create({"length": length})
    assert made.outs is not None
    return made.id, made.outs["value"]


def test_random_letters_and_digits():
    made = {password(32)[1] for _ in range(50)}
    assert len(made) == 50
    assert all(len(value) == 32 and value.isascii() and value.isalnum() for value in made)


def test_stable_over_updates():
    assert provider.diff("id", {"length": 32, "value": "x"}, {"length": 32, "value": None}).changes is False


def test_another_length_is_another_password():
    changed = provider.diff("id", {"length": 32, "value": "x"}, {"length": 40, "value": None})
    assert (changed.changes, changed.replaces) == (True, ["length"])


def test_its_id_tells_nothing():
    identifier, value = password(32)
    assert value not in identifier


@pytest.mark.parametrize("parented", [False, True])
def test_secret_in_the_program_and_in_the_state(parented):
    def make():
        parent = pulumi.ComponentResource("test:x:Parent", "parent") if parented else None
        made = GeneratedPassword("secret", opts=pulumi.ResourceOptions(parent=parent) if parent else None)
        flag: Any = made.value.is_secret()
        return pulumi.Output.from_input(flag).apply(seen.append)

    seen: list[bool] = []
    found = run(make)
    (made,) = [resource for resource in found.values() if "GeneratedPassword" in resource.type]
    assert list(made.options.additionalSecretOutputs) == ["value"]
    assert seen == [True]
    assert made.parent == ("parent" if parented else "")
