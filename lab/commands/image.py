"""`lab image`: make a picture from words, or change one."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from lab.client import Picture
from lab.commands.client import open_client
from lab.commands.printing import notes
from lab.db.new_file import new_file
from lab.errors import InputError

app = typer.Typer(add_completion=False)

INTERRUPTED = 130
"""What a shell expects of a command that Ctrl-C ended."""


@app.command()
def image(
    prompt: Annotated[str, typer.Argument(help="What is to be seen.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The PNG file to write; never over another.")
    ] = Path("image.png"),
    size: Annotated[str | None, typer.Option(help="Width and height, e.g. 512x512.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="More take longer.")] = None,
    guidance: Annotated[
        float | None, typer.Option(min=0, help="How closely it follows the words.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="The same seed, the same picture.")
    ] = None,
    negative: Annotated[str | None, typer.Option(help="What is not to be seen.")] = None,
    lora: Annotated[str | None, typer.Option(help="LoRA weights, by their name.")] = None,
    edit: Annotated[Path | None, typer.Option(help="Picture to change: PNG, JPEG or WebP.")] = None,
    mask: Annotated[
        Path | None, typer.Option(help="What of it to make anew: transparent or white.")
    ] = None,
    strength: Annotated[
        float | None, typer.Option(min=0, max=1, help="How much of it is made anew.")
    ] = None,
) -> None:
    """
    Make a picture from words, or change one.

    Ctrl-C stops it at the next step, and leaves no file.

    Examples: `lab image "a red boat" -o boat.png` ·
    `lab image "a blue boat" --edit boat.png --strength 0.6 -o blue.png`
    """
    if mask is not None and edit is None:
        raise InputError("--mask says what to change of a picture; name that with --edit.")
    wishes = {
        "size": size,
        "steps": steps,
        "guidance": guidance,
        "seed": seed,
        "negative_prompt": negative,
        "lora": lora,
        "image": edit,
        "mask": mask,
        "strength": strength,
    }
    given = {name: value for name, value in wishes.items() if value is not None}
    try:
        with new_file(output) as part:
            picture = asyncio.run(_made(prompt, given))
            picture.save(part)
    except KeyboardInterrupt:
        notes.print("Stopped; nothing was written.")
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(output)
    notes.print(f"{picture.image.model}, seed {picture.seed}, {picture.parameters['size']}")


async def _made(prompt: str, given: dict[str, Any]) -> Picture:
    """Return the picture; a bar shows its steps."""
    async with open_client() as lab:
        with Progress(console=notes, transient=True) as progress:
            task = progress.add_task("Waiting for the model", total=None)
            async with aclosing(lab.images.events(prompt, **given)) as events:
                async for event in events:
                    if isinstance(event, Picture):
                        return event
                    progress.update(
                        task,
                        description=f"Step {event.step} of {event.n_steps}",
                        completed=event.step,
                        total=event.n_steps,
                    )
    raise InputError("The lab sent no picture; see its log (`lab logs`).")
