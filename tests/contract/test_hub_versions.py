"""Versions of huggingface_hub in use, installed side by side, against the Data Store.

Slow: it downloads seven versions with their dependencies (from the cache of uv after the first time). NVIDIA's
notebooks and blueprints pin 0.2x and 0.3x; people install the latest. Each version runs in a process of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.downloads, pytest.mark.timeout(600)]
VERSIONS = ["0.23.5", "0.26.2", "0.30.2", "0.36.0", "1.0.1", "1.5.0", "2.4.0"]
# Run by the version under test, so it uses nothing but what all of them have.
CLIENT = """
import json, sys
from pathlib import Path
import huggingface_hub
from huggingface_hub import HfApi

endpoint, repo, repo_type, folder = sys.argv[1:]
api = HfApi(endpoint=endpoint, token="mock")
seen = {"version": huggingface_hub.__version__}
url = api.create_repo(repo, repo_type=repo_type)
seen["created"] = [url.repo_id, url.repo_type]
again = api.create_repo(repo, repo_type=repo_type, exist_ok=True)
seen["again"] = again.repo_id
commit = api.upload_file(path_or_fileobj=b"one", path_in_repo="a/one.txt", repo_id=repo, repo_type=repo_type)
seen["head"] = commit.oid == api.repo_info(repo, repo_type=repo_type).sha
api.upload_folder(folder_path=folder, repo_id=repo, repo_type=repo_type)
seen["files"] = sorted(api.list_repo_files(repo, repo_type=repo_type))
local = api.hf_hub_download(repo, "training/rows.jsonl", repo_type=repo_type, cache_dir=folder + "-cache")
seen["content"] = Path(local).read_text()
api.delete_file("a/one.txt", repo, repo_type=repo_type)
seen["left"] = sorted(api.list_repo_files(repo, repo_type=repo_type))
api.delete_repo(repo, repo_type=repo_type)
seen["gone"] = not api.repo_exists(repo, repo_type=repo_type)
print(json.dumps(seen))
"""


@pytest.fixture(scope="module", params=VERSIONS)
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with one version of the client and what it needs."""
    folder = tmp_path_factory.mktemp(f"hub-{request.param}")
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable]
    command += ["--target", str(folder), f"huggingface_hub=={request.param}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"installing huggingface_hub {request.param}: {done.stderr}"
    return folder


@pytest.mark.parametrize("repo_type", ["dataset", "model"])
@pytest.mark.parametrize("root", ["/v1/hf", ""])
def test_every_version_in_use_works(  # noqa: PLR0917 - fixtures
    installed: Path, repo_type: str, root: str, data_store_url: str, unique: str, tmp_path: Path
) -> None:
    rows = tmp_path / "up" / "training" / "rows.jsonl"
    rows.parent.mkdir(parents=True)
    rows.write_text('{"prompt": "a", "completion": "b"}\n')
    repo = f"hubs/{unique[-60:].lstrip('-')}"
    environment = {key: value for key, value in os.environ.items() if key != "HF_ENDPOINT"}
    environment |= {"PYTHONPATH": str(installed), "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, data_store_url + root, repo, repo_type, str(tmp_path / "up")],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout)
    assert installed.name.startswith(f"hub-{seen.pop('version')}"), "another version than the one under test ran"
    assert seen == {
        "created": [repo, repo_type],
        "again": repo,
        "head": True,
        "files": ["a/one.txt", "training/rows.jsonl"],
        "content": rows.read_text(),
        "left": ["training/rows.jsonl"],
        "gone": True,
    }
