"""The receipt under an answer: what the model saw, why, and what it cost."""

from collections.abc import Iterable
from html import escape

from lab.schemas.member_receipt import MemberReceipt
from lab.schemas.receipt import Receipt
from lab.schemas.receipt_item import ReceiptItem
from lab.schemas.route import Route
from lab.schemas.route_source import RouteSource
from lab.schemas.run import Run
from lab.schemas.source_kind import SourceKind
from lab.schemas.usage import Usage

NAMES = {
    SourceKind.system: "System prompt",
    SourceKind.document: "Documents",
    SourceKind.summary: "Summaries",
    SourceKind.memory: "Memories",
    SourceKind.fact: "Facts",
    SourceKind.recent: "Recent messages",
    SourceKind.question: "Question",
}
"""How the kinds are called, in the order of the window."""


def receipt_html(run: Run) -> str:
    """Return the receipt of a run as HTML."""
    if run.receipt is None:
        return "<p>This run ended before anything was put before the model.</p>"
    receipt = run.receipt
    members = "".join(map(_member, receipt.members))
    return _account(receipt) + _pieces(receipt.items) + members + _footer(run)


def _member(seen: MemberReceipt) -> str:
    """Return what one of a team saw and used, folded."""
    used = seen.usage
    facts = [
        f"{seen.n_tokens:,} of {seen.context_length:,} tokens of {escape(seen.model)}’s window",
        f"{used.prompt_tokens:,} + {used.completion_tokens:,} tokens" if used else "",
        f"could not answer: {escape(seen.error)}" if seen.error else "",
    ]
    return (
        f'<details class="lab-member"><summary>Member <b>{escape(seen.profile)}</b>: '
        f"{' · '.join(filter(None, facts))}</summary>{_pieces(seen.items)}</details>"
    )


def _account(receipt: Receipt) -> str:
    """Return the bar of the window's tokens, and its legend."""
    shares = _shares(receipt)
    bar = "".join(
        f'<span class="lab-share lab-kind-{kind}" style="flex-grow:{n_tokens}"></span>'
        for kind, _, n_tokens in shares
    )
    legend = "".join(
        f'<li><span class="lab-dot lab-kind-{kind}"></span>{name} <b>{n_tokens:,}</b></li>'
        for kind, name, n_tokens in shares
    )
    said = ", ".join(f"{name} {n_tokens}" for _, name, n_tokens in shares)
    return (
        f'<p class="lab-account">{receipt.n_tokens:,} of {receipt.context_length:,} tokens'
        f" of <b>{escape(receipt.model)}</b>’s window</p>"
        f'<div class="lab-bar" role="img" aria-label="Tokens: {said}">{bar}</div>'
        f'<ul class="lab-legend">{legend}</ul>{_waiting(receipt.n_waiting)}{_route(receipt.route)}'
    )


def _route(route: Route | None) -> str:
    """Say by which workflow it was answered, where that was not simply the chat's."""
    if route is None or (route.source is RouteSource.default and not route.reason):
        return ""
    wanted = f", which wants <b>{route.intent.value}</b>" if route.intent else ""
    sure = "" if route.confidence is None else f" ({route.confidence:.0%})"
    chosen = {
        RouteSource.request: "chosen by the request",
        RouteSource.profile: "chosen by the profile",
        RouteSource.intent: f"chosen by the message{wanted}{sure}",
        RouteSource.default: "as nothing else was told",
    }[route.source]
    reason = f" {escape(route.reason)}" if route.reason else ""
    return f"<p>Workflow <b>{escape(route.workflow)}</b>, {chosen}.{reason}</p>"


def _waiting(n: int) -> str:
    """Say that memories were looked for by their words alone."""
    if not n:
        return ""
    return (
        f"<p>{n:,} memories were made by another embedding model and looked for by their words "
        "alone, until the operator runs <code>lab db reembed</code>.</p>"
    )


def _shares(receipt: Receipt) -> list[tuple[str, str, int]]:
    """Return (kind, name, tokens) of everything that takes space in the window."""
    spent = {kind: 0 for kind in NAMES}
    for item in receipt.items:
        if item.included:
            spent[item.kind] += item.n_tokens
    free = receipt.context_length - receipt.n_tokens - receipt.answer_tokens
    shares = [
        *((kind.value, NAMES[kind], n_tokens) for kind, n_tokens in spent.items()),
        ("template", "Chat template", receipt.n_tokens - sum(spent.values())),
        ("answer", "Kept for the answer", receipt.answer_tokens),
        ("free", "Free", free),
    ]
    return [share for share in shares if share[2] > 0]


def _pieces(items: Iterable[ReceiptItem]) -> str:
    """Return the pieces by kind; those left out come last and folded."""
    items = list(items)
    groups = [
        (name, [i for i in items if i.kind is kind and i.included]) for kind, name in NAMES.items()
    ]
    html = "".join(f"<h4>{name}</h4>{_list(found)}" for name, found in groups if found)
    left_out = [item for item in items if not item.included]
    if left_out:
        html += (
            f'<details class="lab-left-out"><summary>Left out ({len(left_out)})</summary>'
            f"{_list(left_out)}</details>"
        )
    return html


def _list(items: Iterable[ReceiptItem]) -> str:
    return f'<ul class="lab-pieces">{"".join(map(_piece, items))}</ul>'


def _piece(item: ReceiptItem) -> str:
    facts = [
        escape(item.role.value) if item.role else "",
        f"shared by {escape(item.shared_by)}" if item.shared_by else "",
        f"{escape(item.source)}, characters {item.start:,}–{item.end:,}" if item.source else "",
        f'<time datetime="{item.said_at.isoformat()}">{item.said_at:%Y-%m-%d %H:%M}</time>'
        if item.said_at
        else "",
        f"score {item.score:.2f}" if item.score is not None else "",
        f"{item.n_tokens} tokens" if item.n_tokens else "",
        escape(item.reason),
    ]
    return (
        f'<li class="lab-piece lab-edge-{item.kind.value}"><p>{escape(item.text)}</p>'
        f"<small>{' · '.join(filter(None, facts))}</small></li>"
    )


def _footer(run: Run) -> str:
    cost = _cost(run.usage) if run.usage else ""
    seed = run.parameters.get("seed")
    facts = [cost, f"seed {seed}" if seed is not None else "", f"run <code>{run.id}</code>"]
    return f'<p class="lab-cost">{" · ".join(filter(None, facts))}</p>'


def _cost(usage: Usage) -> str:
    return (
        f"{usage.prompt_tokens:,} + {usage.completion_tokens:,} tokens"
        f" · first after {usage.queue_ms + usage.first_token_ms:,.0f} ms"
        f" · {usage.total_ms:,.0f} ms in all"
    )
