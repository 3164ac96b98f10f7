"""Data Store: repositories of files that the Hugging Face Hub client reads and writes unchanged.

Faithful: `HfApi` (create, delete, upload, download, list, info, branches, tags, commits, paths, Git LFS batch), error
codes, Range requests; NVIDIA's namespace routes. The Hub's API is at `/v1/hf`, as NVIDIA has it, and at the root.
Files are kept by their sha256, history by commit; a commit is there wholly or not at all, whenever the power goes.
Reduced:
- uploads come base64-encoded in the commit, as hub clients send small files: where `hf_xet` is installed they would
  otherwise ask for the Xet protocol, which is not here. `lfs_threshold_bytes` is for clients with HF_HUB_DISABLE_XET=1
- no users and no access control (tokens are ignored, `private` is only remembered), no pull requests, no `git clone`,
  no spaces, no moving or squashing; branch and tag names have no slash; `.gitignore` is not obeyed
Refuses paths that leave the repository or that some file system cannot hold, and files and commits over the limits.
"""

from pydantic import Field

from embedded.common.service import ServiceSettings, serve


class Settings(ServiceSettings):
    """Limits, besides what every service is told; the defaults are for a disk that is shared with others."""

    max_commit_bytes: int = Field(default=4 * 1024**3, ge=1, description="Largest commit request (base64 and all)")
    max_file_bytes: int = Field(default=64 * 1024**3, ge=1, description="Largest file uploaded by LFS")
    lfs_threshold_bytes: int | None = Field(default=None, ge=0, description="Files from this size on go by LFS")


def run(settings: Settings) -> None:
    from embedded.data_store.app import create_app

    serve(create_app(settings), settings)
