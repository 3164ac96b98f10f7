"""Pulumi's ResourceProvider protocol: requests are unpacked, handed to the domain, answered.

Errors go back as the engine wants them.

Unary calls run in threads, so thousands of objects need neither processes nor an event loop.
"""
# ruff: noqa: N802 - the protocol gives the methods their names and meaning

import contextlib
import functools
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import grpc  # type: ignore[import-untyped]
import yaml
from google.protobuf import any_pb2, empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from simulator.provider import kubeconfig, names
from simulator.provider.charts import ChartStore
from simulator.provider.cluster import ApiError, Cluster
from simulator.provider.difference import Change
from simulator.provider.engine import Engine
from simulator.provider.helm import Helm, HelmError
from simulator.provider.objects import Objects, PartialError, ResourceError
from simulator.provider.properties import has_unknowns, plain, read, write
from simulator.provider.releases import Releases

THREADS = 128
ENGINE_LOOK_S = 1.0
DEFAULT_KUBECONFIG = "~/.kube/config"
CONNECTION = ("kubeconfig", "context", "cluster")
# Kind -> setting of the provider, and environment variable, by which its content is changed in place.
MUTABLE = {
    "Secret": ("enableSecretMutable", "PULUMI_K8S_ENABLE_SECRET_MUTABLE"),
    "ConfigMap": ("enableConfigMapMutable", "PULUMI_K8S_ENABLE_CONFIGMAP_MUTABLE"),
}
DECODE = "kubernetes:yaml:decode"
EXPECTED = (ResourceError, ApiError, HelmError, kubeconfig.KubeconfigError, names.UnsupportedTypeError)
DiffResponse = provider_pb2.DiffResponse
T = TypeVar("T")
KINDS = {
    (Change.ADD, False): provider_pb2.PropertyDiff.ADD,
    (Change.ADD, True): provider_pb2.PropertyDiff.ADD_REPLACE,
    (Change.DELETE, False): provider_pb2.PropertyDiff.DELETE,
    (Change.DELETE, True): provider_pb2.PropertyDiff.DELETE_REPLACE,
    (Change.UPDATE, False): provider_pb2.PropertyDiff.UPDATE,
    (Change.UPDATE, True): provider_pb2.PropertyDiff.UPDATE_REPLACE,
}


def _answering(method: Callable[..., T]) -> Callable[..., T]:
    """Answer expected failures as the engine understands them; anything else is a bug and keeps its traceback."""

    @functools.wraps(method)
    def call(self: "Provider", request: Any, context: grpc.ServicerContext) -> T:
        try:
            return method(self, request, context)
        except PartialError as error:
            _keep(context, error)
        except EXPECTED as error:
            context.abort(grpc.StatusCode.UNKNOWN, str(error))
        raise AssertionError("unreachable")

    return call


def _keep(context: grpc.ServicerContext, error: PartialError) -> NoReturn:
    """Report a failure whose resource exists: the engine keeps the state and tries to mend it next time."""
    detail = provider_pb2.ErrorResourceInitFailed(
        id=error.identifier, properties=write(error.state), inputs=write(error.inputs), reasons=error.reasons
    )
    packed = any_pb2.Any()
    packed.Pack(detail)
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(error), details=[packed])
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(grpc.StatusCode.UNKNOWN, str(error))
    raise AssertionError("unreachable")


