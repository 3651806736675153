from datetime import UTC, datetime

from lab.schemas.decision import Decision
from lab.schemas.decision_kind import DecisionKind
from lab.schemas.device_account import DeviceAccount
from lab.schemas.lease import Lease
from lab.schemas.residency import Residency
from lab.schemas.residency_state import ResidencyState
from lab.schemas.resident import Resident
from lab.widgets.memory import residency_html

NOW = datetime(2026, 11, 3, 9, 30, tzinfo=UTC)


def account() -> Residency:
    lease = Lease(purpose="<answer>", owner_id=None, since=NOW)
    model = Resident(
        model="<b>large</b>",
        device="cuda:0",
        form="nf4",
        state=ResidencyState.resident,
        foretold_bytes=6_000_000_000,
        used_bytes=4_000_000_000,
        weight_bytes=3_500_000_000,
        taken_bytes=6_000_000_000,
        leases=[lease, lease],
        pinned=False,
        priority=3,
        idle_s=0,
    )
    device = DeviceAccount(
        device="cuda:0",
        budget_bytes=10_000_000_000,
        free_bytes=9_000_000_000,
        taken_bytes=6_000_000_000,
        room_bytes=4_000_000_000,
    )
    decision = Decision(
        at=NOW, kind=DecisionKind.evicted, model="small", device="cuda:0", reason="its 1 GB <i>go"
    )
    return Residency(devices=[device], models=[model], decisions=[decision])


def test_names_and_reasons_stand_there_as_text() -> None:
    html = residency_html(account())

    assert "&lt;b&gt;large&lt;/b&gt;" in html
    assert "2 &lt;answer&gt;" in html
    assert "<td>4.0 GB</td><td>3.5 GB</td>" in html
    assert "its 1 GB &lt;i&gt;go" in html


def test_the_bar_shows_what_is_used_promised_and_free() -> None:
    html = residency_html(account())

    assert "6.0 GB of 10.0 GB taken, room for 4.0 GB" in html
    for part, n_bytes in (("lab-used", 4), ("lab-promised", 2), ("lab-room", 4)):
        assert f'{part}" style="flex-grow:{n_bytes}000000000"' in html


def test_an_empty_lab_says_so() -> None:
    html = residency_html(Residency(devices=[], models=[], decisions=[]))
    assert "No model is in memory" in html
