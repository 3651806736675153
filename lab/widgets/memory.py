"""Who holds which memory of the devices, and why: live, in a notebook or a page of its own."""

import asyncio
from concurrent.futures import Future
from html import escape
from pathlib import Path
from typing import Any

from anywidget import AnyWidget
from traitlets import Unicode

from lab.client import Lab
from lab.errors import LabError
from lab.schemas.decision import Decision
from lab.schemas.device_account import DeviceAccount
from lab.schemas.residency import Residency
from lab.schemas.resident import Resident
from lab.units import sized

FOLDER = Path(__file__).parent

N_COLOURS = 6
"""Of segments; more models share them."""

SHOWN_DECISIONS = 12


class MemoryMonitor(AnyWidget):
    """
    The ledger of device memory as it changes.

    It looks again every two seconds as long as a page shows it. Make it in a cell: it works on the
    kernel's event loop.

    Parameters
    ----------
    lab : Lab
        From `lab.connect()`.
    """

    _esm = FOLDER / "memory.js"
    _css = FOLDER / "memory.css"

    html = Unicode("<p>Looking …</p>", help="What is shown.").tag(sync=True)
    problem = Unicode(help="Why it is not what stands now.").tag(sync=True)

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self._lab = lab
        # JupyterLab's messages may arrive in another thread; everything is done on this loop.
        self._loop = asyncio.get_running_loop()
        self._looking: Future[None] | None = None
        self.on_msg(self._told)

    def _told(self, _widget: object, _content: dict[str, Any], _buffers: object) -> None:
        """Look again, unless a look is under way."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.run_coroutine_threadsafe(self._look(), self._loop)

    async def _look(self) -> None:
        try:
            self.html = residency_html(await self._lab.residents.report())
            self.problem = ""
        except LabError as error:
            self.problem = str(error)


def residency_html(residency: Residency) -> str:
    """Return the account as HTML."""
    if not residency.models:
        models = "<p>No model is in memory; each is loaded when it is first asked for.</p>"
    else:
        devices = (
            _device(one, [m for m in residency.models if one.device in (m.device, *m.beside)])
            for one in residency.devices
        )
        models = "".join(devices)
    return models + _decisions(residency.decisions[:SHOWN_DECISIONS])


def _device(account: DeviceAccount, models: list[Resident]) -> str:
    """Return a device: a bar of what is taken, and a table of who has it."""
    shares = [
        (f"{_colour(i)} {kind}", n_bytes)
        for i, model in enumerate(models)
        for kind, n_bytes in (
            ("lab-used", model.used_bytes),
            ("lab-promised", max(model.taken_bytes - model.used_bytes, 0)),
        )
    ]
    bar = "".join(
        f'<span class="{kind}" style="flex-grow:{n_bytes}"></span>'
        for kind, n_bytes in [*shares, ("lab-room", account.room_bytes)]
        if n_bytes
    )
    limit = "" if account.budget_bytes is None else f" of {sized(account.budget_bytes)}"
    said = f"{sized(account.taken_bytes)}{limit} taken, room for {sized(account.room_bytes)}"
    rows = "".join(_row(model, _colour(i)) for i, model in enumerate(models))
    return (
        f"<section><h3>{escape(account.device)}</h3><p>{said}</p>"
        f'<div class="lab-memory-bar" role="img" aria-label="{said}">{bar}</div>'
        "<table><thead><tr><th>model</th><th>form</th><th>uses</th><th>weights</th><th>taken</th><th>stays</th>"
        f"<th>in use</th></tr></thead><tbody>{rows}</tbody></table></section>"
    )


def _row(model: Resident, colour: str) -> str:
    purposes = [lease.purpose for lease in model.leases]
    use = ", ".join(f"{purposes.count(p)} {escape(p)}" for p in dict.fromkeys(purposes))
    idle = f"no, for {model.idle_s:.0f} s" if model.state == "resident" else str(model.state)
    stays = "pinned" if model.pinned else f"priority {model.priority}"
    return (
        f'<tr><th scope="row"><span class="lab-memory-dot {colour} lab-used"></span>'
        f"{escape(model.model)}</th><td>{escape(model.form)}</td>"
        f"<td>{sized(model.used_bytes)}</td><td>{_weights(model)}</td>"
        f"<td>{sized(model.taken_bytes)}</td>"
        f"<td>{stays}</td><td>{use or idle}</td></tr>"
    )


def _weights(model: Resident) -> str:
    return "unknown" if model.weight_bytes is None else sized(model.weight_bytes)


def _decisions(decisions: list[Decision]) -> str:
    if not decisions:
        return ""
    items = "".join(
        f'<li><time datetime="{one.at.isoformat()}">{one.at.astimezone():%H:%M:%S}</time> '
        f"<b>{escape(one.model)}</b> {one.kind}: {escape(one.reason)}</li>"
        for one in decisions
    )
    return f"<h3>Why</h3><ul>{items}</ul>"


def _colour(i: int) -> str:
    return f"lab-memory-{i % N_COLOURS}"
