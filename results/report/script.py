"""The script of the page: curves that answer to the pointer and to keys, and clips that move. Without it all else stands."""

from __future__ import annotations

SCRIPT = r"""
"use strict";
const number = value => {
  const size = Math.abs(value);
  if (value !== 0 && (size >= 1e6 || size < 1e-3)) return value.toExponential(2);
  return size >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(4)));
};
const nearest = (points, x) => {
  let low = 0, high = points.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < x) low = middle + 1; else high = middle;
  }
  if (low > 0 && x - points[low - 1][0] <= points[low][0] - x) low -= 1;
  return points[low];
};
for (const plot of document.querySelectorAll("[data-plot]")) {
  const data = JSON.parse(plot.dataset.plot);
  const cursor = plot.querySelector(".cursor");
  const said = plot.parentElement.querySelector("output");
  const first = said.textContent;
  const steps = [...new Set(data.series.flatMap(one => one[1].map(point => point[0])))].sort((a, b) => a - b);
  let place = steps.length - 1;
  const show = step => {
    const share = (step - data.first) / (data.last - data.first);
    cursor.style.left = `${100 * (data.left + share * (data.right - data.left))}%`;
    cursor.hidden = false;
    const stage = data.stages.filter(one => one[0] < step || one === data.stages[0]).at(-1);
    const parts = data.series.map(one => `${one[0]} ${number(nearest(one[1], step)[1])}`);
    const where = stage && stage[1] ? `, ${stage[1]}` : "";
    const sentence = `${data.name} ${step.toLocaleString("en")}${where}: ${parts.join("; ")}`;
    said.textContent = sentence;
    plot.setAttribute("aria-valuenow", String(step));
    plot.setAttribute("aria-valuetext", sentence);
  };
  const hide = () => { cursor.hidden = true; said.textContent = first; };
  const point = event => {
    const box = plot.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width - data.left) / (data.right - data.left);
    const wanted = data.first + Math.min(1, Math.max(0, share)) * (data.last - data.first);
    const step = nearest(steps.map(one => [one]), wanted)[0];
    place = steps.indexOf(step);
    show(step);
  };
  plot.addEventListener("pointermove", point);
  plot.addEventListener("pointerdown", point);
  plot.addEventListener("pointerleave", () => { if (document.activeElement !== plot) hide(); });
  plot.addEventListener("focus", () => show(steps[place]));
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", event => {
    const far = Math.max(1, Math.round(steps.length / 10));
    const moves = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -far, PageUp: far,
      Home: -steps.length, End: steps.length };
    if (!(event.key in moves)) return;
    event.preventDefault();
    place = Math.min(steps.length - 1, Math.max(0, place + moves[event.key]));
    show(steps[place]);
  });
}
const clips = [...document.querySelectorAll("svg[data-frames]")].map(svg => {
  const frames = svg.dataset.frames.split(";").map(frame => frame.split(" ").map(point => point === "-" ? null : point));
  const paths = [...svg.querySelectorAll(".moving path")].map(path => [path,
    path.dataset.bones.split(" ").filter(Boolean).map(bone => bone.split(",").map(Number)),
    path.dataset.dots.split(" ").filter(Boolean).map(Number)]);
  const slider = svg.parentElement.querySelector("input");
  const clip = { frame: 0, count: frames.length, seen: true, slider };
  clip.draw = () => {
    const points = frames[clip.frame];
    for (const [path, bones, dots] of paths) {
      const lines = bones.filter(bone => points[bone[0]] && points[bone[1]]);
      path.setAttribute("d", lines.map(bone => `M${points[bone[0]]}L${points[bone[1]]}`).join("") +
        dots.filter(dot => points[dot]).map(dot => `M${points[dot]}h0`).join(""));
    }
    slider.value = String(clip.frame);
  };
  svg.classList.add("moves");
  slider.hidden = false;
  slider.addEventListener("input", () => { clip.frame = Number(slider.value); clip.held = true; clip.draw(); });
  clip.draw();
  new IntersectionObserver(found => { clip.seen = found.at(-1).isIntersecting; }).observe(svg);
  return clip;
});
const button = document.querySelector("#play");
if (button && clips.length) {
  let timer = null;
  const tick = () => {
    for (const clip of clips) {
      if (!clip.seen || clip.held) continue;
      clip.frame = (clip.frame + 1) % clip.count;
      clip.draw();
    }
  };
  const play = on => {
    clearInterval(timer);
    timer = on ? setInterval(tick, 80) : null;
    button.textContent = on ? "Pause the clips" : "Play the clips";
    if (on) for (const clip of clips) clip.held = false;
  };
  button.hidden = false;
  button.addEventListener("click", () => play(timer === null));
  play(!matchMedia("(prefers-reduced-motion: reduce)").matches);
}
"""
