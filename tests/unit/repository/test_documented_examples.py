"""Examples of a page are run as a reader would: in order, in one session, and a failure does not end it."""

import sys
from pathlib import Path

import pytest

from tests import documented_examples
from tests.documented_examples import read_blocks, run_page

PAGE = """
# A page

```bash
export GREETING="good day"
```

- A list with an example:

   ```python
   import os
   greeting = os.environ.get("GREETING")
   ```

```json
{"not": "run"}
```

```python
raise SystemExit("no key")
```

```python title="Later"
assert greeting is None, "Python's session began before the shell's export"
value = 3
```

```python
assert value == 4, "names stay"
```

```console
test "$GREETING" = "good day" && echo problem >&2 && false
```
"""


def test_blocks_of_python_and_shell_are_read() -> None:
    assert [language for language, _ in read_blocks(PAGE)] == ["bash", "python", "python", "python", "python", "bash"]
    assert next(text for language, text in read_blocks(PAGE) if language == "python").startswith("import os\n")


def test_a_page_is_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documented_examples, "BIN", Path(sys.executable).parent)
    errors = [block["error"] for block in run_page(list(read_blocks(PAGE)), {})]
    assert errors == ["", "", "SystemExit: no key", "", "AssertionError: names stay", "problem"]
