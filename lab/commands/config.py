"""`lab config`: the settings and where each comes from."""

from dataclasses import asdict
from typing import Annotated

import typer

from lab.commands.printing import notes, print_json, print_table
from lab.config import load_settings
from lab.db.cache_store import redis_place
from lab.db.connection import conninfo
from lab.pipelines.catalog import Catalog
from lab.pipelines.llama_cpp.settings import with_files
from lab.pipelines.served.models import served_models
from lab.supervisor.addresses import check_no_port_twice
from lab.workflows.composer import GRAPHS

app = typer.Typer(
    help="The settings and where each comes from.", no_args_is_help=True, add_completion=False
)


@app.command()
def explain(
    key: Annotated[str | None, typer.Argument(help="E.g. `server.port`; all by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """
    Show each setting, its value and the layer that set it.

    Examples: `lab config explain` · `lab config explain chat.model`
    """
    explained = load_settings().explain(key)
    if as_json:
        print_json([asdict(setting) for setting in explained])
        return
    print_table(
        ["key", "value", "set by", "variable", "what it does"],
        [
            (e.key, e.value, e.layer + (" (locked)" if e.locked else ""), e.env, e.description)
            for e in explained
        ],
    )


@app.command()
def check() -> None:
    """
    Check the config file and the environment; name every wrong value.

    Example: `lab config check`
    """
    settings = load_settings()
    check_no_port_twice(settings)
    config = settings.config
    files = with_files(config.llama_cpp, [config.chat.model, *config.chat.models])
    served = served_models(config.vllm, files)
    Catalog(config.chat, config.embedding, config.remotes, served).check_profiles(GRAPHS)
    if (url := settings.config.database.url) is not None:
        conninfo(url.get_secret_value())
    if (url := settings.config.cache.url) is not None:
        redis_place(url.get_secret_value())
    set_here = sum(e.layer != "schema default" for e in settings.explain())
    notes.print(
        f"Every setting is valid ({set_here} set here); data folder: {settings.data_folder}; "
        f"notebooks: {settings.notebooks_folder}."
    )


@app.command()
def env() -> None:
    """
    Print the variables that give another process these settings; secrets are masked.

    Example: `lab config env`
    """
    for setting in load_settings().explain():
        if setting.layer != "schema default":
            typer.echo(f"{setting.env}={setting.value}")
