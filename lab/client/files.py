"""Files that messages refer to."""

from uuid import UUID

from lab.client.http import Http

PATH = "/v1/files"


class Files:
    """
    The user's files: the pictures of messages.

    Examples
    --------
    The pictures of a message::

        [await lab.files.content(part.file_id) for part in message.parts if part.type == "image"]
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    async def content(self, file_id: UUID) -> bytes:
        """Return the bytes of a file."""
        return await self._http.download(f"{PATH}/{file_id}/content")
