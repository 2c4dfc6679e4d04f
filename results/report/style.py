"""The look of what a report has more than the page of an inspection, and of the same drawings as pictures."""

from __future__ import annotations

import re

from ...training.inspection.page.style import CSS as BASE

DRAWING = """
.plot text, .matrix text { fill: var(--soft); font-size: 11px; font-family: inherit; }
.plot .band { fill: var(--faint); }
.plot .grid { stroke: var(--line); stroke-width: 1; fill: none; }
.plot .axis, .matrix .axis { stroke: var(--soft); stroke-width: 1; fill: none; }
.plot .line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.plot .dots { fill: none; stroke-width: 4.5; stroke-linecap: round; }
.plot .area { stroke: none; opacity: .2; }
.plot .s0 { stroke: var(--left); } .plot .s1 { stroke: var(--right); } .plot .s2 { stroke: var(--third); }
.plot .s3 { stroke: var(--fourth); }
.plot .line.s1 { stroke-dasharray: 7 3; } .plot .line.s2 { stroke-dasharray: 2 3; }
.plot .line.s3 { stroke-dasharray: 9 3 2 3; }
.plot .area.s0 { fill: var(--left); } .plot .area.s1 { fill: var(--right); } .plot .area.s2 { fill: var(--third); }
.plot .area.s3 { fill: var(--fourth); }
.matrix .ground { fill: var(--card); }
.matrix .right { fill: var(--left); } .matrix .wrong { fill: var(--right); }
.matrix text.dark { fill: var(--ink); } .matrix text.light { fill: var(--card); }
"""
"""Of curves and the confusion matrix, on the page and in the pictures."""

CSS = (
    BASE
    + DRAWING
    + """
nav { margin: 1.4rem 0 0; font-size: .9rem; } nav a { margin-right: 1rem; }
a { color: var(--left); }
.state { margin-top: .6rem; }
.charts { display: grid; gap: 1.2rem 2rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr));
  margin-top: 1rem; }
figure { margin: 0; min-width: 0; }
figcaption { font-weight: 600; font-size: .95rem; }
.keys { font-size: .82rem; color: var(--soft); margin: .15rem 0 .3rem; }
.keys svg { display: inline-block; width: 1.6rem; height: .7rem; margin-right: .35rem; vertical-align: baseline; }
.plot { position: relative; touch-action: pan-y; border-radius: .3rem; }
.plot:focus-visible, button:focus-visible, .scroll:focus-visible, a:focus-visible, summary:focus-visible {
  outline: 2px solid var(--left); outline-offset: 3px; }
.cursor { position: absolute; top: 8.7%; bottom: 13.9%; width: 1px; background: var(--ink); pointer-events: none; }
output { display: block; font-size: .82rem; color: var(--soft); min-height: 2.6em; font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere; }
.matrix { min-width: 20rem; }
svg.clip .moving { display: none; } svg.clip.moves .moving { display: inline; } svg.clip.moves .still { display: none; }
.cards input { width: 100%; accent-color: var(--left); margin: 0; }
.cards .said { white-space: normal; color: var(--ink); font-size: .85rem; overflow-wrap: anywhere; }
button { font: inherit; font-size: .9rem; color: var(--ink); background: var(--card); border: 1px solid var(--soft);
  border-radius: .4rem; padding: .3rem .9rem; cursor: pointer; }
[hidden] { display: none; }
pre { background: var(--faint); border-radius: .4rem; padding: .8rem 1rem; white-space: pre-wrap; overflow-wrap: anywhere;
  margin: .5rem 0; }
pre code { background: none; padding: 0; }
details { margin-top: 1rem; } summary { cursor: pointer; color: var(--soft); font-size: .9rem; }
.scroll th, .scroll td { overflow-wrap: break-word; max-width: 32rem; min-width: 3.6rem; }
.wide.scroll { max-width: none; }
.figures div { min-width: 0; }
h2 { scroll-margin-top: 1rem; }
.sample { display: block; width: 100%; margin: .3rem 0; }
img.sample { max-width: 12rem; image-rendering: pixelated; background: var(--faint); }
.sample .line { fill: none; stroke-width: 1.5; vector-effect: non-scaling-stroke; }
.sample .s0 { stroke: var(--left); } .sample .s1 { stroke: var(--right); } .sample .s2 { stroke: var(--third); }
.sample .s3 { stroke: var(--fourth); }
.values { display: grid; grid-template-columns: auto 1fr; gap: .1rem .7rem; font-size: .82rem; margin: .4rem 0; }
.values dt { color: var(--soft); } .values dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
blockquote { margin: .4rem 0; font-size: .85rem; overflow-wrap: anywhere; max-height: 9rem; overflow: hidden; }
"""
)

_FONTS = 'font-family: "DejaVu Sans", "Noto Sans", "Noto Sans CJK KR", Arial, sans-serif'


def standalone_style() -> str:
    """Return the style of a drawing that stands alone: on white, with the colours of the light page in place of names."""
    colours = dict(re.findall(r"--(\w[\w-]*): (#\w+)", BASE.split("@media")[0]))
    named = re.sub(r"var\(--([\w-]+)\)", lambda found: colours[found[1]], DRAWING)
    title = f"svg text.title {{ fill: {colours['ink']}; font-size: 14px; font-weight: 600; }}"
    return f"text {{ {_FONTS}; }} {named} {title}".replace("font-family: inherit; ", "")


MORE_COLOURS = """
:root { --fifth: #b0487e; --sixth: #7a6a1f; --seventh: #2b8c99; --eighth: #55606b; }
@media (prefers-color-scheme: dark) {
  :root { --fifth: #ee8fbd; --sixth: #d0bd5c; --seventh: #63c7d4; --eighth: #b3bdc8; }
}
.plot .s4 { stroke: var(--fifth); } .plot .s5 { stroke: var(--sixth); } .plot .s6 { stroke: var(--seventh); }
.plot .s7 { stroke: var(--eighth); }
.plot .area.s4 { fill: var(--fifth); } .plot .area.s5 { fill: var(--sixth); } .plot .area.s6 { fill: var(--seventh); }
.plot .area.s7 { fill: var(--eighth); }
.plot .line.s4 { stroke-dasharray: 1 2; } .plot .line.s5 { stroke-dasharray: 12 4; }
.plot .line.s6 { stroke-dasharray: 5 2 1 2; } .plot .line.s7 { stroke-dasharray: 3 5; }
"""
"""Of curves after the fourth."""
