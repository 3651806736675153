"""
Markdown to HTML that is safe to put into a page.

What a model or a person writes is not trusted: HTML in it is shown as text, links lead only to web
and mail addresses, and images stay links, since loading one would tell a stranger's server.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from lab.widgets.mathml import to_mathml

LINK_SCHEMES = {"http", "https", "mailto"}


class _Renderer(RendererHTML):
    def link_open(
        self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
    ) -> str:
        token = tokens[index]
        token.attrSet("target", "_blank")
        token.attrSet("rel", "noopener noreferrer nofollow")
        return self.renderToken(tokens, index, options, env)

    def image(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        token = tokens[index]
        link = Token("link_open", "a", 1, attrs={"href": str(token.attrGet("src") or "")})
        opening = self.link_open([link], 0, options, env)
        return opening + (self.renderInlineAsText(token.children, options, env) or "image") + "</a>"


def to_html(text: str) -> str:
    """
    Return Markdown as HTML: tables, highlighted code, formulas; nothing that runs.

    >>> to_html("**bold** <script>alert(1)</script>").strip()
    '<p><strong>bold</strong> &lt;script&gt;alert(1)&lt;/script&gt;</p>'
    """
    html: str = _parser.render(text)
    return html


def _highlight(code: str, language: str, _attributes: str) -> str:
    """Return the code with a class per token; an empty string lets the parser escape it."""
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return ""
    html: str = highlight(code, lexer, HtmlFormatter(nowrap=True))
    return html


def _is_safe(url: str) -> bool:
    try:
        return urlsplit(url.strip()).scheme.lower() in LINK_SCHEMES
    except ValueError:
        return False


def _formula(latex: str, options: dict[str, Any]) -> str:
    return to_mathml(latex, block=options["display_mode"])


def _new_parser() -> MarkdownIt:
    parser = MarkdownIt(
        "commonmark",
        {"html": False, "breaks": True, "highlight": _highlight},
        renderer_cls=_Renderer,
    )
    parser.enable(["table", "strikethrough"])
    parser.use(
        dollarmath_plugin,
        allow_labels=False,
        allow_space=False,
        allow_digits=False,
        double_inline=True,
        renderer=_formula,
    )
    parser.validateLink = _is_safe  # type: ignore[method-assign]
    return parser


_parser = _new_parser()
