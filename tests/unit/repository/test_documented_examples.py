"""Examples of a page are run as a reader would: in order, in one session, by one tab, and a failure does not end it."""

import sys
from pathlib import Path

import psutil
import pytest

from tests.documented_examples import __main__ as documented_examples
from tests.documented_examples.__main__ import run_page
from tests.documented_examples.pages import read_blocks, read_in, read_page, ways
from tests.documented_examples.presumed import Presumed

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
TABS = """
<Tabs>
<Tab title="CLI">

```bash
mkdir made
```

</Tab>
<Tab title="Python SDK">

```python
import os
os.mkdir("made")
```

</Tab>
</Tabs>

```bash
test -d made && rmdir made
```

<Tabs>
<Tab title="Python SDK">

```python
assert not os.path.exists("made")
```

</Tab>
</Tabs>
"""


@pytest.fixture(autouse=True)
def this_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documented_examples, "BIN", Path(sys.executable).parent)


def errors_of(page: str, presumed: Presumed | None = None) -> list[str]:
    return [block["error"] for block in run_page(list(read_blocks(page)), {}, presumed or Presumed())]


def test_blocks_of_python_and_shell_are_read() -> None:
    blocks = list(read_blocks(PAGE))
    assert [block.language for block in blocks] == ["bash", "python", "python", "python", "python", "bash"]
    assert blocks[1].text.startswith("import os\n")


def test_a_page_is_one_session() -> None:
    assert errors_of(PAGE) == ["", "", "SystemExit: no key", "", "AssertionError: names stay", "problem"]


def test_a_reader_keeps_to_one_tab_and_takes_the_first_where_it_is_missing() -> None:
    blocks = list(read_blocks(TABS))
    assert ways(blocks) == ["CLI", "Python SDK"]
    assert [read_in(blocks, way) for way in ways(blocks)] == [[0, 2, 3], [1, 2, 3]]


def test_each_tab_is_read_from_the_start() -> None:
    """In one session the second `mkdir` would fail, and after it the last block of the first reading does."""
    assert errors_of(TABS) == ["", "", "", ""]


def test_a_block_that_works_in_no_reading_says_what_it_said_in_its_own() -> None:
    page = TABS.replace('assert not os.path.exists("made")', 'raise ValueError(f"in {os.getcwd() and 1}")')
    assert errors_of(page)[-1] == "ValueError: in 1"


def test_what_a_page_presumes_is_there_and_its_text_is_rewritten() -> None:
    page = """
```bash
test -e given && test "$KEY" = any
```

```python
assert name_of_job == 7
```
"""
    presumed = Presumed(
        preparations=(("bash", "touch given"),),
        variables={"KEY": "any"},
        before={"job-1": (("python", "name = 7"),)},
        replaced={"name_of_job": "name"},
    )
    assert errors_of(page, presumed)[0] == ""
    assert errors_of(page, presumed)[1].startswith("NameError")
    assert errors_of(page.replace("== 7", "== 7  # job-1"), presumed) == ["", ""]


def test_a_block_that_never_ends_takes_what_it_started_along(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tests.documented_examples.session.BLOCK_S", 1)
    (error,) = errors_of(f"```bash\nsleep 60 & echo $! > {tmp_path}/pid; wait\n```\n")
    assert error == "did not end within 1 s"
    started = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(started) or psutil.Process(started).status() == psutil.STATUS_ZOMBIE


def test_snippets_are_put_in(tmp_path: Path) -> None:
    (tmp_path / "fern" / "snippets").mkdir(parents=True)
    (tmp_path / "fern" / "snippets" / "setup.mdx").write_text("```bash\ntrue\n```\n")
    (tmp_path / "page.mdx").write_text('<Markdown src="/snippets/setup.mdx" />\n')
    assert [block.text for block in read_blocks(read_page(tmp_path, "page"))] == ["true\n"]
