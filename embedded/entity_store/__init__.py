"""Entity Store: what namespaces, projects, datasets and models there are; metadata only, files live in the Data Store.

Faithful: routes, fields, ids, timestamps, lists (filter, search, sort, page), 404/409/422 and their bodies, as the
`nemo_microservices` SDK 1.5 sends and reads them. Unknown fields are kept and come back, for the SDK
passes them through.
Reduced, where NVIDIA's behaviour is not documented:
- a namespace need not exist before something is put in it, and deleting it leaves what is in it
- deleting a dataset or a model leaves its files in the Data Store
- PATCH merges objects key by key, null takes a field back to its default (RFC 7396)
- no access control (`ownership` is stored, not enforced), no `/v2/models` versions and tags
Refuses names that are unsafe in a path, fields of a wrong type, a change of an entity's name or namespace.
"""

from embedded.common.service import ServiceSettings, serve


class Settings(ServiceSettings):
    """Nothing besides what every service is told; the database is `data_dir/entities.sqlite`."""


def run(settings: Settings) -> None:
    from embedded.entity_store.app import create_app

    serve(create_app(settings), settings)
