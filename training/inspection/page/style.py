"""The look of the page: calm, readable, in light and dark as the reader's system says, and on paper."""

from __future__ import annotations

CSS = """
:root {
  color-scheme: light dark;
  --ground: #fbfaf8; --card: #ffffff; --ink: #22262b; --soft: #646c76; --line: #e4e2dd; --faint: #f1efeb;
  --bar: #6f8fb3; --left: #2f74c0; --right: #d0652b; --middle: #59636e; --third: #3b8f6b; --fourth: #8a5fb0;
  --warn: #8a5a00; --warn-ground: #fdf4e1;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #16181c; --card: #1d2025; --ink: #e6e4df; --soft: #9aa2ad; --line: #31353c; --faint: #25292f;
    --bar: #6b8fb8; --left: #6aa9ee; --right: #ef9460; --middle: #a3acb7; --third: #66bd97; --fourth: #b892dd;
    --warn: #f0c674; --warn-ground: #2e2717;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK KR", sans-serif;
}
main { max-width: 74rem; margin: 0 auto; padding: 3rem 1.5rem 4rem; }
header p { margin: 0; }
.eyebrow { color: var(--soft); font-size: .85rem; letter-spacing: .02em; }
h1 { font-size: 1.9rem; line-height: 1.2; font-weight: 640; margin: .3rem 0 .8rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; font-weight: 620; margin: 3rem 0 .3rem; }
h2 + p { margin-top: 0; margin-bottom: .3rem; }
p + .soft { margin-top: 0; }
.lead { font-size: 1.1rem; max-width: 52rem; overflow-wrap: anywhere; }
.soft { color: var(--soft); font-size: .9rem; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .8rem; margin: 1.8rem 0 0; }
.figures div { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .7rem .9rem; }
.figures dt { color: var(--soft); font-size: .82rem; }
.figures dd { margin: 0; font-size: 1.25rem; font-weight: 600; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.figures small { display: block; color: var(--soft); font-size: .8rem; font-weight: 400; }
.warnings { background: var(--warn-ground); color: var(--warn); border-radius: .6rem; padding: .9rem 1.1rem;
  margin: 1.8rem 0 0; list-style: none; }
.warnings li + li { margin-top: .5rem; }
.notes { padding-left: 1.1rem; max-width: 60rem; }
.cards { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 10.5rem), 1fr));
  list-style: none; margin: 1rem 0 0; padding: 0; }
.cards.wide { grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); }
.cards li { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .7rem .8rem .5rem;
  min-width: 0; break-inside: avoid; }
.cards h3 { font-size: .95rem; font-weight: 600; margin: 0; overflow-wrap: anywhere; line-height: 1.3; }
.cards p { margin: 0; color: var(--soft); font-size: .8rem; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
svg { display: block; width: 100%; height: auto; }
.clip { margin: .4rem 0 .2rem; }
.clip path, .clip circle { fill: none; stroke-linecap: round; stroke-linejoin: round; }
.clip .m { stroke: var(--middle); } .clip .l { stroke: var(--left); } .clip .r { stroke: var(--right); }
.clip .t0 { stroke: var(--left); } .clip .t1 { stroke: var(--right); } .clip .t2 { stroke: var(--middle); }
.clip .t3 { stroke: var(--third); } .clip .t4 { stroke: var(--fourth); }
.clip circle.t0 { fill: var(--left); } .clip circle.t1 { fill: var(--right); } .clip circle.t2 { fill: var(--middle); }
.clip circle.t3 { fill: var(--third); } .clip circle.t4 { fill: var(--fourth); }
.clip .axis, .chart .axis { stroke: var(--line); stroke-width: 1; }
.clip text, .chart text { fill: var(--soft); font-size: 10px; font-family: inherit; }
.key { display: inline-flex; align-items: center; gap: .35rem; margin-right: 1rem; }
.key i { width: .8rem; height: .8rem; border-radius: 50%; }
.key .l { background: var(--left); } .key .r { background: var(--right); } .key .m { background: var(--middle); }
.chart rect { fill: var(--bar); }
.chart { max-width: 44rem; margin-top: .6rem; }
.pair { display: grid; gap: 0 3rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; margin-top: .5rem; }
th, td { text-align: left; padding: .32rem .9rem .32rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
thead th { color: var(--soft); font-weight: 500; font-size: .82rem; }
tbody th { font-weight: 400; overflow-wrap: anywhere; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.bar { width: 45%; padding-right: 0; vertical-align: middle; }
td.bar i { display: block; height: .6rem; background: var(--bar); border-radius: .2rem; min-width: 2px; }
.columns { columns: 22rem; column-gap: 2.5rem; }
.columns table { margin: 0; }
.columns thead { display: none; }
.narrow, .scroll { max-width: 48rem; }
tr { break-inside: avoid; }
code { font: .86em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; background: var(--faint);
  border-radius: .3rem; padding: .1rem .35rem; overflow-wrap: anywhere; }
footer { margin-top: 3.5rem; border-top: 1px solid var(--line); padding-top: .8rem; }
@media (max-width: 40rem) { main { padding: 1.6rem 1rem 3rem; } h1 { font-size: 1.5rem; } }
@media print { body { background: none; } main { max-width: none; } }
"""
