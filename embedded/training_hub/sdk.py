"""What `client.customization` of NVIDIA's SDK is here: a namespace for each backend, with `jobs` in it.

A spec is a dictionary, or one of the models of `automodel` and `unsloth`; the platform checks it in any case.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from nemo_platform_plugin.customization_contributor import CustomizationContributorSDKResources
from nemo_platform_plugin.discovery import discover_customization_contributors
from nemo_platform_plugin.jobs.schemas import PlatformJobStatusResponse
from nemo_platform_plugin.sdk import NemoPluginSDKResources
from pydantic import BaseModel, ConfigDict

_PREFIX = "/apis/customization/v2"


class JobRecord(BaseModel):
    """A job as the customization API shows it."""

    model_config = ConfigDict(extra="allow")

    name: str
    workspace: str | None = None
    status: str | None = None
    spec: dict[str, Any] | None = None


def _body(spec: BaseModel | Mapping[str, Any], name: str | None) -> dict[str, Any]:
    given = spec.model_dump(mode="json", exclude_unset=True) if isinstance(spec, BaseModel) else dict(spec)
    return {"spec": given} if name is None else {"spec": given, "name": name}


class _Address:
    """Where the jobs of one backend are."""

    def __init__(self, platform: Any, backend: str, workspace: str | None) -> None:
        self.workspace: str = workspace or platform.workspace or "default"
        self.jobs = f"{_PREFIX}/workspaces/{quote(self.workspace, safe='')}/{backend}/jobs"

    def job(self, name: str, suffix: str = "") -> str:
        """Return the path of a job."""
        return f"{self.jobs}/{quote(name, safe='')}{suffix}"


class JobHandle:
    """A submitted job."""

    def __init__(self, platform: Any, address: _Address, job: JobRecord) -> None:
        self._platform, self._address, self.job = platform, address, job

    def get_status(self) -> PlatformJobStatusResponse:
        """Ask where the job and each of its steps stand."""
        found = self._platform.get(self._address.job(self.job.name, "/status"), cast_to=object)
        return PlatformJobStatusResponse.model_validate(found)

    def cancel(self) -> JobRecord:
        """Ask for the end of the job."""
        found = self._platform.post(self._address.job(self.job.name, "/cancel"), cast_to=object)
        return JobRecord.model_validate(found)


class AsyncJobHandle:
    """A submitted job."""

    def __init__(self, platform: Any, address: _Address, job: JobRecord) -> None:
        self._platform, self._address, self.job = platform, address, job

    async def get_status(self) -> PlatformJobStatusResponse:
        """Ask where the job and each of its steps stand."""
        found = await self._platform.get(self._address.job(self.job.name, "/status"), cast_to=object)
        return PlatformJobStatusResponse.model_validate(found)

    async def cancel(self) -> JobRecord:
        """Ask for the end of the job."""
        found = await self._platform.post(self._address.job(self.job.name, "/cancel"), cast_to=object)
        return JobRecord.model_validate(found)


class Jobs:
    """`client.customization.<backend>.jobs`."""

    def __init__(self, platform: Any, backend: str) -> None:
        self._platform, self._backend = platform, backend

    def create(
        self, spec: BaseModel | Mapping[str, Any], workspace: str | None = None, name: str | None = None
    ) -> JobHandle:
        """Submit a job."""
        address = _Address(self._platform, self._backend, workspace)
        found = self._platform.post(address.jobs, cast_to=object, body=_body(spec, name))
        return JobHandle(self._platform, address, JobRecord.model_validate(found))

    def get_job_resource(self, job_name: str, workspace: str | None = None) -> JobHandle:
        """Look a job up."""
        address = _Address(self._platform, self._backend, workspace)
        found = self._platform.get(address.job(job_name), cast_to=object)
        return JobHandle(self._platform, address, JobRecord.model_validate(found))


class AsyncJobs:
    """`client.customization.<backend>.jobs`."""

    def __init__(self, platform: Any, backend: str) -> None:
        self._platform, self._backend = platform, backend

    async def create(
        self, spec: BaseModel | Mapping[str, Any], workspace: str | None = None, name: str | None = None
    ) -> AsyncJobHandle:
        """Submit a job."""
        address = _Address(self._platform, self._backend, workspace)
        found = await self._platform.post(address.jobs, cast_to=object, body=_body(spec, name))
        return AsyncJobHandle(self._platform, address, JobRecord.model_validate(found))

    async def get_job_resource(self, job_name: str, workspace: str | None = None) -> AsyncJobHandle:
        """Look a job up."""
        address = _Address(self._platform, self._backend, workspace)
        found = await self._platform.get(address.job(job_name), cast_to=object)
        return AsyncJobHandle(self._platform, address, JobRecord.model_validate(found))


class _Backend:
    """`client.customization.<backend>`."""

    name: ClassVar[str]
    jobs: Any


def resources_of(backend: str) -> CustomizationContributorSDKResources:
    """Make the two resources of a backend."""

    class Resource(_Backend):
        name = backend

        def __init__(self, platform: Any) -> None:
            self.jobs = Jobs(platform, backend)

    class AsyncResource(_Backend):
        name = backend

        def __init__(self, platform: Any) -> None:
            self.jobs = AsyncJobs(platform, backend)

    return CustomizationContributorSDKResources(sync_resource=Resource, async_resource=AsyncResource)


def _mount(target: object, platform: Any, pick: Callable[[Any], type[Any] | None]) -> None:
    for name, contributor in discover_customization_contributors().items():
        resources = contributor.get_sdk_resources()
        kind = pick(resources) if resources else None
        if kind is not None:
            setattr(target, name, kind(platform))


class Customization:
    """`client.customization`."""

    def __init__(self, platform: Any) -> None:
        self._platform = platform
        _mount(self, platform, lambda resources: resources.sync_resource)

    def plugin_status(self) -> dict[str, object]:
        """Say whether the hub answers, and with which backends."""
        found: dict[str, object] = self._platform.get(f"{_PREFIX}/healthz", cast_to=object)
        return found


class AsyncCustomization:
    """`client.customization`."""

    def __init__(self, platform: Any) -> None:
        self._platform = platform
        _mount(self, platform, lambda resources: resources.async_resource)

    async def plugin_status(self) -> dict[str, object]:
        """Say whether the hub answers, and with which backends."""
        found: Awaitable[dict[str, object]] = self._platform.get(f"{_PREFIX}/healthz", cast_to=object)
        return await found


customization_sdk_resources = NemoPluginSDKResources(sync_resource=Customization, async_resource=AsyncCustomization)
