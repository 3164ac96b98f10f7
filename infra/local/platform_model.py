"""NIM and its base model as the NeMo Platform knows them, as a Pulumi resource: fileset, model entity, provider.

The fileset holds the model's files (a model of the Hugging Face Hub stays there: no fileset). The provider is the
stack's NIM; from it the platform itself finds the model and makes the gateway's routes. Creating is safe to repeat and
waits until the gateway serves the model. Destroying withdraws the provider; the rest is data, which stays.
"""

import time
from pathlib import Path
from typing import Any

import pulumi
from pulumi.dynamic import ConfigureRequest, CreateResult, DiffResult, ReadResult, ResourceProvider, UpdateResult
from pulumi.dynamic import Resource as DynamicResource

from infra.local.provider import Props, changed, end_with_engine, kept, report, without_traceback
from infra.local.services import fingerprint
from nemostack.clients import Timeouts
from nemostack.clients.platform import Platform
from nemostack.entity_names import WORKSPACE
from nemostack.errors import LocalServiceError, NotFound, ServiceError

INPUTS = ("url", "nim_url", "name", "path", "id", "files")
PROVIDER = "nim"
WAIT_S = 120.0
PAUSE_S = 0.5


class ModelProvider(ResourceProvider):
    """The base model of one stack."""

    serialize_as_secret_always = False  # it holds nothing

    def configure(self, _req: ConfigureRequest) -> None:
        """Watch the engine; called once in the plugin process."""
        end_with_engine()

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Another platform or name is another model; changed files are uploaded again."""
        moved = [key for key in ("url", "name") if olds[key] != news[key]]
        return DiffResult(
            changes=bool(moved) or changed(olds, news, INPUTS), replaces=moved, delete_before_replace=True
        )

    @without_traceback
    def create(self, props: Props) -> CreateResult:
        register(props)
        return CreateResult(f"{props['url']}:{props['name']}", kept(props, INPUTS))

    @without_traceback
    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        register(news)
        return UpdateResult(kept(news, INPUTS))

    def read(self, id_: str, props: Props) -> ReadResult:
        """Gone if the platform has no route to it: `pulumi up` then registers it again."""
        platform = Platform(props["url"], Timeouts(read=10))
        try:
            served = f"{WORKSPACE}/{props['name']}" in platform.served()
        except ServiceError:
            served = False
        finally:
            platform.close()
        return ReadResult(id_, props) if served else ReadResult("", {})

    def delete(self, _id: str, props: Props) -> None:
        """Withdraw the provider. A platform that is gone has nothing to withdraw it from."""
        platform = Platform(props["url"], Timeouts(read=10))
        try:
            platform.delete_provider(PROVIDER)
        except ServiceError as error:
            report(f"the provider {PROVIDER} stays as it is: {error}")
        finally:
            platform.close()


def register(props: Props) -> None:
    """Upload what is missing of the model's files, create the entities, wait for the gateway. LocalServiceError."""
    platform, name = Platform(props["url"], Timeouts()), props["name"]
    try:
        await_ready(platform)
        upload(platform, name, Path(props["path"]))
        platform.create_model(
            name, fileset=name if Path(props["path"]).is_dir() else None, description=f"Base model {props['id']}"
        )
        known = platform.provider(PROVIDER) or {}
        if known.get("host_url") != props["nim_url"] or known.get("status") in {"ERROR", "LOST"}:
            platform.delete_provider(PROVIDER)  # it would be asked again late, or never
        platform.create_provider(PROVIDER, host_url=props["nim_url"], description="NIM of this stack")
        await_gateway(platform, name)
    except ServiceError as error:
        raise LocalServiceError(f"making the base model known to the NeMo Platform failed: {error}") from error
    finally:
        platform.close()


def await_ready(platform: Platform) -> None:
    """Return when all services of the platform say that they are ready. ServiceError if they never do."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            platform.ready()
        except ServiceError:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_S)
        else:
            return


def upload(platform: Platform, fileset: str, folder: Path) -> None:
    """Bring a fileset to what a model's folder holds, told by size. Nothing for a Hub id."""
    if not folder.is_dir():
        return
    platform.create_fileset(fileset, "model", f"Files of the base model {fileset}")
    try:
        there = platform.files(fileset)
    except NotFound:
        there = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        path, size = file.relative_to(folder).as_posix(), file.stat().st_size
        if there.get(path) != size or path.endswith(".json"):
            platform.upload(fileset, path, file)


def await_gateway(platform: Platform, name: str) -> None:
    """Return when the gateway serves the model. LocalServiceError with the provider's own word if it never does."""
    deadline, told = time.monotonic() + WAIT_S, False
    while f"{platform.workspace}/{name}" not in platform.served():
        if time.monotonic() > deadline:
            provider: dict[str, Any] = platform.provider(PROVIDER) or {}
            state = f"{provider.get('status')}, {provider.get('status_message') or 'which says nothing more'}"
            raise LocalServiceError(
                f"the gateway of the NeMo Platform does not serve {name} after {WAIT_S:.0f} s. Its provider {PROVIDER} "
                f"is {state}: see the logs of the platform and of NIM"
            )
        if not told:
            report(f"{name}: waiting for the gateway's route to NIM")
            told = True
        time.sleep(PAUSE_S)


class PlatformModel(DynamicResource, module="nemostack", name="PlatformModel"):
    """The base model in the platform of a local stack."""

    def __init__(self, name: str, props: Props, opts: pulumi.ResourceOptions | None = None) -> None:
        files = fingerprint(Path(props["path"]))
        super().__init__(ModelProvider(), name, props | {"files": files}, opts)
