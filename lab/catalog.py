"""The models of the lab as they come and go: checked, kept in the database, and known at once."""

import asyncio
import os
from pathlib import Path
from typing import Final

from lab.db import Database
from lab.errors import ConflictError, InputError
from lab.pipelines import PipelineFactory
from lab.pipelines.checking import check_config, check_weights
from lab.pipelines.description import here, size_on_disk
from lab.pipelines.fetching import fetch_config
from lab.pipelines.llama_cpp.settings import is_gguf
from lab.pipelines.profiles import DOES, check_name
from lab.schemas.model import Model
from lab.schemas.model_pin import ModelPin
from lab.schemas.model_request import ModelRequest
from lab.schemas.task import Task

ONLY: Final = {Task.image: "LAB_IMAGE_MODEL", Task.rerank: "LAB_RERANK_MODEL"}
"""Tasks for which there is one model, with the setting that names it."""


class Models:
    """
    Add models to the lab and take them out while it runs.

    Parameters
    ----------
    database : Database
        Where added models are kept.
    pipelines : PipelineFactory
        Who runs them.
    """

    def __init__(self, database: Database, pipelines: PipelineFactory) -> None:
        self._database = database
        self._pipelines = pipelines
        # One at a time: of two of the same name the second is told.
        self._changing = asyncio.Lock()

    async def load(self) -> None:
        """Take in what was added before this process began."""
        async with self._database.models() as models:
            kept = await models.list()
        for model in kept:
            self._pipelines.add(model)

    async def sizes(self) -> dict[str, int | None]:
        """Return the bytes of each model's files, by id; None where they are not all here."""

        def measured() -> dict[str, int | None]:
            return {model.id: size_on_disk(model) for model in self._pipelines.models()}

        return await asyncio.to_thread(measured)

    async def add(self, request: ModelRequest) -> Model:
        """
        Add a model once its files say that the lab can run it; nothing is loaded.

        Of a model on Hugging Face the small files are fetched, and the commit they are of is
        pinned.

        Raises
        ------
        InputError
            If it is none that the lab can run.
        ConflictError
            If its name is taken.
        ModelLoadError
            If its files cannot be had.
        """
        async with self._changing:
            model = await asyncio.to_thread(self._checked, _asked(request))
            async with self._database.models() as models:
                await models.put(model)
            return self._pipelines.add(model)

    async def pin(self, model_id: str, pin: ModelPin) -> Model:
        """
        Pin a model to a commit whose files are here; it leaves memory, and comes back of this one.

        Raises
        ------
        InputError
            If the files are not here, not whole, or of no model that the lab can run.
        ConflictError
            If another commit of it is used now.
        """
        async with self._changing:
            known = self._pipelines.known(model_id)
            if known.task is Task.embedding:
                raise InputError(
                    f"`{known.id}` makes embeddings, which its revision must not change under: set "
                    f"LAB_EMBEDDING_REVISION={pin.revision} and start the lab again."
                )
            if Path(known.source).is_absolute():
                raise InputError(
                    f"`{known.id}` comes from a folder, which has one state and no revisions."
                )
            model = known.model_copy(update={"revision": pin.revision, "loaded": False})
            await asyncio.to_thread(_check_here, model)
            pinned = await self._pipelines.exchange(model)
            async with self._database.models() as models:
                await models.put(model)
            return pinned

    async def remove(self, model_id: str) -> None:
        """Take a model out of the lab; its files stay. `ConflictError` while it is needed."""
        async with self._changing:
            model = await self._pipelines.remove(model_id)
            async with self._database.models() as models:
                await models.delete(model.id)

    def _checked(self, model: Model) -> Model:
        """Return the model pinned, when its files are right and its name is free; blocks."""
        taken = {one.id for one in self._pipelines.profiles()}
        taken |= {one.id for one in self._pipelines.models()}
        if model.id in taken:
            raise ConflictError(
                f"`{model.id}` is a model or profile of the lab already; choose another `name`."
            )
        if Path(model.source).is_absolute():
            _check_here(model)
            return model
        folder, commit = fetch_config(model)
        check_config(model, folder)
        return model.model_copy(update={"revision": commit})


def _asked(request: ModelRequest) -> Model:
    """Return the model that a request describes; folders are those of the lab's machine."""
    if setting := ONLY.get(request.task):
        raise InputError(
            f"A lab has one model that {DOES[request.task]}, which is not added: name it as "
            f"{setting}, and start the lab again."
        )
    folder = Path(request.source)
    name = request.name or (folder.name if folder.is_absolute() else request.source)
    if is_gguf(request.source):
        raise InputError(
            f"{request.source} is a file in GGUF, which llama.cpp runs and the settings name: in "
            "`llama_cpp.models`, or as LAB_CHAT_MODEL; then start the lab again."
        )
    # Unlike `Path.is_dir`, no error for a name that is too long or not to be looked at.
    if folder.is_absolute() and not os.path.isdir(folder):
        raise InputError(
            f"{folder} is no folder on the lab's machine, or may not be read; give the folder of a "
            "model, or a Hugging Face id."
        )
    check_name(name)
    if folder.is_absolute() and request.revision:
        raise InputError("A folder has no revisions; leave `revision` out.")
    return Model(
        id=name,
        task=request.task,
        source=request.source,
        revision=request.revision,
        description=request.description,
    )


def _check_here(model: Model) -> None:
    folder = Path(model.source) if Path(model.source).is_absolute() else here(model)
    if folder is None:
        raise InputError(
            f"The lab does not find the files of `{model.id}` at {model.revision}; run `lab models "
            f"pull {model.id}` on its machine, as the account that runs it and with its HF_HOME."
        )
    check_config(model, folder)
    check_weights(model, folder)
