"""HTML pages for people: one self-contained file each, light and dark, readable on a phone.

    page("Quality of batch 1", section("Reasons", table(["rule", "rows"], [["size", 3]])), sentence="FAIL: ...")

Whatever is given as text is escaped. Only what these functions return is taken as HTML, so nest them freely and
build no HTML elsewhere. A page asks for nothing from anywhere: styles and pictures are inside, and a content
security policy lets neither scripts nor requests through, should a mistake ever let one in.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from stepzero.adapters.pages_style import STYLE

__all__ = [
    "badge",
    "beside",
    "drawing",
    "escape",
    "facts",
    "folded",
    "link",
    "page",
    "picture",
    "section",
    "table",
    "text",
]

State: TypeAlias = Literal["good", "warning", "bad", ""]
Cell: TypeAlias = object
"""Text, a number, or what one of these functions returned; None is shown as an empty cell."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_WIDE = 6
"""Tables with more columns scroll sideways on a phone; others become one block per row."""
_PROLOGUE = re.compile(r"^.*?(?=<svg\b)", re.DOTALL)
_NUMBER = re.compile(r"[-−+]?(?:\d{1,3}(?:,\d{3})+|\d{1,15})(?:\.\d+)?(?:e[-+]?\d+)?\s*%?")
_LEADS_AWAY = re.compile(r"https?://[^\s]+|/(?!/)[^\s]*|#[\w.-]+")

_TEMPLATES = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
_PAGE = _TEMPLATES.from_string("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{{ title }}</title>
<style>{{ style }}</style>
</head>
<body>
<main>
<header>
<h1>{{ title }}</h1>
{% if sentence %}
<p class="sentence {{ state }}">{{ sentence }}</p>
{% endif %}
</header>
{% for part in parts %}
{{ part }}
{% endfor %}
</main>
</body>
</html>
""")
_SECTION = _TEMPLATES.from_string("""\
<section>
<h2>{{ heading }}</h2>
{% for part in parts %}
{{ part }}
{% endfor %}
</section>
""")
_TABLE = _TEMPLATES.from_string("""\
<div class="{{ 'scroll' if wide else 'stack' }}" tabindex="0" role="region" aria-label="{{ caption or 'table' }}">
<table>
{% if caption %}
<caption>{{ caption }}</caption>
{% endif %}
<thead><tr>{% for name in columns %}<th scope="col"{% if loop.index0 in right %} class="number"{% endif %}>\
{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}
<tr>{% for cell in row %}<td data-label="{{ columns[loop.index0] }}"\
{% if loop.index0 in right %} class="number"{% endif %}>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
</div>
""")
_FACTS = _TEMPLATES.from_string("""\
<dl class="facts">
{% for name, value in pairs %}
<div><dt>{{ name }}</dt><dd>{{ value }}</dd></div>
{% endfor %}
</dl>
""")
_FIGURE = _TEMPLATES.from_string("""\
<figure{% if not themed %} class="paper{{ ' wide' if wide }}"{% endif %} role="img" aria-label="{{ alt }}">
{{ inside }}
{% if caption %}
<figcaption>{{ caption }}</figcaption>
{% endif %}
</figure>
""")


def page(title: str, *parts: object, sentence: str = "", state: State = "") -> bytes:
    """Return a whole page.

    Args:
        title: Heading, and name of the browser's tab.
        parts: What the page holds, in order.
        sentence: The one sentence to read if there is time for no more.
        state: Colours the sentence.
    """
    style = Markup(STYLE)  # noqa: S704 - a constant of ours
    made = _PAGE.render(title=title, parts=parts, sentence=sentence, state=state, policy=POLICY, style=style)
    return made.encode()


def section(heading: str, *parts: object) -> Markup:
    """Return a part of a page under a heading."""
    return _marked(_SECTION.render(heading=heading, parts=parts))


def beside(*parts: object) -> Markup:
    """Return parts side by side where there is room for it, below each other where not."""
    return Markup('<div class="beside">{}</div>').format(Markup("").join(parts))  # type: ignore[arg-type]


def folded(told: object, *parts: object) -> Markup:
    """Return parts that are seen when the line above them is opened: what few readers look up."""
    return Markup("<details><summary>{}</summary>{}</details>").format(told, Markup("").join(parts))  # type: ignore[arg-type]


def text(value: object) -> Markup:
    """Return a paragraph."""
    return Markup("<p>{}</p>").format(value)


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, caption: str = "") -> Markup:
    """Return a table; a column whose cells are all numbers is set right-aligned."""
    listed = [list(row) for row in rows]
    right = {place for place in range(len(columns)) if listed and all(_is_number(row[place]) for row in listed)}
    shown = [["" if cell is None else cell for cell in row] for row in listed]
    wide = len(columns) > _WIDE
    return _marked(_TABLE.render(columns=list(columns), rows=shown, right=right, caption=caption, wide=wide))


def facts(pairs: Iterable[tuple[str, Cell]]) -> Markup:
    """Return a row of a few named values, shown large."""
    return _marked(_FACTS.render(pairs=list(pairs)))


def badge(word: object, state: State = "") -> Markup:
    """Return a word in the colour of its state; the word says it, too, for those who see no colours."""
    return Markup('<span class="badge {}">{}</span>').format(state, word)


def link(label: object, address: str) -> Markup:
    """Return a link; an address that is none of the web (a script, another scheme) is left as text."""
    if not _LEADS_AWAY.fullmatch(address):
        return escape(label)
    return Markup('<a href="{}" rel="noopener noreferrer">{}</a>').format(address, label)


def picture(png: bytes, alt: str, caption: str = "", *, wide: bool = False) -> Markup:
    """Return a PNG inside the page, on white paper in the dark, too.

    Args:
        png: The picture.
        alt: What it shows, in words.
        caption: Shown below it.
        wide: Whether it keeps its width on a phone, and scrolls sideways.
    """
    data = base64.b64encode(png).decode()
    inside = Markup('<img src="data:image/png;base64,{}" alt="">').format(data)
    return _marked(_FIGURE.render(inside=inside, alt=alt, caption=caption, themed=False, wide=wide))


def drawing(svg: bytes, alt: str, caption: str = "") -> Markup:
    """Return an SVG of ours (`stepzero.learning.drawing.svg`) inside the page, its ink in the page's colour.

    It becomes part of the page as it is: never give it one that we did not draw.
    """
    inside = Markup(_PROLOGUE.sub("", svg.decode(), count=1))  # noqa: S704 - drawn by us
    return _marked(_FIGURE.render(inside=inside, alt=alt, caption=caption, themed=True, wide=False))


def _marked(rendered: str) -> Markup:
    return Markup(rendered)  # noqa: S704 - rendered with autoescape


def _is_number(cell: Cell) -> bool:
    if cell is None or isinstance(cell, bool):
        return False
    return isinstance(cell, int | float) or bool(_NUMBER.fullmatch(str(cell)))
