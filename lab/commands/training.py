"""`lab train`: models made on this machine."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lab.commands.printing import notes

app = typer.Typer(help="Train models on this machine.", no_args_is_help=True, add_completion=False)


@app.callback()
def train() -> None:
    """Train models on this machine."""


@app.command()
def tiny(
    output: Annotated[Path, typer.Argument(help="Folder for the finished model.")],
    work: Annotated[
        Path, typer.Option(help="Folder for tokenizer and checkpoint; the same one goes on.")
    ] = Path("runs/lab-tiny"),
    threads: Annotated[
        int | None, typer.Option(min=1, help="Cores to use; all of them if not given.")
    ] = None,
) -> None:
    """
    Make the bundled chat model from nothing; takes some three hours on two cores.

    Ctrl-C stops it; the same command goes on from the last minute.

    Examples: `lab train tiny models/mine` · `lab train tiny models/mine --threads 1`
    """
    # torch takes seconds to import, `--help` should not.
    from lab.training.tiny import train_tiny  # noqa: PLC0415

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.1f} % · loss {task.fields[loss]:.3f}"),
        TextColumn("{task.fields[speed]:,.0f} tokens/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=notes) as bar:
        shown = bar.add_task("tokenizer", total=None, loss=0.0, speed=0.0)
        try:
            train_tiny(
                work,
                output,
                n_threads=threads,
                on_progress=lambda p: bar.update(
                    shown,
                    description=p.phase,
                    completed=p.n_tokens,
                    total=p.total_tokens,
                    loss=p.loss,
                    speed=p.tokens_per_s,
                ),
            )
        except KeyboardInterrupt:
            bar.stop()
            notes.print(f"Stopped; the same command goes on from {work}.")
            raise typer.Exit(130) from None
    notes.print(f"The model is in {output}: `LAB_CHAT_MODEL={output} lab serve` answers with it.")
