"""The models of other servers by their names here. Asks nobody."""

from lab.errors import ConfigError
from lab.schemas.engine import Engine
from lab.schemas.model import Model
from lab.schemas.remote_endpoint import RemoteEndpoint
from lab.schemas.remotes_config import RemotesConfig
from lab.schemas.task import Task


class RemoteNames:
    """
    The models of the endpoints by their names here, `NAME/MODEL`.

    Parameters
    ----------
    config : RemotesConfig
        The endpoints.

    Raises
    ------
    ConfigError
        If two have one name.
    """

    def __init__(self, config: RemotesConfig) -> None:
        self.endpoints = {endpoint.name: endpoint for endpoint in config.endpoints}
        if len(self.endpoints) < len(config.endpoints):
            names = [endpoint.name for endpoint in config.endpoints]
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(
                f"Two endpoints of remotes.endpoints are called `{twice}`; give each its own name."
            )
        self.listed: dict[str, list[str]] = {}
        """Models of the endpoints that name none themselves, as they were last listed."""

    def models(self) -> list[Model]:
        """Return the models that are known by name."""
        return [
            _model(endpoint, name)
            for endpoint in self.endpoints.values()
            for name in endpoint.models or self.listed.get(endpoint.name, [])
        ]

    def model(self, model_id: str) -> Model | None:
        """Return the model of that id; an endpoint that names none may have any."""
        prefix, _, name = model_id.partition("/")
        endpoint = self.endpoints.get(prefix)
        if endpoint is None or not name or (endpoint.models and name not in endpoint.models):
            return None
        return _model(endpoint, name)


def _model(endpoint: RemoteEndpoint, name: str) -> Model:
    return Model(
        id=f"{endpoint.name}/{name}",
        task=Task.chat,
        source=endpoint.url,
        engine=Engine.remote,
        description=f"{name}, run by {endpoint.name}.",
        context_length=endpoint.context_length,
    )
