"""Runs one embedded service: `python -m embedded.serve SERVICE CONFIG.json`.

The config file holds the service's settings (its `Settings`); a file, because command lines are public.
Exit codes: 0 stopped by a signal, 1 failed, 2 the config is missing or wrong (one line a mistake on stderr),
3 could not start to serve (its log says why: the port is taken, for one).
"""

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nemostack import log_lines
from nemostack.validation import validation_lines

SERVICES = ("gateway", "data_store", "entity_store", "customizer", "evaluator", "judge", "nim")


class ConfigError(Exception):
    """The config cannot be used; one mistake a line, and never the value, which may be a secret."""


def _read(path: Path, settings: Any) -> Any:
    try:
        return settings.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise ConfigError("\n".join(f"config {path}: {line}" for line in validation_lines(error))) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"config {path} cannot be read as JSON: {error}") from error


def main(argv: list[str] | None = None) -> int:
    """Serve until stopped. Returns the exit code; 2 when the config is missing or wrong."""
    parser = argparse.ArgumentParser(prog="python -m embedded.serve", description=__doc__)
    parser.add_argument("service", choices=SERVICES)
    parser.add_argument("config", type=Path)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    args = parser.parse_args(argv)
    folder = args.config.resolve().parent  # of a stack: STACK/config
    log_lines.install(
        stdout=True, service=args.service, **({"stack": folder.parent.name} if folder.name == "config" else {})
    )
    try:
        service = importlib.import_module(f"embedded.{args.service}")
        service.run(_read(args.config, service.Settings))
    except Exception as error:
        if args.debug:
            raise
        known = isinstance(error, ConfigError)
        for line in str(error if known else f"{type(error).__name__}: {error} (--debug shows where)").splitlines():
            text = f"{args.service}: {line}"
            print(log_lines.line(text, "error") if log_lines.wants_json() else text, file=sys.stderr)
        return 2 if known else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
