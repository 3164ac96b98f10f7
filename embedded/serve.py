"""Runs one embedded service: `python -m embedded.serve SERVICE CONFIG.json`.

The config file holds the service's settings (see its `settings.py`); a file, because command lines are public.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path

from pydantic import ValidationError

SERVICES = ("gateway", "data_store", "entity_store", "customizer", "evaluator", "judge", "nim")


def main(argv: list[str] | None = None) -> int:
    """Serve until stopped. Exit code 2 when the config is missing or wrong."""
    parser = argparse.ArgumentParser(prog="python -m embedded.serve", description=__doc__)
    parser.add_argument("service", choices=SERVICES)
    parser.add_argument("config", type=Path)
    args = parser.parse_args(argv)
    service = importlib.import_module(f"embedded.{args.service}")
    try:
        settings = service.Settings.model_validate(json.loads(args.config.read_text()))
    except (OSError, ValueError, ValidationError) as error:
        print(f"{args.service}: cannot use config {args.config}: {error}", file=sys.stderr)
        return 2
    service.run(settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
