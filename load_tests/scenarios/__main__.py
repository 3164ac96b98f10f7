"""docs/load-scenario.schema.json: `python -m load_tests.scenarios > docs/load-scenario.schema.json`."""

import json

from load_tests.scenarios import schema

if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
