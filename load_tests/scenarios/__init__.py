"""Scenarios: load tests with a name, as YAML files. Those of this folder come with the program; a user's are files.

```yaml
version: 1
description: What it shows, in a sentence.
needs_adapters: 2          # fewer are refused before the run, with how to get them
repeat: 3                  # runs of the same thing, for `load compare`
options: {users: 8, duration: 60s, interleave: true}     # those of `nemostack load`, without the dashes
slo:                       # objectives, as in an SLO file
  version: 1
  objectives: [{metric: error_rate, max: 0.01}]
```

What the command line says counts more than the scenario. Refuses options that `nemostack load` does not have, and those
that name a target or a place: a scenario is for any of them.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from load_tests import options as load_options
from load_tests import search
from load_tests.verdict.slo import Slo
from nemostack.errors import BadInput
from nemostack.validation import validation_lines

FOLDER: Final = Path(__file__).parent
LOCUST_OPTIONS: Final = {"users": int, "processes": int}
_OF_THE_USER: Final = {"stack", "outputs", "nim-url", "out", "slo"}


class _Recorder:
    """Takes the place of a parser, to learn which options there are."""

    def __init__(self) -> None:
        self.settings: dict[str, dict[str, Any]] = {}

    def add_argument_group(self, *_: str) -> Self:
        return self

    def add_argument(self, name: str, **settings: Any) -> None:
        self.settings[name.removeprefix("--")] = settings


def recorded(add_options: Callable[[Any], None]) -> dict[str, dict[str, Any]]:
    """Return the options that a function adds, with how a parser takes them."""
    recorder = _Recorder()
    add_options(recorder)
    return recorder.settings


def known_options() -> dict[str, dict[str, Any]]:
    """Return the options that a scenario may set: those of a run, of a search, and some of Locust's."""
    of_locust = {name: {"type": kind} for name, kind in LOCUST_OPTIONS.items()}
    every = {**recorded(load_options.add_options), **recorded(search.add_options), **of_locust}
    return {name: how for name, how in every.items() if name not in _OF_THE_USER}


class Scenario(BaseModel):
    """A scenario file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1]
    description: str = Field(min_length=1)
    needs_adapters: int = Field(default=0, ge=0, description="Adapters that the server must have")
    needs: list[str] = Field(default_factory=list, description="Options that the user has to give")
    repeat: int = Field(default=1, ge=1, description="Runs of the same thing")
    options: dict[str, str | int | float | bool] = Field(description="Options of `nemostack load`, without dashes")
    slo: Slo | None = None

    @model_validator(mode="after")
    def _options_exist(self) -> Self:
        known = known_options()
        for name, value in self.options.items():
            if name not in known:
                raise ValueError(f"options.{name}: no option of `nemostack load` that a scenario can set")
            _check(name, value, known[name])
        return self

    def arguments(self) -> list[str]:
        """Return the options as a command line would have them."""
        found = []
        for name, value in self.options.items():
            if value is True:
                found.append(f"--{name}")
            elif value is not False:
                found += [f"--{name}", str(value)]
        return found


def _check(name: str, value: str | float | bool, how: dict[str, Any]) -> None:
    flag = how.get("action") == "store_true"
    if flag != isinstance(value, bool):
        raise ValueError(f"options.{name}: {'true or false' if flag else 'a value'} is wanted, not {value!r}")
    if (choices := how.get("choices")) and value not in choices:
        raise ValueError(f"options.{name}: {value!r} is none of {', '.join(choices)}")
    if how.get("type") in {int, float}:
        try:
            how["type"](str(value))
        except ValueError:
            raise ValueError(f"options.{name}: {value!r} is no {how['type'].__name__}") from None


def names() -> list[str]:
    """Return the scenarios that come with the program."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find(name: str) -> Path:
    """Return the file of a scenario, by its name or its path. Raises BadInput."""
    if name in names():
        return FOLDER / f"{name}.yaml"
    path = Path(name)
    if not path.is_file():
        raise BadInput(f"no scenario {name!r}, and no file of that name; there are {', '.join(names())}")
    return path


def read(path: Path) -> Scenario:
    """Read and check a scenario. Raises BadInput with one line an error."""
    try:
        return Scenario.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise BadInput("\n  ".join([f"{path} is not a valid scenario:", *validation_lines(error)])) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"cannot read scenario {path}: {' '.join(str(error).split())}") from error


def schema() -> dict[str, Any]:
    """Return the JSON schema of scenario files, with the options by name."""
    found = Scenario.model_json_schema()
    found["title"] = "Load-test scenario"
    found["properties"]["options"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": dict(_properties()),
    }
    return found


def _properties() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, how in sorted(known_options().items()):
        described = (
            {"description": how["help"].replace("%%", "%")} if how.get("help") not in {None, argparse.SUPPRESS} else {}
        )
        if how.get("action") == "store_true":
            yield name, {"type": "boolean", **described}
        elif how.get("choices"):
            yield name, {"enum": list(how["choices"]), **described}
        elif how.get("type") in {int, float}:
            yield name, {"type": "integer" if how["type"] is int else "number", **described}
        else:
            yield name, {"type": ["string", "number"], **described}
