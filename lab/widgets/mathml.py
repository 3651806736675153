"""LaTeX to MathML, which browsers draw without a script from elsewhere."""

from html import escape, unescape
from xml.etree.ElementTree import Element, tostring

from latex2mathml import exceptions
from latex2mathml.converter import convert_to_element

# What a malformed formula makes the converter raise; its own errors share no base class.
FAILURES = (
    exceptions.DenominatorNotFoundError,
    exceptions.DoubleSubscriptsError,
    exceptions.DoubleSuperscriptsError,
    exceptions.ExtraLeftOrMissingRightError,
    exceptions.InvalidAlignmentError,
    exceptions.InvalidStyleForGenfracError,
    exceptions.InvalidWidthError,
    exceptions.LimitsMustFollowMathOperatorError,
    exceptions.MissingEndError,
    exceptions.MissingSuperScriptOrSubscriptError,
    exceptions.NoAvailableTokensError,
    exceptions.NumeratorNotFoundError,
    IndexError,
    KeyError,
    RecursionError,
    StopIteration,
    ValueError,
)
# `\href`, `\style` and `\class` write these; a formula has no need of them.
UNSAFE = {"href", "style", "class"}


def to_mathml(latex: str, *, block: bool) -> str:
    """
    Return a formula as MathML; one that cannot be read stays as its source.

    >>> to_mathml("x^2", block=False)
    '<math display="inline"><mrow><msup><mi>x</mi><mn>2</mn></msup></mrow></math>'
    """
    try:
        formula = convert_to_element(latex)
    except FAILURES:
        return f"<code>{escape(latex)}</code>"
    math = Element("math", {"display": "block" if block else "inline"})
    for child in formula:
        math.append(_cleaned(child))
    return tostring(math, encoding="unicode")


def _cleaned(node: Element) -> Element:
    """Return a copy whose texts hold characters, not entities, and which links to nothing."""
    kept = {key: value for key, value in node.attrib.items() if key.lower() not in UNSAFE}
    copy = Element(node.tag, {key: unescape(value) for key, value in kept.items()})
    copy.text = unescape(node.text or "")
    copy.tail = unescape(node.tail or "")
    for child in node:
        copy.append(_cleaned(child))
    return copy
