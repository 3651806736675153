"""Values that facts can have: invented names mostly, so that copying is the only way to know them."""

from collections.abc import Sequence
from datetime import date, timedelta
from random import Random

from lab.training import words
from lab.training.names import Half, Names

_FIRST_DAY = date(2023, 1, 1)


class World:
    """One source of chance, names and values for one dialogue after another.

    Parameters
    ----------
    seed : int
        Same seed, same dialogues.
    half : {"train", "eval"}
        Which invented names may appear.
    """

    def __init__(self, seed: int, half: Half = "train") -> None:
        self.random = Random(f"{half}-{seed}")
        self.names = Names(self.random, half)

    def chance(self, probability: float) -> bool:
        """Say yes with this probability."""
        return self.random.random() < probability

    def pick(self, options: Sequence[str]) -> str:
        """Return one of the options."""
        return self.random.choice(options)

    def person(self) -> str:
        """Return the name of a person or pet."""
        return self.pick(words.FIRST_NAMES) if self.chance(0.2) else self.names.name()

    def place(self) -> str:
        """Return the name of a place."""
        return self.pick(words.PLACES) if self.chance(0.2) else self.names.name()

    def company(self) -> str:
        """Return the name of a company."""
        return self.pick(words.COMPANIES) if self.chance(0.2) else self.names.name()

    def title(self) -> str:
        """Return the title of a book, a song or a film."""
        return (
            self.pick(words.TITLES).format(self.names.name())
            if self.chance(0.5)
            else self.names.name()
        )

    def common(self, options: Sequence[str]) -> str:
        """Return a known word, or now and then an invented one in its place."""
        return self.pick(options) if self.chance(0.7) else self.names.word()

    def number(self) -> str:
        """Return an age or a small count."""
        return str(self.random.randint(2, 99))

    def code(self) -> str:
        """Return a code: digits, sometimes with letters or dashes."""
        digits = "".join(self.pick("0123456789") for _ in range(self.random.randint(2, 6)))
        letter = self.pick("ABCDEFGHKLMNPQRSTUVWXZ")
        return self.pick(
            (
                digits,
                digits,
                digits,
                f"{letter}{digits}",
                f"{digits[:2]}-{digits}",
                f"{letter}-{digits}",
            )
        )

    def secret(self) -> str:
        """Return a code or an invented word."""
        return (
            self.code() if self.chance(0.7) else self.pick((self.names.word(), self.names.name()))
        )

    def day(self) -> date:
        """Return a date."""
        return _FIRST_DAY + timedelta(days=self.random.randrange(1800))

    def day_text(self) -> str:
        """Return a date as people write it."""
        day, month = self.day(), self.pick(words.MONTHS)
        return self.pick(
            (
                f"{day.day} {month}",
                f"{month} {day.day}",
                day.isoformat(),
                f"{day.day} {month} {day.year - 30}",
            )
        )

    def clock(self) -> str:
        """Return a time of the day."""
        return f"{self.random.randrange(24):02d}:{self.random.choice((0, 5, 10, 15, 20, 30, 40, 45, 50)):02d}"

    def favourite(self, thing: str) -> str:
        """Return a value that suits a favourite of this kind."""
        lists = {
            "colour": words.COLOURS,
            "food": words.FOODS,
            "dish": words.FOODS,
            "fruit": words.FOODS,
            "vegetable": words.FOODS,
            "dessert": words.FOODS,
            "cheese": words.FOODS,
            "drink": words.DRINKS,
            "tea": words.FOODS,
            "animal": words.ANIMALS,
            "bird": words.ANIMALS,
            "sport": words.SPORTS,
            "game": words.SPORTS,
            "season": words.SEASONS,
            "day": words.DAYS,
            "month": words.MONTHS,
            "subject": words.TOPICS,
        }
        if thing == "hobby":
            return self.common(words.HOBBIES)
        if thing == "number":
            return self.number()
        if thing in lists:
            return self.common(lists[thing])
        if thing in {"city", "place", "country", "restaurant"}:
            return self.place()
        return self.title() if thing in {"book", "film", "song", "movie"} else self.person()
