"""Messages to the user, through the engine that started this provider."""

import threading

import grpc  # type: ignore[import-untyped]
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc


class Engine:
    """Prints what happens while a resource is awaited; an engine that is gone is no error."""

    def __init__(self, address: str) -> None:
        self._stub = engine_pb2_grpc.EngineStub(grpc.insecure_channel(address)) if address else None
        self._lock = threading.Lock()

    def warn(self, urn: str, message: str) -> None:
        """Print a warning that stays."""
        self._log(urn, message, engine_pb2.WARNING, passing=False)

    def status(self, urn: str, message: str) -> None:
        """Show what is waited for beside the resource, until the next message."""
        self._log(urn, message, engine_pb2.INFO, passing=True)

    def _log(self, urn: str, message: str, severity: engine_pb2.LogSeverity.ValueType, *, passing: bool) -> None:
        request = engine_pb2.LogRequest(severity=severity, message=message, urn=urn, ephemeral=passing)
        with self._lock:
            if self._stub is None:
                return
            try:
                self._stub.Log(request, timeout=5)
            except grpc.RpcError:
                self._stub = None
