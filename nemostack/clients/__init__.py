"""One typed client per service, made from the outputs of a stack.

Base URLs, timeouts and transports are injected. The official libraries do the talking (nemo_microservices,
huggingface_hub, openai); what they raise becomes ours (nemostack.errors) and what they answer becomes small models.
Libraries are imported when a client is first used: `--help` must not wait for them.
"""

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from nemostack.clients.tls import shared_context
from nemostack.outputs import StackOutputs

if TYPE_CHECKING:
    from nemo_microservices import NeMoMicroservices

    from nemostack.aliases import AliasRouter
    from nemostack.clients.data_store import DataStore
    from nemostack.clients.datasets import Datasets
    from nemostack.clients.entity_store import EntityStore
    from nemostack.clients.line import Evaluations, Models, Records, Trainings
    from nemostack.clients.nim import Nim
    from nemostack.clients.platform import Platform


@dataclass(frozen=True)
class Timeouts:
    """Seconds for one request."""

    connect: float = 5.0
    read: float = 60.0
    upload: float = 600.0


@dataclass
class Clients:
    """The services of one stack. A context manager: leaving it closes the connections."""

    outputs: StackOutputs
    timeouts: Timeouts = field(default_factory=Timeouts)
    max_retries: int = 2
    transport: Any = None  # httpx transport under the NeMo SDK; None = the network
    _closing: ExitStack = field(default_factory=ExitStack, init=False, repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._closing.close()

    @cached_property
    def sdk(self) -> "NeMoMicroservices":
        """Entity Store, Customizer and Evaluator share one path space, and so one SDK client."""
        import httpx
        from nemo_microservices import NeMoMicroservices

        timeout = httpx.Timeout(self.timeouts.read, connect=self.timeouts.connect)
        context = shared_context(httpx)
        http = httpx.Client(timeout=timeout, transport=self.transport, verify=context, follow_redirects=True)
        self._closing.callback(http.close)
        return NeMoMicroservices(
            base_url=self.outputs.nemo_url, timeout=timeout, max_retries=self.max_retries, http_client=http
        )

    @cached_property
    def entity_store(self) -> "EntityStore":
        """Namespaces, datasets, models."""
        from nemostack.clients.entity_store import EntityStore

        return EntityStore(self.sdk, self.outputs.nemo_url)

    @property
    def on_platform(self) -> bool:
        """Whether the stack runs the NeMo Platform."""
        return self.outputs.product == "platform"

    @cached_property
    def customizer(self) -> "Trainings":
        """LoRA jobs, on either line."""
        from nemostack.clients.customizer import Customizer
        from nemostack.clients.platform.training import PlatformTraining

        return PlatformTraining(self.platform) if self.on_platform else Customizer(self.sdk, self.outputs.nemo_url)

    @cached_property
    def evaluator(self) -> "Evaluations":
        """Evaluation jobs, on either line."""
        from nemostack.clients.evaluator import Evaluator
        from nemostack.clients.platform.evaluator import PlatformEvaluator

        return PlatformEvaluator(self.platform) if self.on_platform else Evaluator(self)

    @cached_property
    def models(self) -> "Models":
        """Tuned models and prompts, on either line."""
        from nemostack.clients.platform.models import PlatformModels
        from nemostack.clients.stored_models import StoredModels

        return PlatformModels(self.platform) if self.on_platform else StoredModels(self)

    @cached_property
    def aliases(self) -> "AliasRouter":
        """Who routes by aliases: the platform's gateway, in a cluster what is in front of NIM, else NIM itself."""
        from nemostack.clients.cluster_aliases import ClusterAliases
        from nemostack.clients.platform.aliases import VirtualModels
        from nemostack.kubectl.client import Kubectl

        if self.on_platform:
            return VirtualModels(self.platform)
        if self.outputs.cluster is None:
            return self.nim
        kubectl = self._closing.enter_context(Kubectl.opened(self.outputs))
        return ClusterAliases(kubectl, self.outputs.cluster.services["nim"], self.nim)

    @cached_property
    def records(self) -> "Records":
        """Where small records of ours are kept, on either line."""
        from nemostack.clients.platform.records import PlatformRecords

        return PlatformRecords(self.platform) if self.on_platform else self.entity_store

    @property
    def front(self) -> "Nim":
        """Where models are asked for by the names that clients use: the platform's gateway, or NIM itself."""
        return self.gateway if self.on_platform else self.nim

    @cached_property
    def data_store(self) -> "DataStore":
        """Repositories of files."""
        from nemostack.clients.data_store import DataStore

        store = DataStore(self.outputs.data_store_url, self.timeouts)
        self._closing.callback(store.close)
        return store

    @cached_property
    def datasets(self) -> "Datasets":
        """Where this stack keeps datasets, whichever its product."""
        from nemostack.clients.datasets import FilesetsOfPlatform, StoresOfMicroservices

        return FilesetsOfPlatform(self) if self.on_platform else StoresOfMicroservices(self)

    @cached_property
    def platform(self) -> "Platform":
        """The NeMo Platform of a stack of that product."""
        from nemostack.clients.platform import Platform

        platform = Platform(self.outputs.nemo_url, self.timeouts, transport=self.transport)
        self._closing.callback(platform.close)
        return platform

    @cached_property
    def gateway(self) -> "Nim":
        """What the platform's inference gateway serves, by the same API as NIM's."""
        from nemostack.clients.nim import Nim
        from nemostack.clients.platform import access_token

        url, token = self.outputs.inference_url, access_token()
        gateway = Nim(url, self.timeouts, max_retries=self.max_retries, api_key=token)
        self._closing.callback(gateway.close)
        return gateway

    @cached_property
    def nim(self) -> "Nim":
        from nemostack.clients.nim import Nim

        nim = Nim(self.outputs.nim_url, self.timeouts, max_retries=self.max_retries)
        self._closing.callback(nim.close)
        return nim
