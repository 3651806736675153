"""
Files to text: plain text, Markdown, HTML, PDF and Word.

What comes from outside is read in a child process with limits (`python -m lab.reading`), which
knows nothing of the lab's database, models or secrets.
"""

from lab.reading.reader import read
from lab.reading.text import Limits, Text

__all__ = ["Limits", "Text", "read"]
