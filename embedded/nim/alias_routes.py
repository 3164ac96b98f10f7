"""The routes by which aliases are set, looked at and sampled: `/v1/aliases`. See aliases.py and samples.py.

Refuses aliases of models that are not served, so that no alias can be set to an adapter that NIM refuses, and names
that are served as models.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Body, FastAPI
from fastapi.responses import JSONResponse
from pydantic import TypeAdapter, ValidationError

from embedded.nim.aliases import AliasBook
from nemostack.aliases import Alias, AliasName, Sampling

_NAME: TypeAdapter[str] = TypeAdapter(AliasName)


def _problems(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, p['loc']))} {p['msg']}".strip() for p in error.errors())


def add_alias_routes(app: FastAPI, book: AliasBook, served: Callable[[str], Awaitable[str | None]]) -> None:
    """Put the routes on `app`. `served` says why a model is not served, or None when it is."""

    def refused(status: int, message: str) -> JSONResponse:
        kind = {404: "NotFoundError", 409: "ConflictError"}.get(status, "BadRequestError")
        return JSONResponse({"error": {"message": message, "type": kind, "code": status}}, status_code=status)

    def shown(name: str) -> JSONResponse:
        state = book.state(name)
        if state is None:
            return refused(404, f"There is no alias `{name}`.")
        return JSONResponse(state.model_dump(mode="json"))

    async def every() -> JSONResponse:
        states = [state.model_dump(mode="json") for name in book.names() if (state := book.state(name))]
        return JSONResponse({"object": "list", "data": states})

    async def get(name: str) -> JSONResponse:
        return shown(name)

    async def put(name: str, body: Annotated[Any, Body()]) -> JSONResponse:
        try:
            _NAME.validate_python(name)
            alias = Alias.model_validate(body)
        except ValidationError as error:
            return refused(422, f"The alias `{name}` cannot be used: {_problems(error)}")
        if await served(name) is None:
            return refused(409, f"`{name}` is the name of a model that is served.")
        for model in alias.models:
            if (reason := await served(model)) is not None:
                return refused(409, f"The alias `{name}` cannot lead to `{model}`: {reason}")
        book.put(name, alias)
        return shown(name)

    async def delete(name: str) -> JSONResponse:
        return JSONResponse({"name": name}) if book.remove(name) else refused(404, f"There is no alias `{name}`.")

    async def sample(name: str, body: Annotated[Any, Body()]) -> JSONResponse:
        if book.get(name) is None:
            return refused(404, f"There is no alias `{name}`.")
        try:
            how = Sampling.model_validate(body)
        except ValidationError as error:
            return refused(422, f"The alias `{name}` cannot be sampled like this: {_problems(error)}")
        book.samples.begin(name, how)
        return JSONResponse(how.model_dump(mode="json"))

    async def samples(name: str, after: int = 0) -> JSONResponse:
        sampler = book.samples.get(name)
        if sampler is None:
            return refused(404, f"Nothing is sampled of the alias `{name}`.")
        rows = [row.model_dump(mode="json") for row in sampler.after(after)]
        return JSONResponse({"object": "list", "data": rows, "taken": sampler.taken})

    async def end(name: str) -> JSONResponse:
        ended = book.samples.end(name)
        return JSONResponse({"name": name}) if ended else refused(404, f"Nothing is sampled of the alias `{name}`.")

    path = "/v1/aliases/{name}/samples"
    app.add_api_route(path, sample, methods=["PUT"])
    app.add_api_route(path, samples, methods=["GET"])
    app.add_api_route(path, end, methods=["DELETE"])
    app.add_api_route("/v1/aliases", every, methods=["GET"])
    app.add_api_route("/v1/aliases/{name}", get, methods=["GET"])
    app.add_api_route("/v1/aliases/{name}", put, methods=["PUT"])
    app.add_api_route("/v1/aliases/{name}", delete, methods=["DELETE"])