def mutable_kinds(settings: dict[str, Any]) -> frozenset[str]:
    """Return the kinds that the provider's settings let change in place: neither, unless they say so."""
    return frozenset(
        kind
        for kind, (setting, variable) in MUTABLE.items()
        if str(settings.get(setting, os.environ.get(variable, ""))).lower() == "true"
    )


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """One configured provider: a cluster, and what is done on it."""

    def __init__(self, engine_address: str, folder: Path) -> None:
        self.folder = folder
        self.engine = Engine(engine_address)
        self.cancelled = threading.Event()
        self._objects: Objects | None = None
        self._releases: Releases | None = None
        self._unusable = "the provider was not configured"

    # --- the plugin itself

    def Handshake(self, _request: Any, _context: Any) -> provider_pb2.ProviderHandshakeResponse:
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True, supports_autonaming_configuration=True)

    def GetPluginInfo(self, _request: Any, _context: Any) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=version("pulumi-kubernetes"))

    def GetSchema(self, _request: Any, _context: Any) -> provider_pb2.GetSchemaResponse:
        schema = {"name": "kubernetes", "version": version("pulumi-kubernetes")}
        return provider_pb2.GetSchemaResponse(schema=json.dumps(schema))

    def GetMapping(self, _request: Any, _context: Any) -> provider_pb2.GetMappingResponse:
        return provider_pb2.GetMappingResponse()

    def Attach(self, request: Any, _context: Any) -> empty_pb2.Empty:
        self.engine = Engine(request.address)
        return empty_pb2.Empty()

    def Cancel(self, _request: Any, _context: Any) -> empty_pb2.Empty:
        self.cancelled.set()
        return empty_pb2.Empty()

    # --- its configuration

    def CheckConfig(self, request: Any, _context: Any) -> provider_pb2.CheckResponse:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, _context: Any) -> DiffResponse:
        """Another cluster means other resources: replace. The same cluster by other credentials is an update."""
        old, new = plain(read(request.olds)), plain(read(request.news))
        changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        if not changed:
            return DiffResponse(changes=DiffResponse.DIFF_NONE)
        moved = has_unknowns([new.get(key) for key in CONNECTION])
        servers = kubeconfig.server_of(old.get("kubeconfig")), kubeconfig.server_of(new.get("kubeconfig"))
        moved = moved or (None not in servers and servers[0] != servers[1])
        replaces = [key for key in changed if moved and key in CONNECTION]
        return DiffResponse(changes=DiffResponse.DIFF_SOME, diffs=changed, replaces=replaces)

    @_answering
    def Configure(self, request: Any, _context: Any) -> provider_pb2.ConfigureResponse:
        settings = plain(read(request.args))
        source = settings.get("kubeconfig") or os.environ.get("KUBECONFIG") or DEFAULT_KUBECONFIG
        try:
            config = kubeconfig.load(
                source if isinstance(source, str) else json.dumps(source),
                **{key: settings.get(key) or "" for key in ("context", "cluster", "namespace")},
            )
        except (kubeconfig.KubeconfigError, OSError, KeyError, ValueError, yaml.YAMLError) as error:
            self._unusable = f"no cluster: {error}"  # some programs only invoke functions
        else:
            helm = Helm(config, self.cancelled, self.folder)
            cluster = Cluster(config)
            self._objects = Objects(cluster, self.engine, self.cancelled, mutable_kinds(settings))
            self._releases = Releases(cluster, helm, ChartStore(helm))
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True
        )

    @property
    def objects(self) -> Objects:
        """Plain objects; raises ResourceError without a usable kubeconfig."""
        if self._objects is None:
            raise ResourceError(self._unusable)
        return self._objects

    @property
    def releases(self) -> Releases:
        """Helm releases; raises ResourceError without a usable kubeconfig."""
        if self._releases is None:
            raise ResourceError(self._unusable)
        return self._releases

    # --- functions

    @_answering
    def Invoke(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.InvokeResponse:
        if request.tok != DECODE:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{request.tok} is not supported by the test provider")
        text = str(plain(read(request.args)).get("text") or "")
        documents = [document for document in yaml.safe_load_all(text) if document]
        flat = [item for document in documents for item in (document.get("items") or [document])]
        return provider_pb2.InvokeResponse(**{"return": write({"result": flat})})

    # --- resources

    @_answering
    def Check(self, request: Any, _context: Any) -> provider_pb2.CheckResponse:
        old, new, token = read(request.olds), read(request.news), names.type_token(request.urn)
        if token == names.RELEASE:
            inputs, problem = self.releases.check(request.urn, old, new)
            failures = [provider_pb2.CheckFailure(property="chart", reason=problem)] if problem else []
            return provider_pb2.CheckResponse(inputs=write(inputs), failures=failures)
        names.api_version_and_kind(token)
        proposed = request.autonaming.proposed_name if request.HasField("autonaming") else ""
        inputs = self.objects.check(request.urn, old, new, seed=request.randomSeed, proposed=proposed)
        return provider_pb2.CheckResponse(inputs=write(inputs))

    @_answering
    def Diff(self, request: Any, _context: Any) -> DiffResponse:
        state, new, ignored = read(request.olds), read(request.news), list(request.ignoreChanges)
        if names.type_token(request.urn) == names.RELEASE:
            changes = self.releases.diff(state, new, ignored)
        else:
            changes = self.objects.diff(request.urn, state, new, ignored)
        return DiffResponse(
            changes=DiffResponse.DIFF_SOME if changes.changes else DiffResponse.DIFF_NONE,
            replaces=changes.replaces,
            deleteBeforeReplace=changes.delete_first,
            diffs=sorted({path.split(".")[0].split("[")[0] for path in changes.changes}),
            detailedDiff={
                path: provider_pb2.PropertyDiff(kind=KINDS[change, path in changes.replaces])
                for path, change in changes.changes.items()
            },
            hasDetailedDiff=True,
        )

    @_answering
    def Create(self, request: Any, _context: Any) -> provider_pb2.CreateResponse:
        new = read(request.properties)
        if names.type_token(request.urn) == names.RELEASE:
            identifier, state = self.releases.create(new, preview=request.preview)
        else:
            identifier, state = self.objects.create(request.urn, new, timeout=request.timeout, preview=request.preview)
        return provider_pb2.CreateResponse(id=identifier, properties=write(state))

    @_answering
    def Read(self, request: Any, _context: Any) -> provider_pb2.ReadResponse:
        state = read(request.properties)
        if names.type_token(request.urn) == names.RELEASE:
            current = self.releases.read(request.id, state)
        else:
            current = self.objects.read(request.urn, request.id, state, read(request.inputs))
        if current is None:
            return provider_pb2.ReadResponse()
        identifier, fresh, inputs = current
        return provider_pb2.ReadResponse(id=identifier, properties=write(fresh), inputs=write(inputs))

    @_answering
    def Update(self, request: Any, _context: Any) -> provider_pb2.UpdateResponse:
        state, new = read(request.olds), read(request.news)
        if names.type_token(request.urn) == names.RELEASE:
            fresh = self.releases.update(new, preview=request.preview)
        else:
            fresh = self.objects.update(request.urn, state, new, timeout=request.timeout, preview=request.preview)
        return provider_pb2.UpdateResponse(properties=write(fresh))

    @_answering
    def Delete(self, request: Any, _context: Any) -> empty_pb2.Empty:
        state = read(request.properties)
        if names.type_token(request.urn) == names.RELEASE:
            self.releases.delete(state)
        else:
            self.objects.delete(request.urn, state, timeout=request.timeout)
        return empty_pb2.Empty()


def serve(engine_address: str, engine_pid: int) -> None:
    """Serve one engine until it ends this process, or is gone itself; tells it the port in one line, as plugins do.

    When the engine is gone, what is being done goes on to its end, as with the official plugin, which asks for its
    engine every five minutes, and this one every second (https://github.com/pulumi/pulumi/pull/9735).
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with contextlib.suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(prefix="nemostack-provider-") as folder:
        workers = ThreadPoolExecutor(max_workers=THREADS)
        server = grpc.server(workers, options=_GRPC_CHANNEL_OPTIONS)
        provider_pb2_grpc.add_ResourceProviderServicer_to_server(Provider(engine_address, Path(folder)), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        while server.wait_for_termination(timeout=ENGINE_LOOK_S):  # True: the time is over
            if os.getppid() != engine_pid:
                server.stop(grace=None)
                workers.shutdown()
                return
