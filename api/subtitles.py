"""What was said, as subtitles."""

from lab.schemas.transcription import Transcription


def srt(transcription: Transcription) -> str:
    """Return the subtitles as SubRip."""
    return "".join(
        f"{one.id + 1}\n{_clock(one.start, ',')} --> {_clock(one.end, ',')}\n{one.text.strip()}\n\n"
        for one in transcription.segments
    )


def vtt(transcription: Transcription) -> str:
    """Return the subtitles as WebVTT."""
    cues = (
        f"{_clock(one.start, '.')} --> {_clock(one.end, '.')}\n{one.text.strip()}\n\n"
        for one in transcription.segments
    )
    return f"WEBVTT\n\n{''.join(cues)}"


def _clock(seconds: float, point: str) -> str:
    """
    Return a time as subtitles write it.

    >>> _clock(3661.5, ",")
    '01:01:01,500'
    """
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    minutes, rest = divmod(whole, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest:02}{point}{thousandths:03}"
