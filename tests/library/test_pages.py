"""HTML pages: everything from outside is escaped, nothing is asked for, the same content is the same bytes."""

from __future__ import annotations

import re
from html import unescape

import pytest

from stepzero.adapters.pages import badge, drawing, facts, link, page, picture, section, table, text
from stepzero.learning.drawing import BLUE, INK, figure, png, svg
from support.html import Seen

EVIL = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"


def chart(label: str = "rows") -> bytes:
    with figure(4, 2) as (made, axes):
        axes.plot([1, 2, 3], [3, 1, 2], color=BLUE)
        axes.set_xlabel(label, parse_math=False)
        return svg(made)


def whole() -> bytes:
    with figure(1, 1) as (made, axes):
        axes.plot([1, 2])
        shown = png(made)
    rows = [[EVIL, 3, badge(EVIL, "bad")], [None, 4, link(EVIL, 'https://example.org/a?b=c&d="e')]]
    return page(
        EVIL,
        facts([(EVIL, EVIL)]),
        section(EVIL, text(EVIL), table([EVIL, "rows", "x"], rows, caption=EVIL)),
        picture(shown, EVIL, EVIL),
        drawing(chart(EVIL), EVIL, EVIL),
        sentence=EVIL,
        state="bad",
    )


def test_whatever_is_given_is_text() -> None:
    seen = Seen(whole())
    assert not {"script", "iframe", "object", "link"} & set(seen.tags)
    assert not seen.handlers
    assert seen.words.count("alert('x')") >= 9, "what is escaped is still shown"
    assert seen.tags.count("img") == 1, "ours"


def test_nothing_is_asked_for() -> None:
    html = whole()
    asked = [address for address in Seen(html).addresses if not address.startswith(("#", "data:image/png;base64,"))]
    assert asked == ['https://example.org/a?b=c&d="e'], "a link, followed by a click only"
    assert "default-src 'none'" in unescape(html.decode())
    assert not re.search(rb"@import|url\((?!#)", html)


def test_pages_have_what_phones_and_dark_rooms_need() -> None:
    html = whole()
    assert b'name="viewport" content="width=device-width' in html
    assert b"prefers-color-scheme:dark" in html
    assert INK.encode() not in html, "a drawing's ink is that of the page"


def test_the_same_content_is_the_same_bytes() -> None:
    assert whole() == whole()


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "//elsewhere.example", "a b", ""])
def test_an_address_that_is_none_is_left_as_text(address: str) -> None:
    assert link("here", address) == "here"


def test_columns_of_numbers_are_set_right() -> None:
    made = table(["name", "rows", "share"], [["a", 3, "0.20%"], ["b", 14, "11.00%"]])
    assert made.count('<th scope="col" class="number">') == 2
    assert made.count('class="number"') == 6
