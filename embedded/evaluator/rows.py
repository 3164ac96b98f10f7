"""Rows of data: from the request itself, or from JSON, JSONL and CSV files of the Data Store.

Refuses rows that are no objects, files it cannot read, and datasets on other hubs. Nothing is executed or unpacked.
"""

import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import httpx

from embedded.common.files_url import FilesUrl, FilesUrlError
from embedded.common.names import Ref
from embedded.evaluator.errors import DataError
from embedded.evaluator.request_models import Dataset
from embedded.evaluator.settings import Settings
from nemostack.clients.tls import shared_context

Row = dict[str, Any]
_READABLE = {".jsonl", ".ndjson", ".json", ".csv"}
MAX_BYTES = 1 << 30


def _rows(values: Any, name: str) -> list[Row]:
    if not isinstance(values, list):
        raise DataError(f"{name}: expected an array of objects, found {type(values).__name__}")
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict):
            raise DataError(f"{name}: row {number} is {type(value).__name__}, expected an object")
    return values


def _json_lines(text: str, name: str) -> list[Row]:
    values = []
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines(): U+2028 may stand inside JSON text
        if line.strip():
            try:
                values.append(json.loads(line))
            except ValueError as error:
                raise DataError(f"{name}: line {number} is no JSON: {error}") from error
    return _rows(values, name)


def read_file(path: Path, name: str | None = None) -> list[Row]:
    """Rows of one file. JSON may be an array or, whatever the suffix says, one object a line."""
    name = name or path.name
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{name}: larger than {MAX_BYTES >> 20} MiB")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: not UTF-8: {error}") from error
    if path.suffix == ".csv":
        reader = csv.DictReader(text.splitlines(keepends=True))
        rows = []
        for row in reader:
            if None in row or None in row.values():
                raise DataError(
                    f"{name}: line {reader.line_num} has not {len(reader.fieldnames or [])} columns as the header has"
                )
            rows.append(dict(row))
        return rows
    if text.lstrip().startswith("["):
        try:
            return _rows(json.loads(text), name)
        except ValueError as error:
            raise DataError(f"{name}: no JSON: {error}") from error
    return _json_lines(text, name)


def _files(location: Path) -> list[Path]:
    if location.is_file():
        return [location]
    files = (path for path in location.rglob("*") if path.suffix in _READABLE and ".cache" not in path.parts)
    return sorted(path for path in files if path.is_file() and path.resolve().is_relative_to(location.resolve()))


class RowSource:
    """Fetches datasets by `files_url` or by a reference that the Entity Store resolves."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def dataset(self, dataset: str | Dataset) -> Dataset:
        """`dataset` with its `files_url`; a text is a reference `namespace/name`, or itself a files_url."""
        if isinstance(dataset, Dataset):
            return dataset
        if ":" in dataset:
            return Dataset(files_url=dataset)
        try:
            ref = Ref.parse(dataset)
        except ValueError as error:
            raise DataError(f"dataset {error}") from error
        url = f"{self._settings.entity_store_url}/v1/datasets/{ref}"
        try:
            answer = httpx.get(url, timeout=30, verify=shared_context(httpx))
            if answer.status_code == 404:
                raise DataError(f"dataset {ref} is not in the Entity Store: register it there, or give its files_url")
            return Dataset.model_validate(answer.raise_for_status().json())
        except (httpx.HTTPError, ValueError) as error:
            raise DataError(f"dataset {ref}: asking {url} failed: {error}") from error

    def download(self, dataset: Dataset, to: Path) -> list[Path]:
        """Files of a dataset, fetched into `to`."""
        if dataset.hf_endpoint and dataset.hf_endpoint.removesuffix("/v1/hf") != self._settings.data_store_url:
            raise DataError(f"dataset on {dataset.hf_endpoint}: only the Data Store is read; upload the files there")
        try:
            location = FilesUrl.parse(dataset.files_url).download(self._settings.data_store_url, to)
        except FilesUrlError as error:
            raise DataError(str(error)) from error
        files = _files(location)
        if not files:
            raise DataError(f"{dataset.files_url}: no {', '.join(sorted(_READABLE))} file there")
        return files

    def read(self, dataset: str | Dataset, limit: int | None = None) -> list[Row]:
        """All rows of a dataset, at most `limit` and at most the dataset's own limit."""
        source = self.dataset(dataset)
        with tempfile.TemporaryDirectory(prefix="nemostack-rows-") as folder:
            rows = [row for path in self.download(source, Path(folder)) for row in read_file(path)]
        limits = [n for n in (limit, source.limit) if n is not None]
        return rows[: min(limits)] if limits else rows
