"""`lab audio`: write down what is said, and speak."""

import asyncio
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from lab.client import Speech
from lab.commands.client import open_client
from lab.commands.printing import notes, print_json
from lab.db.new_file import new_file
from lab.errors import InputError
from lab.schemas.sound_format import SoundFormat
from lab.schemas.transcription import Transcription

app = typer.Typer(
    help="Write down what is said, and speak.", no_args_is_help=True, add_completion=False
)

INTERRUPTED = 130
"""What a shell expects of a command that Ctrl-C ended."""

Model = Annotated[str | None, typer.Option(help="One of `lab models list`.")]


@app.command()
def transcribe(
    file: Annotated[Path, typer.Argument(help="WAV, FLAC, OGG or MP3.")],
    language: Annotated[
        str | None, typer.Option("--language", "-l", help="What is spoken, e.g. de.")
    ] = None,
    translate: Annotated[
        bool, typer.Option("--translate", help="Write it in English, whatever is spoken.")
    ] = False,
    times: Annotated[bool, typer.Option("--times", help="Say when each part was said.")] = False,
    model: Model = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with times.")] = False,
) -> None:
    """
    Write down what is said in a recording.

    Ctrl-C stops it.

    Examples: `lab audio transcribe talk.mp3` · `lab audio transcribe talk.mp3 -l de --times`
    """
    wishes = {"language": language, "model": model}
    given = {name: value for name, value in wishes.items() if value is not None}
    try:
        said = asyncio.run(_heard(file, translate=translate, **given))
    except KeyboardInterrupt:
        notes.print("Stopped.")
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        print_json(said.model_dump(mode="json"))
    elif times:
        for one in said.segments:
            typer.echo(f"{one.start:9.2f} {one.end:9.2f}  {one.text.strip()}")
    else:
        typer.echo(said.text)
    if not said.text:
        notes.print("Nothing was said.")


@app.command()
def speak(
    text: Annotated[str, typer.Argument(help="What; - reads it from standard input.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write: .wav, .flac or .mp3.")
    ] = Path("speech.wav"),
    voice: Annotated[str | None, typer.Option(help="Number of a voice, from 0.")] = None,
    speed: Annotated[float, typer.Option(min=0.25, max=4, help="2 = twice as fast.")] = 1,
    model: Model = None,
) -> None:
    """
    Speak a text into a file, which is never written over another.

    Ctrl-C stops it, and leaves no file.

    Examples: `lab audio speak "Good morning." -o morning.wav` ·
    `lab audio speak - -o talk.mp3 < talk.txt`
    """
    ending = output.suffix.lower().removeprefix(".")
    if ending not in {"wav", "flac", "mp3"}:
        raise InputError(f"{output}: name a file that ends with .wav, .flac or .mp3.")
    wishes = {"voice": voice, "model": model}
    given = {name: value for name, value in wishes.items() if value is not None}
    words = sys.stdin.read() if text == "-" else text
    try:
        with new_file(output) as part:
            speech = asyncio.run(
                _spoken(words, speed=speed, response_format=SoundFormat(ending), **given)
            )
            speech.save(part)
    except KeyboardInterrupt:
        notes.print("Stopped; nothing was written.")
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(output)


async def _heard(file: Path, **given: Any) -> Transcription:
    """Return what is said; a bar shows how far the lab is."""
    async with open_client() as lab:
        with Progress(console=notes, transient=True) as progress:
            task = progress.add_task("Waiting for the model", total=None)
            async with aclosing(lab.audio.events(file, **given)) as events:
                async for event in events:
                    if event.transcription is not None:
                        return event.transcription
                    progress.update(
                        task,
                        description=f"{event.seconds:.0f} s of {event.duration:.0f} s",
                        completed=event.seconds,
                        total=event.duration,
                    )
    raise InputError("The lab sent no transcription; see its log (`lab logs`).")


async def _spoken(text: str, **given: Any) -> Speech:
    async with open_client() as lab:
        with notes.status("Speaking"):
            return await lab.speak(text, **given)
