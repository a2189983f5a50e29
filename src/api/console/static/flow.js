// Payments a second and their latency, as live lines.

import { Chart } from "./chart.js";
import { find, say, seconds } from "./dom.js";

const SPAN_SECONDS = 120;
const TAKEN = ["accepted", "replayed"];

export class Flow {
  constructor() {
    this.points = [];
    this.rates = new Chart(find("rate-chart"), "Payments a second over the last two minutes", [{ name: "good", isArea: true }, { name: "bad" }], (value) => `${value.toLocaleString("en")}/s`);
    this.latencies = new Chart(find("latency-chart"), "Latency over the last two minutes: of half and of 99 of 100 payments", [{ name: "good" }, { name: "second" }], seconds);
  }

  show({ at, overview: { rates, lines } }) {
    const refused = Object.entries(rates.outcomes).filter(([outcome]) => !TAKEN.includes(outcome));
    const refusedRate = refused.reduce((sum, [, rate]) => sum + rate, 0);
    say(find("rate"), rate(rates.committed));
    say(find("refused-rate"), refused.length ? `${rate(refusedRate)} refused: ${refused.map(([outcome]) => outcome).join(", ")}` : "");
    say(find("p50"), seconds(rates.p50_seconds));
    say(find("p99"), seconds(rates.p99_seconds));
    const now = Date.parse(at) / 1000;
    // Whenever any console opens at this api, the lines of the last two minutes come.
    if (lines.length) this.points = lines.map(([time, ...values]) => [Date.parse(time) / 1000, ...values]);
    this.points.push([now, rates.committed, refusedRate, rates.p50_seconds, rates.p99_seconds]);
    while (this.points[0][0] < now - SPAN_SECONDS) this.points.shift();
    const line = (place) => this.points.map((point) => [point[0], point[place]]);
    this.rates.draw([line(1), line(2)], now - SPAN_SECONDS, now, "2 min ago", "now");
    this.latencies.draw([line(3), line(4)], now - SPAN_SECONDS, now, "2 min ago", "now");
  }
}

function rate(value) {
  return value >= 10 || value === 0 ? Math.round(value).toLocaleString("en") : value.toFixed(1);
}
