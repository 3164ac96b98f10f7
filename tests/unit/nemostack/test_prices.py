"""The price table: whole, of known days, and of one row for each name."""

import json
from datetime import date
from pathlib import Path

import pytest

from nemostack.errors import BadInput
from nemostack.prices import Price, pick, read_prices


def test_rows_have_a_day_and_a_source_and_names_of_their_own() -> None:
    prices = read_prices()
    for row in prices:
        assert row.as_of >= date(2026, 1, 1)
        assert row.source.startswith("https://")
        assert row.usd_per_gpu_hour > 0
    assert len({row.name for row in prices}) == len(prices)


def test_a_machine_goes_by_its_name_or_by_a_gpu_that_only_it_has() -> None:
    prices = read_prices()
    assert pick(prices, "a10g").name == "aws/a10g-24gb"
    assert pick(prices, "aws/h100-80gb").usd_per_gpu_hour == pytest.approx(6.88)
    with pytest.raises(BadInput, match="more than one price for 'H100'"):
        pick(prices, "H100")
    with pytest.raises(BadInput, match="no price for 'TPU'"):
        pick(prices, "TPU")


def test_a_range_counts_by_its_higher_end_and_says_so() -> None:
    row = Price(name="box", gpu="H200", gpus=8, usd_per_hour=(32, 48), source="a list", as_of=date(2026, 11, 1))
    assert row.usd_per_gpu_hour == 6
    assert row.in_words == "6 USD a GPU hour, the higher end of 4 to 6: box, 2026-11-01"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"name": "x", "gpus": 0}, r"prices\.0\.usd_per_hour: field required"),
        (
            {"name": "x", "usd_per_hour": [3, 2], "gpu": "T4", "gpus": 1, "source": "s", "as_of": "2026-01-01"},
            "from 3 to 2",
        ),
    ],
)
def test_a_table_is_checked(tmp_path: Path, row: dict[str, object], says: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps({"version": 1, "prices": [row]}))
    with pytest.raises(BadInput, match=says):
        read_prices(path)
