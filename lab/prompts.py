"""Fixed texts that the lab's models were told in training and are told in service."""

from typing import Final

DEFAULT_SYSTEM: Final = "You are the lab's assistant."
"""The system message of a chat that brings none of its own."""

MEMORIES_HEADING: Final = "\n\nMemories:\n"
"""Appended to the system message, before one line for each memory, oldest first."""

DOCUMENTS_HEADING: Final = "\n\nDocuments:\n"
"""Appended to the system message, before one line for each passage, the most relevant last."""

FACTS_HEADING: Final = "\n\nFacts:\n"
"""Appended to the system message, before one line for each fact, the most relevant last."""

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

NO_FACTS: Final = "- No facts."
"""What a summary says of a chat in which nothing worth telling was said."""

SUMMARY_INSTRUCTIONS: Final = {
    "key_points": (
        "List what this chat says that is worth remembering. Write one point a line, each "
        "beginning with `- `, in words that can be understood without the chat."
    ),
    "summary": "Summarise this chat in one short paragraph.",
    "brief": "Summarise this chat in one sentence.",
    "master": (
        "Summarise this chat by topic. Write one line a topic, each beginning with `- `, with all "
        "that is worth remembering of it."
    ),
}
"""Ask a model for a summary in each style; `SUMMARY_RULES` follows."""

SUMMARY_RULES: Final = (
    " Keep names, numbers and dates as they were said. Where something was said again "
    "differently, the last time counts. Leave out greetings and small talk, and add nothing. "
    f"If nothing is worth remembering, answer only `{NO_FACTS}`"
)

SHORTEN_INSTRUCTION: Final = (
    "These are notes on one chat, the earliest first. Say the same in fewer words: join what "
    "belongs together and leave out what matters least."
)
"""Asks for a shorter summary; `SUMMARY_RULES` follows, and the user's message holds its lines."""

JSON_INSTRUCTION: Final = "\n\nAnswer in JSON that matches this schema: "
"""Appended to the system message, before the schema as compact JSON."""
