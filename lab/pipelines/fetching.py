"""
The files of a model from the Hugging Face hub: what there is, whether it fits, and getting it.

`huggingface_hub` keeps whole files only: a file of gigabytes that was broken off begins anew. So a
file of weights is written beside its place in the hub's own cache, in `NAME.part`, from where it
broke off; once whole and checked it takes its place, and the library does the rest.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_url, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.hf_api import ModelInfo, RepoSibling
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    WeakFileLock,
    build_hf_headers,
    disable_progress_bars,
    filter_repo_objects,
)

from lab.errors import InputError, ModelLoadError
from lab.pipelines.files import CONFIG_FILES, WANTED_FILES, sha256
from lab.schemas.model import Model
from lab.units import sized

REFUSALS: Final = frozenset({400, 401, 403, 404})
"""Answers of a hub to what it will not answer later either."""
SPARE_BYTES: Final = 64_000_000
"""Left free on a disk besides."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A file of weights: its name in the repository, its size in bytes and its SHA-256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Download:
    """
    What is to be fetched of a model.

    Attributes
    ----------
    model : Model
        The model; its revision is the commit.
    cache : Path
        Folder of the repository in the hub's cache.
    blobs : tuple of Blob
        The large files.
    n_bytes : int
        Of all files.
    """

    model: Model
    cache: Path
    blobs: tuple[Blob, ...]
    n_bytes: int

    @property
    def n_here(self) -> int:
        """Bytes of the large files that are here already, whole or in part."""
        return sum(min(_n_here(self.cache, blob), blob.size) for blob in self.blobs)

    def fetch(self, tell: Callable[[int], None]) -> Path:
        """
        Fetch what is missing and return the folder; what was broken off goes on where it stopped.

        Parameters
        ----------
        tell : callable
            Called with the bytes of the large files that came, each time some did; with a negative
            number when a file begins anew.

        Raises
        ------
        InputError
            If the disk has no room.
        ModelLoadError
            If the connection does not last, or a file comes damaged.
        """
        self._check_disk()
        disable_progress_bars()
        with clear_errors(self.model):
            for blob in self.blobs:
                self._fill(blob, tell)
            return Path(
                snapshot_download(
                    self.model.source, revision=self.model.revision, allow_patterns=WANTED_FILES
                )
            )

    def _check_disk(self) -> None:
        missing = self.n_bytes - self.n_here
        folder = next(parent for parent in (self.cache, *self.cache.parents) if parent.is_dir())
        free = shutil.disk_usage(folder).free
        if missing and missing + SPARE_BYTES > free:
            raise InputError(
                f"`{self.model.id}` needs {sized(missing)} more on the disk of {folder}, which has "
                f"{sized(free)} free; free some, or set HF_HOME to a folder on another disk."
            )

    def _fill(self, blob: Blob, tell: Callable[[int], None]) -> None:
        """Bring one large file to its place; it may be there."""
        target = self.cache / "blobs" / blob.sha256
        target.parent.mkdir(parents=True, exist_ok=True)
        part = _part(self.cache, blob)
        with WeakFileLock(part.with_suffix(".lock")):
            # Files too large for one request are the library's, which fetches them in pieces.
            if target.exists() or blob.size > constants.MAX_HTTP_DOWNLOAD_SIZE:
                return
            with part.open("ab") as file:
                http_get(
                    hf_hub_url(self.model.source, blob.name, revision=self.model.revision),
                    file,
                    resume_size=file.tell(),
                    headers=build_hf_headers(),
                    expected_size=blob.size,
                    tqdm_class=partial(_Told, tell),  # type: ignore[arg-type]
                )
            if (found := sha256(part)) != blob.sha256:
                part.unlink()
                raise ModelLoadError(
                    f"{blob.name} of `{self.model.id}` came damaged: its SHA-256 is {found}, and "
                    f"{blob.sha256} was expected. Pull it again."
                )
            part.rename(target)


class _Told:
    """What `http_get` takes for a progress bar."""

    def __init__(self, tell: Callable[[int], None], **_: Any) -> None:
        self.update = tell

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass


def plan_download(model: Model) -> Download:
    """
    Ask the hub which files a model has, and return what is to be fetched of it.

    Raises
    ------
    InputError
        If there is no such model or revision, it is gated, or has no weights that the lab reads.
    ModelLoadError
        If the hub does not answer.
    """
    info = _info(model)
    wanted = list(
        filter_repo_objects(info.siblings or [], allow_patterns=WANTED_FILES, key=_name_of)
    )
    if not any(one.rfilename.endswith(".safetensors") for one in wanted):
        raise InputError(
            f"`{model.id}` has no *.safetensors files on {constants.ENDPOINT}; choose a model that "
            "is published so, or convert it and add the folder."
        )
    return Download(
        model.model_copy(update={"revision": info.sha}),
        Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=model.source, repo_type="model"),
        tuple(
            Blob(one.rfilename, one.lfs.size, one.lfs.sha256)
            for one in wanted
            if one.lfs is not None
        ),
        sum(one.size or 0 for one in wanted),
    )


def fetch_config(model: Model) -> tuple[Path, str]:
    """Fetch the small files of a model that tell what it is; return their folder and commit."""
    commit = str(_info(model).sha)
    disable_progress_bars()
    with clear_errors(model):
        return Path(
            snapshot_download(model.source, revision=commit, allow_patterns=CONFIG_FILES)
        ), commit


@contextmanager
def clear_errors(model: Model) -> Iterator[None]:
    """Turn what the hub's library raises into errors that say what to do."""
    hub, name = constants.ENDPOINT, model.source
    try:
        yield
    except GatedRepoError as error:
        raise InputError(
            f"`{name}` is gated on {hub}: accept its terms at {hub}/{name}, and set HF_TOKEN to a "
            "token of the account that did."
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"There is no model `{name}` on {hub}, or it is private; check the id, or set HF_TOKEN "
            "to a token that may read it."
        ) from error
    except RevisionNotFoundError as error:
        raise InputError(
            f"`{name}` has no revision `{model.revision}` on {hub}; give a branch, tag or commit "
            "that it has, or leave it out."
        ) from error
    except HFValidationError as error:
        raise InputError(
            f"`{name}` is no folder here and no Hugging Face id, which looks like `owner/name`."
        ) from error
    except HfHubHTTPError as error:
        code = error.response.status_code
        kind = InputError if code in REFUSALS else ModelLoadError
        raise kind(
            f"{hub} answered {code} for `{name}`; check the id and HF_TOKEN, or try again later."
        ) from error
    except (httpx2.HTTPError, OfflineModeIsEnabled, LocalEntryNotFoundError) as error:
        raise ModelLoadError(
            f"{hub} could not be reached for `{name}`, or the connection broke "
            f"({type(error).__name__}); check the network and try again: what came is kept."
        ) from error


def _info(model: Model) -> ModelInfo:
    with clear_errors(model):
        return HfApi().model_info(model.source, revision=model.revision, files_metadata=True)


def _name_of(one: RepoSibling) -> str:
    return one.rfilename


def _part(cache: Path, blob: Blob) -> Path:
    return cache / "blobs" / f"{blob.sha256}.part"


def _n_here(cache: Path, blob: Blob) -> int:
    if (cache / "blobs" / blob.sha256).exists():
        return blob.size
    part = _part(cache, blob)
    return part.stat().st_size if part.exists() else 0
