"""How all pages look: one style sheet, light and dark by what the reader's system asks for."""

from __future__ import annotations

_LIGHT = """--paper:#fff;--card:#f5f7f9;--ink:#1d242b;--soft:#59636e;--line:#dde2e7;--accent:#1f6f9f;
--good:#1a7546;--warning:#8a5a00;--bad:#b3261e;--good-back:#e5f4ec;--warning-back:#fdf3dc;--bad-back:#fdeceb"""
_DARK = """--paper:#15191e;--card:#1d2329;--ink:#e4e8ec;--soft:#9ea9b4;--line:#333c45;--accent:#6db8e3;
--good:#62c996;--warning:#e3b341;--bad:#ff8a80;--good-back:#173126;--warning-back:#332a12;--bad-back:#3a1e1d"""

STYLE = f"""
:root{{color-scheme:light dark;{_LIGHT}}}
@media (prefers-color-scheme:dark){{:root{{{_DARK}}}}}
:root.light{{color-scheme:light;{_LIGHT}}}
:root.dark{{color-scheme:dark;{_DARK}}}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,sans-serif}}
main{{max-width:62rem;margin:0 auto;padding:1.5rem 1rem 3rem}}
h1{{font-size:1.6rem;line-height:1.25;margin:.5rem 0 .8rem;overflow-wrap:anywhere}}
h2{{font-size:1.15rem;margin:2.2rem 0 .6rem}}
p,figcaption,caption{{overflow-wrap:anywhere}}
a{{color:var(--accent)}}
.sentence{{margin:0;padding:.8rem 1rem;border-left:.3rem solid var(--soft);background:var(--card);border-radius:.3rem}}
.sentence.good{{border-color:var(--good);background:var(--good-back)}}
.sentence.warning{{border-color:var(--warning);background:var(--warning-back)}}
.sentence.bad{{border-color:var(--bad);background:var(--bad-back)}}
.facts{{display:flex;flex-wrap:wrap;gap:.6rem;margin:1rem 0}}
.facts div{{flex:1 1 8rem;padding:.6rem .9rem;background:var(--card);border-radius:.5rem}}
.facts dt{{color:var(--soft);font-size:.85rem}}
.facts dd{{margin:0;font-size:1.35rem;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}}
table{{border-collapse:collapse;width:100%;font-size:.94rem}}
caption{{text-align:left;color:var(--soft);font-size:.9rem;padding:.2rem 0 .5rem}}
th,td{{padding:.45rem .7rem .45rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}}
th{{color:var(--soft);font-weight:600;font-size:.85rem}}
td{{overflow-wrap:break-word}}
.number{{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}}
.scroll,.stack{{overflow-x:auto}}
.scroll th,.scroll td{{white-space:nowrap;overflow-wrap:normal;padding-right:1.2rem}}
.badge{{display:inline-block;padding:0 .5rem;border-radius:1rem;font-size:.85rem;background:var(--card)}}
.badge{{white-space:nowrap}}
.badge.good{{color:var(--good);background:var(--good-back)}}
.badge.warning{{color:var(--warning);background:var(--warning-back)}}
.badge.bad{{color:var(--bad);background:var(--bad-back);font-weight:600}}
figure{{margin:1rem 0}}
figure svg,figure img{{display:block;max-width:100%;height:auto}}
figure.paper img{{background:#fff;border-radius:.5rem}}
.beside{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(22rem,100%),1fr));gap:0 1.5rem}}
.scroll+.stack,.stack+.stack,.stack+details,details+.stack{{margin-top:1.4rem}}
summary{{cursor:pointer;padding:.45rem 0;overflow-wrap:anywhere}}
figure.wide{{overflow-x:auto}}
figcaption{{color:var(--soft);font-size:.9rem;margin-top:.3rem}}
@media (max-width:40rem){{
.stack thead{{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}}
.stack table,.stack tbody,.stack tr,.stack td,.stack caption{{display:block;width:100%}}
.stack tr{{padding:.6rem 0;border-bottom:1px solid var(--line)}}
.stack td{{display:flex;gap:.8rem;border:0;padding:.12rem 0;text-align:left;white-space:normal;overflow-wrap:anywhere}}
.stack td::before{{content:attr(data-label);flex:0 0 7rem;color:var(--soft);font-size:.85rem;overflow-wrap:anywhere}}
figure.wide img{{max-width:none;width:48rem}}
.stack td:empty,.stack td[data-label=""]::before{{display:none}}
}}
@media print{{main{{max-width:none;padding:0}}section{{break-inside:avoid-page}}}}
"""
