"""
One cascade of settings: schema default, config file, environment, user, request.

Defaults are written in `schemas/` and nowhere else. A later layer wins over an earlier one; None
means unset, while `0`, `False` and `""` are values. Only entry points call `load_settings`.
"""

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from lab.errors import ConfigError, LockedKeyError, UnknownKeyError
from lab.schemas.config import Config
from lab.schemas.user_config import UserConfig

ENV_PREFIX = "LAB_"
CONFIG_FILE = "lab.toml"
# Variables of the same prefix that wire processes together and are no settings.
WIRING = frozenset({"LAB_CONFIG_FILE", "LAB_API_URL", "LAB_API_KEY", "LAB_UPDATE_SCREENSHOTS"})

FOLDERS = frozenset(
    {"data.folder", "data.notebooks_folder", "remotes.endpoints.key_file", "llama_cpp.models.model"}
)
MODELS = frozenset(
    {
        "chat.model",
        "chat.models",
        "embedding.model",
        "image.model",
        "rerank.model",
        "remotes.endpoints.tokenizer",
        "vllm.models.model",
        "llama_cpp.models.tokenizer",
    }
)
"""A folder, or a name that no folder needs to have."""

Values = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Layer:
    """Values of one source, by section and key."""

    name: str
    values: Values


@dataclass(frozen=True)
class Explained:
    """One setting: its value, the layer that set it, and how to change it."""

    key: str
    value: Any
    layer: str
    env: str
    description: str
    locked: bool


def load_settings(file: Path | None = None, environ: Mapping[str, str] | None = None) -> "Settings":
    """
    Read the settings of this process from the config file and the environment.

    Parameters
    ----------
    file : Path, optional
        TOML file; by default the one `LAB_CONFIG_FILE` names, else `lab.toml` here if there is one.
    environ : mapping, optional
        Environment variables; by default those of the process.

    Raises
    ------
    ConfigError
        If a value has the wrong type or range, a key is unknown, or the file cannot be read.
    """
    env = os.environ if environ is None else environ  # noqa: TID251 - the one reader
    layers = [
        *_file_layer(file or env.get("LAB_CONFIG_FILE")),
        Layer("environment", _placed(_environment_values(env), Path())),
    ]
    return Settings(tuple(layers))


