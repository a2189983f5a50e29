// Polka's debts, claims and holdings in a currency, now and since midnight (UTC).

import { Chart } from "./chart.js";
import { ask } from "./door.js";
import { clock, find, pairs } from "./dom.js";
import { money, roughly } from "./money.js";

const REFRESH_MILLISECONDS = 30_000;
const SPAN_MILLISECONDS_MIN = 300_000;
const LIVE_MAX = 2000;
const PAGE = 500;

export class Liquidity {
  constructor() {
    this.currency = null;
    this.turn = 0;
    this.samples = [];
    this.live = []; // samples since the page was opened, finer than minutes
    this.chart = new Chart(find("liquidity-chart"), "What Polka owes, is owed and holds since midnight", [{ name: "good", isArea: true }, { name: "second" }, { name: "held" }], (value) => roughly(value, this.currency));
  }

  show({ at, overview: { book } }) {
    if (!book) return;
    if (book.currency !== this.currency) {
      this.currency = book.currency;
      this.samples = [];
      this.live = [];
      this.follow(book.currency);
    }
    pairs(find("liquidity"), [
      ["Polka owes", money(book.owes, book.currency), "What banks have above zero", "good"],
      ["is owed", money(book.owed, book.currency), "What banks have below zero", "second"],
      ["holds", money(book.held, book.currency), "What was settled", "held"],
      ["Most owed today", `${money(book.highest, book.currency)} at ${clock(book.highest_at)}`, "The highest exposure since midnight (UTC)"],
    ]);
    const now = Date.parse(at);
    const figures = [Number(book.owes), Number(book.owed), Number(book.held)];
    if (String(this.live.at(-1)?.slice(1)) !== String(figures)) this.live.push([now, ...figures]);
    if (this.live.length > LIVE_MAX) this.live.splice(0, LIVE_MAX / 2);
    const points = [...this.samples.filter(([time]) => time < this.live[0][0]), ...this.live, [now, ...figures]];
    const from = Math.min(points[0][0], now - SPAN_MILLISECONDS_MIN);
    const line = (place) => points.map((point) => [point[0], point[place]]);
    this.chart.draw([line(1), line(2), line(3)], from, now, clock(from), "now", true);
  }

  /** Until another currency is shown. */
  async follow(currency) {
    const turn = ++this.turn;
    while (turn === this.turn) {
      try {
        const samples = await read(currency);
        if (turn === this.turn) this.samples = samples;
      } catch {
        // The next read is soon; the current figures continue.
      }
      await new Promise((resolve) => setTimeout(resolve, REFRESH_MILLISECONDS));
    }
  }
}

/** All samples of today's minutes (UTC) as [time, owes, owed, held], the oldest first. */
async function read(currency) {
  const midnight = new Date(new Date().setUTCHours(0, 0, 0, 0)).toISOString();
  const samples = [];
  let cursor = null;
  do {
    const query = `currency=${currency}&resolution=minute&from=${midnight}&limit=${PAGE}` + (cursor ? `&cursor=${encodeURIComponent(cursor)}` : "");
    const page = await ask("GET", `/liquidity/history?${query}`);
    samples.push(...page.samples);
    cursor = page.cursor;
  } while (cursor);
  return samples.reverse().map(({ at, last }) => [Date.parse(at), Number(last.owes), Number(last.owed), Number(last.held)]);
}
