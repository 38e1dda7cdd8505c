// A chart over the last two minutes, as plain SVG. Whoever cannot see it gets its last and its highest value as text.

import { s } from "../dom.js";
import { number } from "../format.js";
import { WINDOW_MS, plot } from "../health.js";

const [WIDTH, HEIGHT, LEFT, TOP, BOTTOM] = [320, 112, 34, 8, 20];

/** Draws `[{ at, value }]` as it is at `now`; `what` names it. */
export function chart(what, points, now) {
  const known = points.flatMap(({ value }) => (value === null ? [] : [value]));
  const size = { now, width: WIDTH - LEFT - 4, height: HEIGHT - TOP - BOTTOM };
  const { top, pieces } = plot(points, size);
  const y = (share) => TOP + size.height * (1 - share);
  const last = pieces.at(-1)?.at(-1);
  const minutes = WINDOW_MS / 60_000;
  const said = known.length ? `now ${number(known.at(-1))}, at most ${number(Math.max(...known))}` : "nothing measured yet";
  return s("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${what} in the last ${minutes} minutes: ${said}` },
    [0, 0.5, 1].map((share) => [
      s("line", { class: "grid", x1: LEFT, x2: WIDTH - 4, y1: y(share), y2: y(share) }),
      s("text", { class: "scale", x: LEFT - 6, y: y(share) + 3.5, "text-anchor": "end" }, number(top * share)),
    ]),
    s("text", { class: "scale", x: LEFT, y: HEIGHT - 5 }, `${minutes} min ago`),
    s("text", { class: "scale", x: WIDTH - 4, y: HEIGHT - 5, "text-anchor": "end" }, "now"),
    s("g", { transform: `translate(${LEFT} ${TOP})` },
      pieces.map((piece) => [
        s("path", { class: "area", d: `M${piece[0][0].toFixed(1)} ${size.height}${line(piece).replace("M", "L")}L${piece.at(-1)[0].toFixed(1)} ${size.height}Z` }),
        s("path", { class: "line", d: line(piece) }),
      ]),
      last && s("circle", { class: "last", cx: last[0].toFixed(1), cy: last[1].toFixed(1), r: 2.5 })));
}

const line = (piece) => piece.map(([x, y], i) => `${i ? "L" : "M"}${Math.max(0, x).toFixed(1)} ${y.toFixed(1)}`).join("");