class Settings:
    """
    Validated settings and where each came from.

    Parameters
    ----------
    layers : tuple of Layer
        From weakest to strongest, without the schema defaults.

    Raises
    ------
    ConfigError
        With one line for each wrong value.
    """

    def __init__(self, layers: tuple[Layer, ...] = ()) -> None:
        self.layers = layers
        self._origin: dict[str, str] = {}
        merged: dict[str, dict[str, Any]] = {name: {} for name in Config.model_fields}
        for layer in layers:
            for section, key, value in _leaves(layer):
                merged[section][key] = value
                self._origin[f"{section}.{key}"] = layer.name
        try:
            self.config = Config.model_validate(merged)
        except ValidationError as error:
            raise ConfigError(self._complaint(error)) from None
        for key in self.config.limits.locked:
            if key not in (known := user_keys()):
                raise UnknownKeyError(key, known, "limits.locked")

    def overlay(self, layer: str, values: Values) -> "Settings":
        """
        Return these settings under a user's or a request's values.

        Raises
        ------
        UnknownKeyError
            If a key is not one that users may set.
        LockedKeyError
            If the operator locked a key.
        ConfigError
            If a value is wrong.
        """
        if not values:
            return self
        for section, key, _ in _leaves(Layer(layer, values)):
            name = f"{section}.{key}"
            if section not in UserConfig.model_fields:
                raise UnknownKeyError(name, user_keys(), f"the {layer} layer")
            if name in self.config.limits.locked:
                raise LockedKeyError(name)
        return Settings((*self.layers, Layer(layer, values)))

    def under_user(self, stored: Values) -> "Settings":
        """Return these settings under what a user stored; what was locked since gives way."""
        locked = self.config.limits.locked
        free = {
            section: {k: v for k, v in values.items() if f"{section}.{k}" not in locked}
            for section, values in stored.items()
        }
        return self.overlay("user", free)

    def explain(self, key: str | None = None) -> list[Explained]:
        """Return each setting (or the one named) with the layer that set it; secrets masked."""
        if key is not None and key not in (known := [name for name, _ in all_keys()]):
            raise UnknownKeyError(key, known, "the question")
        return [
            Explained(
                key=name,
                value=_shown(self._value(name)),
                layer=self._origin.get(name, "schema default"),
                env=env_name(name),
                description=field.description or "",
                locked=name in self.config.limits.locked,
            )
            for name, field in all_keys()
            if key in (None, name)
        ]

    def environment(self) -> dict[str, str]:
        """Return the `LAB_*` variables that give a child process these settings."""
        return {env_name(name): _as_text(self._value(name)) for name in self._origin}

    @cached_property
    def data_folder(self) -> Path:
        """
        The data folder, made if missing.

        Raises
        ------
        ConfigError
            If it cannot be written.
        """
        folder = Path(self.config.data.folder or _default_data_folder()).expanduser().resolve()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(_not_writable(folder, error.strerror or str(error))) from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigError(_not_writable(folder, "permission denied"))
        return folder

    @cached_property
    def notebooks_folder(self) -> Path:
        """The folder of the lab's notebooks."""
        configured = self.config.data.notebooks_folder
        folder = Path(configured).expanduser() if configured else _package_root() / "notebooks"
        if not folder.is_dir():
            raise ConfigError(
                f"No notebooks in `{folder}`; set {env_name('data.notebooks_folder')} to the "
                "`notebooks` folder of the lab's source."
            )
        return folder.resolve()

    def _value(self, name: str) -> Any:
        section, key = name.split(".")
        return getattr(getattr(self.config, section), key)

    def _complaint(self, error: ValidationError) -> str:
        lines = []
        for problem in error.errors():
            section, key, *_ = (*map(str, problem["loc"]), "", "")
            name = f"{section}.{key}"
            layer = self._origin.get(name, "schema default")
            field = dict(all_keys()).get(name)
            secret = field is not None and holds_secret(field.annotation)
            came = "**********" if secret else repr(problem["input"])
            place = ".".join(map(str, [section, key, *problem["loc"][2:]]))
            lines.append(f"`{place}` = {came} from {layer} ({env_name(name)}): {problem['msg']}.")
        return "\n".join(lines)


def all_keys() -> Iterator[tuple[str, FieldInfo]]:
    """Yield every setting's `section.key` with its field."""
    for section, field in Config.model_fields.items():
        for key, leaf in _section_model(field).model_fields.items():
            yield f"{section}.{key}", leaf


def user_keys() -> list[str]:
    """Return the settings that users may override."""
    return [name for name, _ in all_keys() if name.split(".")[0] in UserConfig.model_fields]


def env_name(key: str) -> str:
    """
    Return the environment variable of a setting.

    >>> env_name("database.url")
    'LAB_DATABASE_URL'
    """
    return ENV_PREFIX + key.replace(".", "_").upper()


def holds_secret(annotation: Any) -> bool:
    """
    Return whether values of a type are secret, or have a part that is.

    >>> holds_secret(SecretStr | None), holds_secret(list[int])
    (True, False)
    """
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return any(holds_secret(field.annotation) for field in annotation.model_fields.values())
    return annotation is SecretStr or any(map(holds_secret, get_args(annotation)))


def _leaves(layer: Layer) -> Iterator[tuple[str, str, Any]]:
    known = [name for name, _ in all_keys()]
    for section, values in layer.values.items():
        if not isinstance(values, Mapping):
            raise UnknownKeyError(section, known, layer.name)
        for key, value in values.items():
            if f"{section}.{key}" not in known:
                raise UnknownKeyError(f"{section}.{key}", known, layer.name)
            if value is not None:
                yield section, key, value


