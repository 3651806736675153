"""Facts: slots with values, drawn so that neighbours are easily confused."""

from collections.abc import Callable
from dataclasses import dataclass

from lab.training import slots, words
from lab.training.slots import Slot
from lab.training.values import World


@dataclass(frozen=True)
class Fact:
    """A slot and its value at one moment."""

    slot: Slot
    value: str

    @property
    def answer(self) -> str:
        """The sentence that tells the user this fact."""
        return self.slot.answer.format(v=self.value)

    @property
    def summary(self) -> str:
        """The sentence that tells anybody this fact."""
        return self.slot.summary.format(v=self.value)

    @property
    def title(self) -> str:
        """The fact in a few words."""
        return self.slot.title.format(v=self.value)


@dataclass(frozen=True)
class Cast:
    """The few people and nouns of one dialogue; few, so that facts share them."""

    people: tuple[str, ...]
    kin: tuple[str, ...]
    pets: tuple[str, ...]
    owned: tuple[str, ...]
    places: tuple[str, ...]


def draw_cast(world: World) -> Cast:
    """Draw who and what a dialogue is about."""
    return Cast(
        people=tuple(world.person() for _ in range(3)),
        kin=tuple(world.random.sample(words.KIN, 4)),
        pets=(*world.random.sample(words.PETS, 2), *world.random.sample(words.NAMED_THINGS, 2)),
        owned=tuple(world.random.sample(words.OWNED, 3)),
        places=tuple(world.place() for _ in range(2)),
    )


def draw_slots(world: World, n_slots: int) -> list[Slot]:
    """Draw slots with different keys from one cast."""
    cast = draw_cast(world)
    drawn: dict[str, Slot] = {}
    while len(drawn) < n_slots:
        slot = draw_slot(world, cast)
        drawn.setdefault(slot.key, slot)
        if world.chance(0.05):
            cast = draw_cast(world)
    return list(drawn.values())


def draw_slot(world: World, cast: Cast) -> Slot:
    """Draw one slot."""
    kinds = tuple(_KINDS)
    return _KINDS[world.random.choices(kinds, weights=_WEIGHTS)[0]](world, cast)


def give_value(slot: Slot, other_than: str = "") -> Fact:
    """Give a slot a value."""
    value = slot.value()
    while value == other_than:
        value = slot.value()
    return Fact(slot, value)


def _attribute(world: World, cast: Cast) -> Slot:
    props: dict[str, Callable[[], str]] = {
        "birthday": world.day_text,
        "phone number": world.code,
        "middle name": world.person,
        "nickname": world.person,
        "favourite colour": lambda: world.favourite("colour"),
        "favourite food": lambda: world.favourite("food"),
        "school": world.place,
        "doctor": world.person,
        "surname": world.person,
        "hobby": lambda: world.favourite("hobby"),
    }
    things: dict[str, Callable[[], str]] = {
        "price": world.code,
        "brand": world.company,
        "number": world.code,
        "weight": world.number,
        "maker": world.company,
        "model": world.secret,
    }
    if world.chance(0.3):
        prop = world.pick(tuple(things))
        return slots.attribute(world, world.pick(cast.owned), prop, things[prop])
    prop = world.pick(tuple(props))
    if world.chance(0.5):
        return slots.of_person(world, world.pick(cast.people), prop, props[prop])
    return slots.attribute(world, world.pick((*cast.kin, *cast.pets[:2])), prop, props[prop])


def _somebody(world: World, cast: Cast) -> tuple[str, str]:
    if world.chance(0.6):
        return world.pick(cast.people), ""
    kin = world.pick(cast.kin)
    return f"my {kin}", kin


def _role(world: World, cast: Cast) -> Slot:
    role = world.pick(words.ROLES)
    value = (
        world.place
        if role in {"capital", "biggest city", "river", "population centre"}
        else world.person
    )
    return slots.of_person(world, world.pick(cast.places), role, value)


def _person(world: World, cast: Cast) -> Slot:
    build = world.random.choice((slots.lives, slots.lives, slots.works, slots.ages))
    return build(world, *_somebody(world, cast))


_KINDS: dict[str, Callable[[World, Cast], Slot]] = {
    "kin": lambda world, cast: slots.named(world, world.pick(cast.kin), person=True),
    "pet": lambda world, cast: slots.named(world, world.pick(cast.pets)),
    "favourite": lambda world, cast: slots.favourite(world, world.pick(words.FAVOURITES)),
    "mine": lambda world, cast: slots.mine(world, world.pick(slots.MINE)),
    "attribute": _attribute,
    "number": lambda world, cast: slots.simple(world, world.pick(words.MY_NUMBERS), world.code),
    "name": lambda world, cast: slots.simple(world, world.pick(words.MY_NAMES), world.person),
    "colour": lambda world, cast: slots.colour(world, world.pick(cast.owned)),
    "person": _person,
    "place": lambda world, cast: slots.place_of(world, world.pick(words.THINGS)),
    "code": lambda world, cast: slots.code_of(
        world, world.pick(words.LOCKS), world.pick(words.CODES)
    ),
    "event": lambda world, cast: slots.event(
        world, world.pick(words.EVENTS), world.pick(("day", "time", "place"))
    ),
    "role": _role,
}
_WEIGHTS = (10, 10, 10, 12, 8, 4, 4, 5, 14, 7, 6, 7, 6)
