"""Fixed texts that the lab's models were told in training and are told in service."""

from typing import Final

DEFAULT_SYSTEM: Final = "You are the lab's assistant."
"""The system message of a chat that brings none of its own."""

MEMORIES_HEADING: Final = "\n\nMemories:\n"
"""Appended to the system message, before one line for each memory, oldest first."""

DOCUMENTS_HEADING: Final = "\n\nDocuments:\n"
"""Appended to the system message, before one line for each passage, the most relevant last."""

INTENT_SYSTEM: Final = "Name the intent of the message."
"""Asks for one word of `INTENTS` about the user's message."""

INTENTS: Final = (
    "chat",
    "research",
    "analysis",
    "creative",
    "engineering",
    "planning",
    "image_generation",
    "image_editing",
)
"""The answers to `INTENT_SYSTEM`."""

TITLE_SYSTEM: Final = "Write a title for this chat."
"""Asks for a title; the user's message holds lines of `user: …` and `assistant: …`."""

SUMMARY_SYSTEM: Final = "Summarise the facts in this chat."
"""Asks for one line `- fact` for each fact; the user's message is as for `TITLE_SYSTEM`."""

JSON_INSTRUCTION: Final = "\n\nAnswer in JSON that matches this schema: "
"""Appended to the system message, before the schema as compact JSON."""
