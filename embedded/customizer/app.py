"""The REST routes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Request

from embedded.common import listing
from embedded.common.documents import Document, Documents
from embedded.common.errors import NotFound
from embedded.common.job_queue import JobQueue
from embedded.common.names import Ref, is_entity_name, is_name
from embedded.common.service import create_service
from embedded.common.unknown_keys import drop_unknown_keys, log_unknown_keys
from embedded.customizer.config_store import ConfigStore, Kind
from embedded.customizer.creation import Creation
from embedded.customizer.jobs import Jobs
from embedded.customizer.runner import Runner
from embedded.customizer.schemas import Config, ConfigUpdate, JobRequest, Target, TargetUpdate
from embedded.customizer.settings import Settings
from embedded.customizer.stores import EntityStore
from embedded.customizer.workers import Workers

_PREFIX = "/v1/customization"
_CONFIG_FIELDS = {
    "name",
    "namespace",
    "finetuning_type",
    "training_type",
    "target_base_model",
    "target_enabled",
    "target_name",
}
_JOB_FIELDS = {
    "base_model",
    "batch_size",
    "dataset",
    "epochs",
    "finetuning_type",
    "log_every_n_steps",
    "namespace",
    "project",
    "status",
    "training_type",
}


def _named(namespace: str, name: str) -> Ref:
    if not (is_name(namespace) and is_entity_name(name)):
        raise NotFound(f"{namespace}/{name} does not exist")
    return Ref(namespace, name)


Named = Annotated[Ref, Depends(_named)]


def create_app(settings: Settings) -> FastAPI:
    """Build the app. State opens, and unfinished jobs go on, when it starts."""
    documents = Documents(settings.data_dir / "customizer.sqlite")
    configs = ConfigStore(documents, settings.base_models, settings.accelerator, len(settings.gpus))
    jobs = Jobs(documents, settings.data_dir / "jobs")
    entities = EntityStore(settings.entity_store_url)
    creation = Creation(settings, configs, jobs, entities)
    processes = Workers(keep_warm=settings.keep_warm)
    queue = JobQueue(jobs, Runner(jobs, processes, entities), at_once=settings.max_concurrent_jobs)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        documents.open()
        configs.renew_built_in()
        processes.warm_up()
        queue.start()
        yield
        queue.stop()
        entities.close()
        documents.close()

    app = create_service("Customizer", lifespan)
    _config_routes(app, configs)
    _job_routes(app, jobs, creation, queue)
    return app


def _config_routes(app: FastAPI, configs: ConfigStore) -> None:
    def add(kind: Kind) -> None:
        path = f"{_PREFIX}/{kind}s"

        @app.get(f"{path}/{{namespace}}/{{name}}", name=f"get_{kind}")
        def get(ref: Named) -> Document:
            return configs.show(kind, configs.get(kind, ref))

        @app.delete(f"{path}/{{namespace}}/{{name}}", name=f"delete_{kind}")
        def delete(ref: Named) -> Document:
            return configs.remove(kind, ref)

    add("config")
    add("target")

    @app.post(f"{_PREFIX}/configs")
    def create_config(config: Config) -> Document:
        log_unknown_keys(f"POST {_PREFIX}/configs", drop_unknown_keys(config))
        return configs.add_config(config)

    @app.post(f"{_PREFIX}/targets")
    def create_target(target: Target) -> Document:
        log_unknown_keys(f"POST {_PREFIX}/targets", drop_unknown_keys(target))
        return configs.add_target(target)

    @app.patch(f"{_PREFIX}/configs/{{namespace}}/{{name}}")
    def update_config(ref: Named, update: ConfigUpdate) -> Document:
        return _changed(configs, "config", ref, update)

    @app.patch(f"{_PREFIX}/targets/{{namespace}}/{{name}}")
    def update_target(ref: Named, update: TargetUpdate) -> Document:
        return _changed(configs, "target", ref, update)

    @app.get(f"{_PREFIX}/targets")
    def list_targets(request: Request) -> Document:
        return listing.page(
            configs.all("target"),
            request.query_params,
            sort_fields={"created_at", "updated_at", "name"},
            filter_fields={"base_model", "enabled", "name", "namespace", "status"},
        )

    @app.get(f"{_PREFIX}/configs")
    def list_configs(request: Request) -> Document:
        return _list_configs(configs, request)


def _changed(configs: ConfigStore, kind: Kind, ref: Ref, update: ConfigUpdate | TargetUpdate) -> Document:
    sentences = drop_unknown_keys(update)
    log_unknown_keys(f"PATCH {_PREFIX}/{kind}s/{ref}", sentences)
    return {**configs.change(kind, ref, update), "warning_message": "; ".join(sentences) or None}


def _target_fields(target: str | Document) -> Document:
    """Make what configs are filtered and sorted by; of a target that is gone only the name is known."""
    if isinstance(target, str):
        target = {"name": target.rpartition("/")[2]}
    return {
        "target_name": target["name"],
        "target_base_model": target.get("base_model"),
        "target_enabled": target.get("enabled"),
        "num_parameters": target.get("num_parameters"),
    }


def _list_configs(configs: ConfigStore, request: Request) -> Document:
    shown = {config["id"]: config for config in configs.all("config")}
    index = [{**config, **_target_fields(config["target"])} for config in shown.values()]
    query = request.query_params
    for field in ("finetuning_type", "training_type"):  # true if any of the config's options is of that type
        if asked := query.get(f"filter[{field}]"):
            for row in index:
                row[field] = asked if any(o[field] == asked for o in row["training_options"]) else None
    page = listing.page(
        index,
        query,
        sort_fields={"created_at", "updated_at", "name", "target_enabled", "num_parameters"},
        filter_fields=_CONFIG_FIELDS,
    )
    return {**page, "data": [shown[row["id"]] for row in page["data"]]}


def _job_routes(app: FastAPI, jobs: Jobs, creation: Creation, queue: JobQueue) -> None:
    # 200, here and above, because NVIDIA's public clients take nothing else for success.
    @app.post(f"{_PREFIX}/jobs")
    def create_job(request: JobRequest) -> Document:
        job_id = creation.create(request)
        shown = jobs.show(jobs.find(job_id))
        queue.submit(job_id)
        return shown

    @app.get(f"{_PREFIX}/jobs")
    def list_jobs(request: Request) -> Document:
        page = listing.page(
            jobs.index(), request.query_params, sort_fields={"created_at", "updated_at"}, filter_fields=_JOB_FIELDS
        )
        return {**page, "data": [jobs.show(jobs.find(row["id"])) for row in page["data"]]}

    @app.get(f"{_PREFIX}/jobs/{{job_id}}")
    def get_job(job_id: str) -> Document:
        return jobs.show(jobs.find(job_id))

    @app.get(f"{_PREFIX}/jobs/{{job_id}}/status")
    def job_status(job_id: str) -> Document:
        details: Document = jobs.show(jobs.find(job_id))["status_details"]
        return details

    @app.get(f"{_PREFIX}/jobs/{{job_id}}/container-logs")
    def job_logs(job_id: str) -> Document:
        return jobs.container_logs(job_id)

    @app.post(f"{_PREFIX}/jobs/{{job_id}}/cancel")
    @app.post("/v1/customizations/{job_id}/cancel")  # an older address, which NVIDIA's data flywheel asks
    def cancel_job(job_id: str) -> Document:
        queue.cancel(job_id)
        return jobs.show(jobs.find(job_id))
