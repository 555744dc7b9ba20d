// A chart of the last minutes, with a legend that says the values: at the pointer, or the latest.

import { element, plain, setClass, setText } from "./dom.js";
import { clock } from "./words.js";

const HEIGHT = 168;
/** Seconds across, when there is less to show. */
const LEAST = 120;
const schemes = matchMedia("(prefers-color-scheme: dark)");
const charts = new Set();

schemes.addEventListener("change", () => charts.forEach((chart) => chart.rebuild()));

/** Charts whose pointers move together. */
const TOGETHER = "console";

export class Chart {
  #title;
  #says;
  #logarithmic;
  #most;
  #host = element("div", { class: "plot", role: "img" });
  #legend = element("ul", { class: "legend" });
  #plot = null;
  #lines = [];
  #hidden = new Set();
  #data = [[]];
  #width = 0;
  #pointer = null;

  /** `says(value)`: the value in words. `most`: the axis ends there. `hidden`: lines that aren't drawn at first. */
  constructor({ title, says, logarithmic = false, most = null, hidden = [] }) {
    this.#title = title;
    this.#says = says;
    this.#logarithmic = logarithmic;
    this.#most = most;
    this.#hidden = new Set(hidden);
    this.node = element("figure", { class: "chart" }, element("h3", {}, title), this.#host, this.#legend);
    new ResizeObserver(() => this.fit()).observe(this.#host);
    charts.add(this);
  }

  /** `lines`: `{name, colour}`, colour a number of the palette or a state's name; `data`: times, then a list of values each. */
  set(lines, data) {
    const isSame = lines.length === this.#lines.length && lines.every((line, place) => line.name === this.#lines[place].name);
    this.#data = data;
    this.#lines = lines;
    if (!isSame) {
      this.#drawLegend();
      this.rebuild();
    } else if (this.#plot) {
      this.#plot.setData(data);
    }
    this.#say();
  }

  /** To its place's width. */
  fit() {
    const width = Math.floor(this.#host.clientWidth);
    if (width === 0 || width === this.#width) return;
    this.#width = width;
    if (this.#plot) this.#plot.setSize({ width, height: HEIGHT });
    else this.rebuild();
  }

  /** Anew, in the colours of the scheme in force. */
  rebuild() {
    this.#plot?.destroy();
    this.#plot = null;
    if (this.#width === 0 || this.#lines.length === 0) return;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const font = `11px ${style.getPropertyValue("--sans").trim()}`;
    const axis = { stroke: colour("quiet"), font, grid: { stroke: colour("grid"), width: 1 }, ticks: { show: false } };
    const series = this.#lines.map(({ name, colour: of }) => ({
      stroke: colour(`line-${of}`),
      width: 1.5,
      // A line of one point isn't seen.
      points: { show: () => this.#data[0].length < 2, size: 4 },
      spanGaps: false,
      show: !this.#hidden.has(name),
    }));
    this.#plot = new uPlot(
      {
        width: this.#width,
        height: HEIGHT,
        padding: [8, 8, 0, 0],
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, sync: { key: TOGETHER }, points: { size: 6 } },
        scales: { x: { time: true, range: (_, min, max) => [Math.min(min, max - LEAST), max] }, y: this.#scale() },
        axes: [
          { ...axis, size: 24, space: 72, incrs: [30, 60, 120, 300], values: (_, times, __, ___, step) => times.map((time) => moment(time, step)) },
          { ...axis, size: 56, space: 28, ...this.#ticks() },
        ],
        series: [{}, ...series],
        hooks: { setCursor: [({ cursor }) => this.#point(cursor.idx)] },
      },
      this.#data,
      this.#host,
    );
  }

  #scale() {
    if (this.#most !== null) return { range: [0, this.#most] };
    if (!this.#logarithmic) return { range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1] };
    return { distr: 3, log: 10, range: (_, min, max) => around(min, max) };
  }

  #ticks() {
    const values = (_, values) => values.map((value) => this.#says(value));
    if (!this.#logarithmic) return { values };
    const powers = (low, high) => Array.from({ length: Math.round(Math.log10(high / low)) + 1 }, (_, place) => low * 10 ** place);
    return { values, filter: (_, splits) => splits, splits: (_, __, low, high) => powers(low, high) };
  }

  #point(place) {
    if (this.#pointer === place) return;
    this.#pointer = place ?? null;
    this.#say();
  }

  #drawLegend() {
    this.#legend.replaceChildren(
      ...this.#lines.map((line) => {
        const value = element("span", { class: "value" });
        const button = element(
          "button",
          { type: "button", "aria-pressed": String(!this.#hidden.has(line.name)), onclick: () => this.#toggle(line.name) },
          element("span", { class: `swatch line-${line.colour}`, "aria-hidden": "true" }),
          element("span", { class: "name" }, line.name),
          " ",
          value,
        );
        button.value_node = value;
        return element("li", {}, button);
      }),
    );
  }

  #toggle(name) {
    if (!this.#hidden.delete(name)) this.#hidden.add(name);
    this.#lines.forEach((line, place) => {
      const isShown = !this.#hidden.has(line.name);
      this.#legend.children[place].firstElementChild.setAttribute("aria-pressed", String(isShown));
      this.#plot?.setSeries(place + 1, { show: isShown });
    });
  }

  #say() {
    const latest = this.#data[0].length - 1;
    const place = this.#pointer ?? latest;
    const said = this.#lines.map((line, number) => {
      const value = this.#data[number + 1]?.[place] ?? null;
      const words = value === null ? "–" : this.#says(value);
      setText(this.#legend.children[number].firstElementChild.value_node, words);
      return `${line.name} ${words}`;
    });
    setClass(this.#legend, this.#pointer === null ? "legend" : "legend is-past");
    this.#host.setAttribute("aria-label", plain(`${this.#title}: ${said.join(", ") || "nothing yet"}`));
  }
}

/** `14:03`, or with seconds where the axis goes by them. */
function moment(time, step) {
  const words = clock(new Date(time * 1000));
  return step < 60 ? words : words.slice(0, 5);
}

/** The powers of ten around what there is. */
function around(min, max) {
  if (!(min > 0) || !(max > 0)) return [1e-5, 1];
  const low = Math.floor(Math.log10(min));
  const high = Math.ceil(Math.log10(max));
  return [10 ** low, 10 ** (high > low ? high : low + 1)];
}
