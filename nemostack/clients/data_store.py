"""Data Store: repositories of files behind the Hugging Face API at `{url}/v1/hf`.

`huggingface_hub` keeps one HTTP client for the whole process and sets no timeout on it; this module gives it one that
does. The token is False: an empty one makes an illegal header, and the user's Hugging Face token is nobody's business.

A Data Store builds the links to large files from the one root URL it is configured with. On a stack without routes that
is its name inside the cluster, which does not resolve here, so requests to such names go to the URL we were given.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal

from nemostack.clients.error_mapping import calling
from nemostack.clients.tls import shared_context
from nemostack.errors import NotFound, ServiceError

if TYPE_CHECKING:
    from nemostack.clients import Timeouts

_SERVICE = "Data Store"
_IN_CLUSTER = ".svc.cluster.local"
RepoType = Literal["dataset", "model"]


@contextmanager
def accepting_empty_commit_url() -> Iterator[None]:
    """Accept a commit that the Data Store answers with an empty commitUrl, as NVIDIA's does.

    `huggingface_hub` 2.x raises HfUriError for it, but only after the commit has been made. Every write through `HfApi`
    (create_commit, upload_file, upload_folder, delete_file) belongs inside; look afterwards at what it changed.
    """
    from huggingface_hub.errors import HfUriError

    with suppress(HfUriError):
        yield


class DataStore:
    """Over HfApi, and plain HTTP for the namespaces, which it does not know."""

    def __init__(self, url: str, timeouts: "Timeouts", transport: Any = None) -> None:
        import httpx2
        from huggingface_hub import HfApi, constants, set_client_factory
        from huggingface_hub.utils.tqdm import disable_progress_bars

        # Set here, since the library reads its variables once, when somebody imports it first.
        constants.HF_HUB_DISABLE_XET = True  # a Data Store speaks LFS, not Xet
        constants.HF_HUB_DISABLE_TELEMETRY = True
        if constants.HF_HUB_DISABLE_PROGRESS_BARS is None:
            disable_progress_bars()
        timeout = httpx2.Timeout(timeouts.upload, connect=timeouts.connect)
        context = shared_context(httpx2)
        reachable = httpx2.URL(url)

        def follow_into_the_cluster(request: httpx2.Request) -> None:
            if request.url.host.endswith(_IN_CLUSTER):
                request.url = request.url.copy_with(scheme=reachable.scheme, host=reachable.host, port=reachable.port)
                request.headers["host"] = reachable.netloc.decode()

        def client() -> httpx2.Client:
            hooks = {"request": [follow_into_the_cluster]}
            return httpx2.Client(
                timeout=timeout, transport=transport, verify=context, follow_redirects=True, event_hooks=hooks
            )

        set_client_factory(client)
        self._url = url
        self._client = client
        self._api: HfApi = HfApi(endpoint=f"{url}/v1/hf", token=False)

    def close(self) -> None:
        """Close the library's connections."""
        from huggingface_hub import close_session

        close_session()

    def ping(self) -> str:
        """Ask for a repository that cannot exist: only a Data Store answers that as the Hub does."""
        with calling(_SERVICE, self._url, "asking for a repository"):
            exists = self._api.repo_exists("nemostack-doctor/no-such-repository", repo_type="dataset")
        return "answers as the Hugging Face Hub does" if not exists else "holds nemostack-doctor/no-such-repository"

    def ensure_namespace(self, namespace: str) -> None:
        """Create it unless it exists. Form-encoded; an existing one is 409 or 422, a build without them says 404."""
        with calling(_SERVICE, self._url, f"creating namespace {namespace}"), self._client() as http:
            answer = http.post(f"{self._url}/v1/datastore/namespaces", data={"namespace": namespace})
            if answer.status_code not in {404, 409, 422}:
                answer.raise_for_status()

    def upload(self, repo: str, files: dict[str, bytes], *, message: str) -> None:
        """Create dataset repository `repo` unless it exists and put `files` (path -> content) there in one commit."""
        from huggingface_hub import CommitOperationAdd

        with calling(_SERVICE, self._url, f"creating repository {repo}"):
            self._api.create_repo(repo, repo_type="dataset", exist_ok=True)
        operations = [CommitOperationAdd(path_in_repo=path, path_or_fileobj=data) for path, data in files.items()]
        doing = f"uploading {len(files)} file(s) to {repo}"
        answered = False
        with calling(_SERVICE, self._url, doing), accepting_empty_commit_url():
            self._api.create_commit(repo, operations, commit_message=message, repo_type="dataset")
            answered = True
        missing = [] if answered else sorted(set(files) - set(self.files(repo)))
        if missing:
            raise ServiceError(
                f"uploading to {repo}: {_SERVICE} at {self._url} took the commit but lacks {', '.join(missing)}; "
                "see the Data Store's log, then run again"
            )

    def files(self, repo: str) -> list[str]:
        """Paths in dataset repository `repo`. NotFound when there is none."""
        with calling(_SERVICE, self._url, f"listing the files of {repo}"):
            return self._api.list_repo_files(repo, repo_type="dataset")

    def has(self, repo: str) -> bool:
        """Whether dataset repository `repo` is there with anything in it."""
        try:
            return bool(self.files(repo))
        except NotFound:
            return False

    def read(self, repo: str, path: str) -> bytes:
        """Content of one small file of a dataset repository."""
        with calling(_SERVICE, self._url, f"reading {path} of {repo}"), self._client() as http:
            answer = http.get(f"{self._url}/v1/hf/datasets/{repo}/resolve/main/{path}")
            answer.raise_for_status()
            return answer.content

    def content(self, files_url: str) -> str | None:
        """Names and hashes of the files of an adapter, `hf://models/NAMESPACE/NAME[@REVISION]`; None for other URLs.

        Only weights and configuration of the adapter count: what else lies there may tell of when it was made.
        """
        from huggingface_hub.hf_api import RepoFile

        if not files_url.startswith("hf://models/"):
            return None
        repo, _, revision = files_url.removeprefix("hf://models/").partition("@")
        with calling(_SERVICE, self._url, f"listing the files of {repo}"):
            tree = [
                one
                for one in self._api.list_repo_tree(repo, repo_type="model", revision=revision or None, recursive=True)
                if isinstance(one, RepoFile)
            ]
        adapter = [one for one in tree if one.path.rpartition("/")[2].startswith("adapter_")]
        return "\n".join(sorted(f"{one.path} {one.lfs.sha256 if one.lfs else one.blob_id}" for one in adapter)) or None

    def delete(self, repo: str, repo_type: RepoType) -> bool:
        """Delete it; False when there was none."""
        try:
            with calling(_SERVICE, self._url, f"deleting {repo_type} repository {repo}"):
                self._api.delete_repo(repo, repo_type=repo_type)
        except NotFound:
            return False
        return True