def _placed(values: Mapping[str, Any], start: Path) -> dict[str, Any]:
    """Return the values with relative folders made absolute: other processes start elsewhere."""
    return {
        section: {key: _absolute(f"{section}.{key}", value, start) for key, value in found.items()}
        if isinstance(found, Mapping)
        else found
        for section, found in values.items()
    }


def _absolute(name: str, value: Any, start: Path) -> Any:
    if isinstance(value, list):
        return [_absolute(name, item, start) for item in value]
    if isinstance(value, Mapping):
        return {key: _absolute(f"{name}.{key}", item, start) for key, item in value.items()}
    if name not in FOLDERS | MODELS or not isinstance(value, str) or not value:
        return value
    folder = start.absolute() / os.path.expanduser(value)
    if name in FOLDERS:
        return str(folder)
    # The default is a model of the package, whatever folder has its name.
    field = dict(all_keys()).get(name)
    is_packaged = field is not None and value == field.default
    # Unlike `Path.exists`, no error where this account may not look.
    return str(folder) if os.path.exists(folder) and not is_packaged else value


def _file_layer(path: str | Path | None) -> list[Layer]:
    file = Path(path) if path else Path(CONFIG_FILE)
    if path is None and not file.is_file():
        return []
    try:
        return [Layer(f"file {file.name}", _placed(tomllib.loads(file.read_text()), file.parent))]
    except OSError as error:
        raise ConfigError(f"Cannot read the config file `{file}`: {error.strerror}.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"The config file `{file}` is not valid TOML: {error}.") from None


def _environment_values(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    keys = {env_name(name): (name, field) for name, field in all_keys()}
    values: dict[str, dict[str, Any]] = {}
    for variable in sorted(environ):
        if not variable.startswith(ENV_PREFIX) or variable in WIRING:
            continue
        if variable not in keys:
            raise UnknownKeyError(variable, list(keys), "the environment")
        name, field = keys[variable]
        section, key = name.split(".")
        values.setdefault(section, {})[key] = _parse(environ[variable], field)
    return values


def _parse(text: str, field: FieldInfo) -> Any:
    """Read a list from JSON or commas; pydantic reads every other type from its text."""
    if "list" not in str(field.annotation):
        return text
    if text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return text
    return [item.strip() for item in text.split(",") if item.strip()]


def _section_model(field: FieldInfo) -> type[BaseModel]:
    model = field.annotation
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise TypeError(f"A section of `config.yaml` must be an object, got {model}.")
    return model


def _shown(value: Any) -> Any:
    """Return a value as it may be seen: what is secret in it is masked."""
    return "**********" if isinstance(value, SecretStr) else _plain(value)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: of objects in a list, what was set."""
    if not isinstance(value, list):
        return value
    return [
        item.model_dump(mode="json", exclude_unset=True) if isinstance(item, BaseModel) else item
        for item in value
    ]


def _as_text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return json.dumps(_revealed(value)) if isinstance(value, list) else str(value)


def _revealed(value: Any) -> Any:
    """Return a value of plain types, secrets included: for processes that we trust."""
    if isinstance(value, BaseModel):
        return {name: _revealed(item) for name, item in value if item is not None}
    if isinstance(value, list):
        return [_revealed(item) for item in value]
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _package_root() -> Path:
    return Path(__file__).resolve().parent.parent


def _default_data_folder() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/llm-ml-lab")
    base = os.environ.get("XDG_DATA_HOME")  # noqa: TID251 - the XDG base directory
    return Path(base or "~/.local/share") / "llm-ml-lab"


def _not_writable(folder: Path, why: str) -> str:
    return (
        f"The data folder `{folder}` cannot be written ({why}); "
        f"set {env_name('data.folder')} to a folder you own."
    )
