"""Models that share a device's memory: who comes, who waits, who leaves, and what is said of it."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from functools import partial

import pytest

from lab.errors import ConflictError, ModelLoadError, NoRoomError, UnavailableError
from lab.pipelines.ledger import Holding, Ledger, Use
from lab.pipelines.need import MemoryNeed, Prospect
from lab.pipelines.residency import Growth, Loader, Residents
from lab.schemas.chat_config import Quantization
from lab.schemas.decision_kind import DecisionKind
from lab.schemas.residency_state import ResidencyState

DEVICE = "cpu"
FREE = 1_000_000
NONE = Quantization.none


def size_of(name: str) -> int:
    """Return the bytes that the name of a model says."""
    return int(name.split("-")[1])


class Weights:
    """A pipeline that is nothing but its bytes."""

    def __init__(self, device: "Device", name: str, n_bytes: int) -> None:
        self.name = name
        self.n_bytes = n_bytes
        self._device = device
        device.alive.append(self)

    @property
    def weight_bytes(self) -> int:
        return min(self.n_bytes, size_of(self.name))

    def rest(self) -> None:
        self.n_bytes = size_of(self.name)

    def close(self) -> None:
        self._device.alive.remove(self)
        self.n_bytes = 0


class Device:
    """A device of 1,000 bytes; a model's number in its name is what it takes."""

    def __init__(self) -> None:
        self.devices = [DEVICE]
        self.beside: dict[str, tuple[str, ...]] = {}
        """Of models whose name begins with `wide`."""
        self.alive: list[Weights] = []
        self.loads: list[str] = []
        self.faults: list[Exception] = []
        self.growths: dict[str, Growth] = {}
        self.go = threading.Event()
        self.go.set()

    def loader(self, name: str) -> Loader[Quantization, Weights]:
        return Loader(partial(self.foretell, name), partial(self.load, name))

    @property
    def used(self) -> int:
        return sum(one.n_bytes for one in self.alive)

    def foretell(self, name: str) -> Prospect[Quantization]:
        size = size_of(name)
        forms = {NONE: size, Quantization.int8: size // 2, Quantization.nf4: size // 4}
        wanted = None if name.startswith("auto") else NONE
        needs = {form: MemoryNeed(n, 0, 0) for form, n in forms.items()}
        if name.startswith("wide"):
            firsts = list(self.beside)
            return Prospect(
                name, firsts, "to answer", "Ask for less.", needs, wanted, beside=self.beside
            )
        return Prospect(name, self.devices, "to answer", "Ask for less.", needs, wanted)

    def load(self, name: str, form: Quantization, growth: Growth) -> Weights:
        self.loads.append(name)
        self.growths[name] = growth
        if name.startswith("served"):  # which looks whether it is wanted yet
            while not self.go.wait(0.001):
                if growth.closes.is_set():
                    raise ModelLoadError("Its server was closed.")
        assert self.go.wait(10)
        if self.faults:
            raise self.faults.pop()
        return Weights(self, name, self.foretell(name).needs[form].total)


class Lab:
    """Residents of a device, by the names of models."""

    def __init__(self, device: Device, budget: int = 1000, wait_s: float = 5) -> None:
        self.now = 0.0
        self.ledger = Ledger(budget, lambda _: FREE - device.used, clock=lambda: self.now)
        self.device = device
        self.residents = Residents(self.ledger, wait_s=wait_s, on_import=lambda: None)

    def lease(self, name: str) -> AbstractAsyncContextManager[Weights]:
        return self.residents.lease(name, self.device.loader(name), purpose="answer")

    async def touch(self, *names: str) -> None:
        """Use models one after the other, a second each."""
        for name in names:
            async with self.lease(name):
                self.now += 1

    async def use(self, name: str, ended: asyncio.Event) -> None:
        """Use a model until an event."""
        async with self.lease(name):
            await ended.wait()

    @property
    def there(self) -> set[str]:
        return set(self.residents.loaded)

    def said(self, kind: DecisionKind) -> list[tuple[str, str]]:
        """Return the models and reasons of decisions of a kind, the oldest first."""
        return [(one.model, one.reason) for one in self.ledger.decisions if one.kind is kind]


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
async def lab(device: Device) -> AsyncIterator[Lab]:
    lab = Lab(device)
    yield lab
    await lab.residents.aclose()
    assert device.used == 0
    assert lab.ledger.holdings == {}


async def settled(n_turns: int = 30) -> None:
    """Let threads and callbacks do what they can."""
    for _ in range(n_turns):
        await asyncio.sleep(0.001)


async def test_many_who_ask_at_once_load_once(lab: Lab) -> None:
    async with AsyncExitStack() as stack:
        found = await asyncio.gather(
            *(stack.enter_async_context(lab.lease("a-400")) for _ in range(8))
        )
        assert len({id(one) for one in found}) == 1
        assert len(lab.ledger.holdings["a-400"].uses) == 8
    assert lab.device.loads == ["a-400"]
    assert not lab.ledger.holdings["a-400"].uses


async def test_an_unused_model_leaves_for_another_and_both_are_told_of(lab: Lab) -> None:
    await lab.touch("a-600", "b-600")

    assert lab.there == {"b-600"}
    assert lab.said(DecisionKind.evicted) == [
        (
            "a-600",
            "unused for 0.0 s, priority 0: its 0.0 MB go to `b-600`, which needs 0.0 MB",
        )
    ]
    assert lab.device.used == 600


async def test_what_is_longest_unused_for_its_size_leaves_first(lab: Lab) -> None:
    await lab.touch("old-300", "mid-300", "new-300", "d-300")

    assert lab.there == {"mid-300", "new-300", "d-300"}


async def test_a_low_priority_leaves_before_what_is_older(lab: Lab) -> None:
    await lab.touch("old-300", "mid-300", "new-300")
    lab.ledger.prioritise("new-300", -1)
    await lab.touch("d-300")

    assert lab.there == {"old-300", "mid-300", "d-300"}


async def test_no_more_leave_than_have_to(lab: Lab) -> None:
    await lab.touch("small-100", "large-700", "d-800")
    assert lab.there == {"small-100", "d-800"}


async def test_a_pinned_model_stays_and_what_fits_only_without_it_is_refused(lab: Lab) -> None:
    lab.ledger.pin("a-600", pinned=True)
    await lab.touch("a-600")
    with pytest.raises(NoRoomError, match=r"`b-600` does not fit.*besides `a-600`"):
        await lab.touch("b-600")
    assert lab.there == {"a-600"}
    assert lab.said(DecisionKind.refused)[0][0] == "b-600"

    lab.ledger.pin("a-600", pinned=False)
    await lab.touch("b-600")
    assert lab.there == {"b-600"}


async def test_auto_takes_the_first_form_that_fits_the_device(lab: Lab) -> None:
    await lab.touch("auto-1600")

    assert lab.ledger.holdings["auto-1600"].form is Quantization.int8
    assert "none would need" in lab.said(DecisionKind.loaded)[0][1]


async def test_what_never_fits_is_refused_before_it_is_loaded(lab: Lab) -> None:
    with pytest.raises(NoRoomError, match="LAB_CHAT_QUANTIZATION=int8"):
        await lab.touch("a-1600")
    assert lab.device.loads == []


async def test_a_request_waits_for_a_model_in_use_to_leave(lab: Lab) -> None:
    async with lab.lease("a-600"):
        waiting = asyncio.create_task(lab.touch("b-600"))
        await settled()
        assert lab.there == {"a-600"}
        (waits,) = lab.said(DecisionKind.waiting)
        assert "`a-600` (1 in use)" in waits[1]
    await waiting
    assert lab.there == {"b-600"}


async def test_nobody_is_overtaken_for_ever(lab: Lab) -> None:
    """While `b` waits for `a` to leave, who asks for `a` comes after it."""
    ended = asyncio.Event()
    first = asyncio.create_task(lab.use("a-600", ended))
    await settled()
    order: list[str] = []

    async def noted(name: str) -> None:
        async with lab.lease(name):
            order.append(name)

    later = []
    for name in ("b-600", "a-600", "b-600", "a-600"):
        later.append(asyncio.create_task(noted(name)))
        await settled()
    assert order == []
    ended.set()
    await asyncio.gather(first, *later)

    assert order == ["b-600", "b-600", "a-600", "a-600"]
    assert lab.device.loads == ["a-600", "b-600", "a-600"]


async def test_nobody_is_overtaken_by_those_who_have_what_never_leaves(lab: Lab) -> None:
    """As every turn of a chat has the embedding model."""
    lab.ledger.pin("embedding-100", pinned=True)
    ended = asyncio.Event()
    first = asyncio.create_task(lab.use("a-600", ended))
    await settled()
    order: list[str] = []

    async def turn(name: str) -> None:
        async with lab.lease("embedding-100"), lab.lease(name):
            order.append(name)

    later = []
    for name in ("b-600", "a-600"):
        later.append(asyncio.create_task(turn(name)))
        await settled()
    ended.set()
    await asyncio.gather(first, *later)

    assert order == ["b-600", "a-600"]


async def test_eight_clients_take_turns_at_two_models_that_do_not_fit_together(lab: Lab) -> None:
    async def client(i: int) -> None:
        for turn in range(10):
            name = ("a-600", "b-600")[(i + turn) % 2]
            async with lab.lease(name) as weights:
                for _ in range(3):
                    await asyncio.sleep(0)
                    assert weights.name == name
                    assert weights.n_bytes == 600  # never taken away in between

    await asyncio.gather(*(client(i) for i in range(8)))

    switches = lab.said(DecisionKind.evicted)
    assert len(switches) == len(lab.device.loads) - 1
    assert all("go to" in reason for _, reason in switches)
    assert len(switches) < 80  # by batches of requests, not by each


async def test_who_waits_too_long_is_told(device: Device) -> None:
    lab = Lab(device, wait_s=0.05)
    ended = asyncio.Event()
    using = asyncio.create_task(lab.use("a-600", ended))
    await settled()
    with pytest.raises(NoRoomError, match=r"no room within 0.05 s beside `a-600`"):
        await lab.touch("b-600")
    ended.set()
    await using
    await lab.touch("b-600")
    await lab.residents.aclose()


async def test_who_would_wait_for_oneself_is_refused_at_once(lab: Lab) -> None:
    async with lab.lease("a-600"):
        with pytest.raises(NoRoomError, match="waits for another model too"):
            await lab.touch("b-600")
        async with lab.lease("a-600"):  # once more is no problem
            pass


async def test_two_who_wait_for_each_other_do_not_wait_for_ever(lab: Lab) -> None:
    both = asyncio.Barrier(2)

    async def client(first: str, second: str) -> None:
        async with lab.lease(first):
            await both.wait()
            async with lab.lease(second):
                pass

    outcomes = await asyncio.gather(
        client("a-400", "c-500"), client("b-400", "d-500"), return_exceptions=True
    )
    assert [type(one) for one in outcomes if one is not None] == [NoRoomError]


async def test_a_failed_load_fails_all_who_wait_and_may_be_tried_again(lab: Lab) -> None:
    lab.device.faults = [ModelLoadError("The disk is gone.")]
    outcomes = await asyncio.gather(lab.touch("a-400"), lab.touch("a-400"), return_exceptions=True)
    assert [type(one) for one in outcomes] == [ModelLoadError, ModelLoadError]
    assert lab.ledger.holdings == {}
    assert lab.said(DecisionKind.failed) == [("a-400", "The disk is gone.")]

    await lab.touch("a-400")
    assert lab.device.loads == ["a-400"] * 2


async def test_who_gives_up_does_not_end_the_load(lab: Lab) -> None:
    lab.device.go.clear()
    impatient, patient = (asyncio.create_task(lab.touch("a-400")) for _ in range(2))
    await settled()
    impatient.cancel()
    lab.device.go.set()
    await patient

    assert impatient.cancelled()
    assert not lab.ledger.holdings["a-400"].uses


async def test_who_gives_up_waiting_lets_the_others_pass(lab: Lab) -> None:
    async with lab.lease("a-600"):
        impatient = asyncio.create_task(lab.touch("b-600"))
        await settled()
        patient = asyncio.create_task(lab.touch("a-600"))
        await settled()
        assert not patient.done()
        impatient.cancel()
        await asyncio.wait_for(patient, 1)


async def test_unload_is_for_models_that_nobody_uses(lab: Lab) -> None:
    async with lab.lease("a-600"):
        with pytest.raises(ConflictError, match="1 leases"):
            await lab.residents.unload("a-600", "asked for")
    await lab.residents.unload("a-600", "asked for")
    assert lab.device.used == 0
    await lab.residents.unload("a-600", "asked for")  # as asked for: it is not there


async def test_unload_ends_a_load_that_nobody_waits_for(lab: Lab) -> None:
    lab.device.go.clear()
    impatient = asyncio.create_task(lab.touch("served-600"))
    await settled()
    impatient.cancel()
    await settled()
    assert lab.ledger.room(DEVICE) == 400  # it goes on: whoever asks again finds it further

    await asyncio.wait_for(lab.residents.unload("served-600", "asked for"), 5)
    assert lab.ledger.holdings == {}
    assert lab.ledger.room(DEVICE) == 1000
    assert lab.said(DecisionKind.unloaded) == [("served-600", "asked for")]
    assert lab.said(DecisionKind.failed) == []


@pytest.mark.parametrize("name", ["served-600", "deaf-600"])
async def test_unload_tells_who_waits_for_the_load(lab: Lab, name: str) -> None:
    lab.device.go.clear()
    waiting = asyncio.create_task(lab.touch(name))
    await settled()
    unloads = [asyncio.create_task(lab.residents.unload(name, "asked for")) for _ in range(2)]
    with pytest.raises(UnavailableError, match=f"`{name}` was unloaded before.*: asked for"):
        await asyncio.wait_for(waiting, 5)
    newcomer = asyncio.create_task(lab.touch(name))
    await settled()
    assert lab.ledger.room(DEVICE) == 400  # while the first ends, or the second comes
    lab.device.go.set()
    await asyncio.wait_for(asyncio.gather(*unloads, newcomer), 5)

    assert lab.device.loads == [name] * 2
    assert lab.device.used == 600
    assert len(lab.said(DecisionKind.unloaded)) == 1


async def test_a_load_that_nobody_waits_for_ends_for_whoever_needs_its_memory(lab: Lab) -> None:
    lab.device.go.clear()
    waiting = [asyncio.create_task(lab.touch("served-600")) for _ in range(2)]
    await settled()
    needy = asyncio.create_task(lab.touch("served-700"))
    waiting[0].cancel()
    await settled()
    assert lab.device.loads == ["served-600"]  # one waits for it yet
    waiting[1].cancel()
    await settled()
    assert lab.device.loads == ["served-600", "served-700"]
    assert "nobody waits for its load" in lab.said(DecisionKind.evicted)[0][1]
    lab.device.go.set()
    await needy
    assert lab.there == {"served-700"}


async def test_nobody_gets_a_model_that_was_asked_for_before_another_took_its_name(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = threading.Event()
    first = named("mine", lab.device.loader("a-100"))
    second = named("mine", lab.device.loader("b-300"))

    def foretell() -> Prospect[Quantization]:
        assert told.wait(10)
        return first.foretell()

    async def use(loader: Loader[Quantization, Weights]) -> str:
        async with lab.residents.lease("mine", loader, purpose="answer") as weights:
            assert lab.ledger.holdings["mine"].need.total == size_of(weights.name)
            return weights.name

    before = asyncio.create_task(use(replace(first, foretell=foretell)))
    await settled()
    await lab.residents.unload("mine", "removed")
    after = asyncio.create_task(use(second))
    await settled()
    told.set()
    with pytest.raises(UnavailableError, match="removed"):
        await before
    assert await after == "b-300"
    await settled()
    assert lab.there == {"mine"}


async def test_closing_ends_loads(device: Device) -> None:
    lab = Lab(device)
    device.go.clear()
    waiting = asyncio.create_task(lab.touch("served-600"))
    await settled()
    await asyncio.wait_for(lab.residents.aclose(), 5)
    with pytest.raises(UnavailableError, match="closing"):
        await waiting
    assert lab.ledger.holdings == {}


async def test_closing_ends_who_waits(device: Device) -> None:
    lab = Lab(device)
    ended = asyncio.Event()
    using = asyncio.create_task(lab.use("a-600", ended))
    await settled()
    waiting = asyncio.create_task(lab.touch("b-600"))
    await settled()
    await lab.residents.aclose()
    with pytest.raises(UnavailableError, match="closing"):
        await waiting
    with pytest.raises(UnavailableError, match="closing"):
        await lab.touch("c-100")
    assert device.used == 0
    ended.set()
    await using


async def test_models_that_fit_together_load_at_the_same_time(lab: Lab) -> None:
    lab.device.go.clear()
    both = asyncio.gather(lab.touch("a-400"), lab.touch("b-400"))
    await settled()
    states = {one.state for one in lab.ledger.holdings.values()}
    assert set(lab.device.loads) == {"a-400", "b-400"}
    assert states == {ResidencyState.loading}
    lab.device.go.set()
    await both


async def test_who_has_a_model_gets_a_second_that_fits_before_those_who_wait(lab: Lab) -> None:
    """Else it would wait for those who wait for what it has."""
    async with lab.lease("a-600"):
        waiting = asyncio.create_task(lab.touch("b-600"))
        await settled()
        async with lab.lease("c-200"):
            assert not waiting.done()
    await waiting


async def test_who_never_fits_beside_what_grew_is_refused_at_once(lab: Lab) -> None:
    """Answers that made a model grow beyond the budget are no room for others."""
    async with lab.lease("a-600") as weights:
        weights.n_bytes = 1300
        with pytest.raises(NoRoomError, match="`b-1100` does not fit"):
            await lab.touch("b-1100")
        weights.n_bytes = 600


@pytest.fixture
def two(lab: Lab) -> Lab:
    lab.device.devices = ["one", "two"]
    return lab


def places(lab: Lab) -> dict[str, str]:
    return {name: holding.device for name, holding in lab.ledger.holdings.items()}


async def test_a_model_goes_where_nobody_has_to_leave(two: Lab) -> None:
    await two.touch("a-600", "b-600", "c-300")

    assert places(two) == {"a-600": "one", "b-600": "two", "c-300": "one"}
    assert two.said(DecisionKind.evicted) == []


async def test_a_model_goes_where_it_can_be_in_its_best_form(two: Lab) -> None:
    two.ledger.pin("a-600", pinned=True)
    await two.touch("a-600", "b-300", "auto-900")

    assert places(two) == {"a-600": "one", "auto-900": "two"}  # after b-300 left
    assert two.ledger.holdings["auto-900"].form is NONE


async def test_who_waits_for_a_device_takes_whichever_is_free_first(two: Lab) -> None:
    ended = asyncio.Event()
    async with two.lease("a-600"):
        using = asyncio.create_task(two.use("b-600", ended))
        await settled()
        waiting = asyncio.create_task(two.touch("c-600"))
        await settled()
        assert not waiting.done()
        ended.set()
        await asyncio.gather(using, waiting)
    assert places(two) == {"a-600": "one", "c-600": "two"}


async def test_what_fits_no_device_is_refused_by_the_largest(two: Lab) -> None:
    two.ledger.pin("a-600", pinned=True)
    await two.touch("a-600")
    with pytest.raises(NoRoomError, match="of two"):
        await two.touch("b-1100")


@pytest.fixture
def wide(two: Lab) -> Lab:
    """Models called `wide` take as much of the second device as of the first."""
    two.device.beside = {"one": ("two",)}
    return two


async def test_a_model_on_several_devices_is_in_the_account_of_each(wide: Lab) -> None:
    await wide.touch("wide-600")

    (resident,) = wide.ledger.report().models
    assert (resident.device, resident.beside) == ("one", ["two"])
    accounts = {one.device: one.taken_bytes for one in wide.ledger.report().devices}
    assert accounts == {"one": 600, "two": 600}
    assert [wide.ledger.room(name) for name in ("one", "two")] == [400, 400]


async def test_a_model_on_several_devices_makes_room_on_each(wide: Lab) -> None:
    await wide.touch("a-600", "b-600", "wide-600")

    assert places(wide) == {"wide-600": "one"}
    assert {name for name, _ in wide.said(DecisionKind.evicted)} == {"a-600", "b-600"}

    await wide.touch("c-600")  # for which it leaves both
    assert places(wide) == {"c-600": "one"}
    assert wide.ledger.room("two") == 1000


async def test_a_model_on_several_devices_waits_until_each_has_room(wide: Lab) -> None:
    ended, later = asyncio.Event(), asyncio.Event()
    using = asyncio.create_task(wide.use("a-600", ended))
    beside = asyncio.create_task(wide.use("b-600", later))
    await settled()
    waiting = asyncio.create_task(wide.touch("wide-600"))
    await settled()
    ended.set()
    await using
    await settled()
    assert not waiting.done()  # `two` is in use yet
    newcomer = asyncio.create_task(wide.touch("c-600"))
    await settled()
    assert not newcomer.done()  # whoever came first is not overtaken
    later.set()
    await asyncio.gather(beside, waiting, newcomer)
    assert next(iter(wide.said(DecisionKind.waiting)))[0] == "wide-600"


async def test_a_model_on_several_devices_is_refused_where_one_is_too_small(wide: Lab) -> None:
    wide.ledger.pin("b-600", pinned=True)
    await wide.touch("a-600", "b-600")

    with pytest.raises(NoRoomError, match="`wide-600` does not fit"):
        await wide.touch("wide-600")


async def test_what_always_stays_cannot_be_unpinned(device: Device) -> None:
    ledger = Ledger(1000, lambda _: FREE, always=["a-600"])
    with pytest.raises(ConflictError, match="`a-600` always stays"):
        ledger.pin("a-600", pinned=False)
    ledger.pin("a-600", pinned=True)  # which it is


async def test_a_model_in_use_grows_where_there_is_room(lab: Lab) -> None:
    async with lab.lease("a-600"):
        growth = lab.device.growths["a-600"]
        assert growth(900)
        assert growth(1000)
        assert not growth(1001)
        with pytest.raises(NoRoomError):  # what is promised is taken
            await lab.touch("a-600", "b-100")


async def test_unused_models_leave_for_one_that_grows(lab: Lab) -> None:
    await lab.touch("b-300")
    async with lab.lease("a-600"):
        growth = lab.device.growths["a-600"]
        assert not growth(800)
        await settled()
        assert lab.there == {"a-600"}
        assert "go to `a-600`, whose answers grow" in lab.said(DecisionKind.evicted)[0][1]
        assert growth(800)


async def test_an_unused_model_gives_back_what_it_grew_by_before_anybody_leaves(lab: Lab) -> None:
    async with lab.lease("a-300") as weights:
        assert lab.device.growths["a-300"](900)
        weights.n_bytes = 900
    await lab.touch("b-600")

    assert lab.there == {"a-300", "b-600"}
    assert lab.device.used == 900


async def test_no_more_leave_for_one_that_grows_than_have_to(lab: Lab) -> None:
    await lab.touch("b-100", "c-100", "d-100")
    async with lab.lease("a-600"):
        growth = lab.device.growths["a-600"]
        for _ in range(4):  # as answers ask at every step
            assert not growth(750)
        await settled()
        assert len(lab.there) == 3  # one left
        assert growth(750)
        assert not growth(900, insist=False)
        await settled()
        assert len(lab.there) == 3  # nobody leaves for what is not insisted on


async def test_what_fits_only_a_device_that_others_wait_for_waits(two: Lab) -> None:
    two.ledger.pin("p-800", pinned=True)
    async with two.lease("a-900"):  # on one
        await two.touch("p-800")  # on two
        first = asyncio.create_task(two.touch("b-900"))
        await settled()
        second = asyncio.create_task(two.touch("c-900"))
        await settled()
        assert not second.done()
    await asyncio.gather(first, second)


async def test_what_does_not_last_leaves_with_its_last_use(lab: Lab) -> None:
    loader = replace(lab.device.loader("x-300"), lasts=False)
    async with lab.residents.lease("x-300", loader, purpose="own"):
        assert "x-300" in lab.there
    await settled()
    assert lab.there == set()
    lab.device.go.clear()
    giving_up = asyncio.create_task(
        lab.residents.lease("x-300", loader, purpose="own").__aenter__()
    )
    await settled()
    giving_up.cancel()
    await settled()
    lab.device.go.set()
    await settled()
    assert lab.ledger.holdings == {}


async def test_what_does_not_last_leaves_when_it_is_given_up_as_it_comes(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = replace(lab.device.loader("x-300"), lasts=False)
    waiting = asyncio.create_task(lab.residents.lease("x-300", loader, purpose="own").__aenter__())
    enter = lab.ledger.lease

    def give_up(holding: Holding, use: Use) -> None:
        enter(holding, use)
        waiting.cancel()

    monkeypatch.setattr(lab.ledger, "lease", give_up)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await settled()

    assert lab.ledger.holdings == {}
    assert lab.device.used == 0


async def test_what_a_model_needs_is_found_out_anew_for_each_load(lab: Lab) -> None:
    """Its files may have been exchanged, or another model may have its name."""

    async def taken_by(name: str) -> int:
        loader = named("mine", lab.device.loader(name))
        async with lab.residents.lease("mine", loader, purpose="answer"):
            return lab.ledger.holdings["mine"].need.total

    assert await taken_by("a-100") == 100
    await lab.residents.unload("mine", "removed")
    assert await taken_by("b-700") == 700
    await lab.touch("c-600")  # for which it leaves
    assert await taken_by("d-300") == 300
    await lab.residents.unload("mine", "removed")
    with pytest.raises(NoRoomError, match="`mine` does not fit"):
        await taken_by("e-5000")


def named(name: str, loader: Loader[Quantization, Weights]) -> Loader[Quantization, Weights]:
    """Return a loader of a model that is known by another name."""
    return replace(loader, foretell=lambda: replace(loader.foretell(), name=name))


async def test_a_device_that_cannot_be_asked_keeps_nobody_waiting(device: Device) -> None:
    lab = Lab(device)

    def gone(name: str) -> int:
        raise RuntimeError(f"{name} fell off the bus")

    lab.ledger._free_bytes = gone
    with pytest.raises(RuntimeError, match="fell off the bus"):
        await asyncio.wait_for(lab.touch("a-600"), 5)
