"""Pictures, made from words."""

from collections.abc import Sequence
from contextlib import aclosing
from uuid import UUID

from pydantic import ValidationError

from lab.errors import InputError
from lab.schemas.image_request import ImageRequest
from lab.workflows.images import ImageMaker
from lab.workflows.tools.tool import Arguments, LabTool, ToolContext, Traits, described


class MakePicture:
    """
    Make a picture, which stands beside the answer.

    Parameters
    ----------
    images : ImageMaker
        Who makes it.
    """

    tool = described(
        "make_picture",
        "Make a picture, which the user sees.",
        prompt={"type": "string", "minLength": 1, "description": "What it shows, in English."},
    )
    traits = Traits(personal=True, changes=True)

    def __init__(self, images: ImageMaker) -> None:
        self._images = images

    async def call(self, arguments: Arguments, context: ToolContext) -> str:
        """Return that it is made; the picture itself is the user's."""
        try:
            request = ImageRequest(prompt=arguments["prompt"])
        except ValidationError as error:
            raise InputError(f"It cannot be made so: {error.errors()[0]['msg']}.") from None
        async with aclosing(self._images.make(context.owner_id, request)) as events:
            async for event in events:
                if event.image is not None:
                    context.made.append(event.image)
                    return f"The picture is made, and the user sees it: {event.image.prompt}"
        raise InputError("No picture was made; ask for it again.")


class PictureTools:
    """
    The source of the tool above, in a lab that has a model for it.

    Parameters
    ----------
    images : ImageMaker
        Who makes pictures.
    has_model : bool
        Whether there is one.
    """

    def __init__(self, images: ImageMaker, *, has_model: bool) -> None:
        self._tools: Sequence[LabTool] = (MakePicture(images),) if has_model else ()

    async def tools(self, owner_id: UUID) -> Sequence[LabTool]:
        """Return it, if there is one."""
        return self._tools
