// Lines over time, as SVG. The figures are also beside the chart in words, because a screen reader sees only a picture.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 100;

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** A chart of several lines, each with a class of the style sheet. `label` formats a tick of the vertical axis. */
export class Chart {
  constructor(place, title, lines, label) {
    this.label = label;
    this.svg = shape("svg", { viewBox: `0 0 1000 ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": title });
    this.grid = shape("path", { class: "grid-line" });
    this.svg.append(this.grid);
    this.lines = lines.map(({ name, isArea }) => {
      const area = isArea ? shape("path", { class: `area ${name}` }) : null;
      const line = shape("path", { class: `line ${name}` });
      if (area) this.svg.append(area);
      this.svg.append(line);
      return { line, area };
    });
    this.top = document.createElement("span");
    this.top.className = "tick top";
    this.from = document.createElement("span");
    this.from.className = "tick from";
    this.to = document.createElement("span");
    this.to.className = "tick to";
    place.replaceChildren(this.svg, this.top, this.from, this.to);
  }

  /** `series` has for each line its points [time, value]; a value of null is a gap. */
  draw(series, from, to, fromText, toText, isStepped = false) {
    const values = series.flat().map((point) => point[1] ?? 0);
    const highest = Math.max(...values, 0), lowest = Math.min(...values, 0);
    const scale = nice(highest - lowest);
    const x = (time) => ((1000 * (time - from)) / (to - from)).toFixed(1);
    const zero = HEIGHT - 1 + ((HEIGHT - 6) * lowest) / scale;
    const y = (value) => (zero - ((HEIGHT - 6) * value) / scale).toFixed(1);
    const top = scale + lowest;
    this.grid.setAttribute("d", `M0 ${y(0)}H1000M0 ${y(top / 2)}H1000M0 ${y(top)}H1000`);
    series.forEach((points, place) => {
      let path = "", area = "", start = null, last = null;
      for (const [time, value] of points) {
        if (value === null) {
          if (start !== null) area += `V${y(0)}H${x(start)}Z`;
          start = last = null;
          continue;
        }
        const step = start === null ? `M${x(time)} ${y(value)}` : isStepped ? `H${x(time)}V${y(value)}` : `L${x(time)} ${y(value)}`;
        path += step;
        area += start === null ? `M${x(time)} ${y(0)}V${y(value)}` : step;
        start ??= time;
        last = time;
      }
      if (start !== null) area += `H${x(last)}V${y(0)}Z`;
      this.lines[place].line.setAttribute("d", path);
      this.lines[place].area?.setAttribute("d", area);
    });
    this.top.textContent = highest || lowest ? this.label(top) : "";
    this.from.textContent = fromText;
    this.to.textContent = toText;
  }
}

/** The first of 1, 1.5, 2, 3, 5, 7.5, 10, 15 … at or above the value. */
function nice(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 5, 7.5, 10].map((one) => one * power).find((one) => one >= value * 0.999) ?? 10 * power;
}
