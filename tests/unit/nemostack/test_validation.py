"""Lines from validation errors: each names its path, none shows a value."""

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from nemostack.validation import validation_lines

SECRET = "nvapi-do-not-show"


class Inner(BaseModel):
    count: int = Field(ge=1)


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    inner: list[Inner] = []

    @field_validator("name")
    @classmethod
    def _no_spaces(cls, name: str) -> str:
        if " " in name:
            raise ValueError("NIM takes no spaces: use dashes")
        return name


def _lines(document: object, prefix: str = "") -> list[str]:
    with pytest.raises(ValidationError) as refused:
        Outer.model_validate(document)
    return validation_lines(refused.value, prefix)


def test_one_line_per_problem_with_its_path() -> None:
    assert _lines({"name": "a b", "inner": [{"count": 1}, {"count": 0}], "nmae": "x"}, "config") == [
        "config.name: NIM takes no spaces: use dashes",
        "config.inner.1.count: input should be greater than or equal to 1",
        "config.nmae: extra inputs are not permitted",
    ]
    assert _lines({}) == ["name: field required"]


def test_a_problem_of_the_whole_document() -> None:
    assert _lines([], "config") == ["config: input should be a valid dictionary or instance of Outer"]
    assert _lines([]) == ["input should be a valid dictionary or instance of Outer"]


def test_a_value_is_never_shown() -> None:
    for document in ({"name": SECRET, "inner": SECRET}, {"name": f"{SECRET} "}, {"name": "x", "extra": SECRET}, SECRET):
        assert SECRET not in "".join(_lines(document))


def test_json_that_is_none_has_a_line() -> None:
    with pytest.raises(ValidationError) as refused:
        Outer.model_validate_json("{" + SECRET)
    [line] = validation_lines(refused.value, "run.json")
    assert line.startswith("run.json: invalid JSON: ")
    assert SECRET not in line
