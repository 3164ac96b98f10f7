"""The adapters inside vLLM: loading and unloading for the synchronizer, looking up for a request.

vLLM keeps `max_cpu_loras` adapters in memory and reads the least used again from their folder when a request names
them; so folders stay as long as their id is known here.
"""

from pathlib import Path

from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.serve.lora.protocol import LoadLoRAAdapterRequest, UnloadLoRAAdapterRequest
from vllm.exceptions import VLLMNotFoundError
from vllm.lora.request import LoRARequest
from vllm.lora.resolver import LoRAResolver
from vllm.v1.engine.async_llm import AsyncLLM

from embedded.nim.adapter_cache import NotServableError
from embedded.nim.synchronizer import Synchronizer
from embedded.nim.vllm_parts import ErrorResponse


class VllmAdapters:
    """`Host` of the synchronizer, on the models that vLLM's server lists."""

    def __init__(self, models: OpenAIServingModels, engine: AsyncLLM, base_model: str) -> None:
        self._models, self._engine, self._base_model = models, engine, base_model

    def loaded(self) -> dict[str, Path]:
        """Id -> folder."""
        return {name: Path(request.lora_path) for name, request in self._models.lora_requests.items()}

    def folder(self, adapter_id: str) -> Path | None:
        """Return the folder of one that can be named now."""
        request = self._models.lora_requests.get(adapter_id)
        return None if request is None else Path(request.lora_path)

    def busy(self, adapter_id: str) -> bool:
        """Whether the engine has unfinished requests on this id."""
        return any(state.lora_name == adapter_id for state in self._engine.output_processor.request_states.values())

    async def load(self, adapter_id: str, folder: Path) -> None:
        """NotServableError with vLLM's reason."""
        request = LoadLoRAAdapterRequest(lora_name=adapter_id, lora_path=str(folder))
        answer = await self._models.load_lora_adapter(request, base_model_name=self._base_model)
        # A request may have resolved the same id meanwhile; then it is loaded, and vLLM says so as an error.
        if isinstance(answer, ErrorResponse) and self.folder(adapter_id) != folder:
            raise NotServableError(f"vLLM cannot load it: {answer.error.message}")

    async def unload(self, adapter_id: str) -> None:
        """Forget the id; nothing to do when it is not there."""
        await self._models.unload_lora_adapter(UnloadLoRAAdapterRequest(lora_name=adapter_id))


class EntityStoreResolver(LoRAResolver):
    """Asked by vLLM for each model name it does not know."""

    def __init__(self, synchronizer: Synchronizer, base_model: str) -> None:
        self._synchronizer, self._base_model = synchronizer, base_model

    async def resolve_lora(self, base_model_name: str, lora_name: str) -> LoRARequest | None:  # noqa: ARG002
        """None: nobody announces it (404). VLLMNotFoundError: announced, but not servable; the text says why."""
        try:
            folder = await self._synchronizer.seek(lora_name)
        except NotServableError as error:
            raise VLLMNotFoundError(f"The model `{lora_name}` does not exist. It is announced, but {error}") from error
        if folder is None:
            return None
        # vLLM puts its own number in place of 1.
        return LoRARequest(lora_name, 1, str(folder), base_model_name=self._base_model)
