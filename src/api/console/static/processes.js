// Health of each process.

import { find, newRow, rows, say, seconds, since } from "./dom.js";

const SILENT_SECONDS = 2;
const LATE_SECONDS = 0.25;

export class Processes {
  show({ overview: { apis, cache }, records }) {
    const shown = apis.map(({ pulse, age_seconds, rates }) => ({
      ...pulse,
      state: age_seconds > SILENT_SECONDS ? `silent for ${Math.round(age_seconds)} s` : "serves",
      isGood: age_seconds <= SILENT_SECONDS,
      rate: age_seconds > SILENT_SECONDS ? "–" : Math.round(rates.committed).toLocaleString("en"),
    }));
    if (cache) shown.unshift({ ...cache, state: cache.epoch ? `epoch ${cache.epoch}, lag ${seconds(cache.flush_age_seconds)}` : "starting", isGood: cache.epoch > 0, rate: "", queue: "" });
    else shown.unshift({ name: "cache", pid: "", state: "does not answer", isGood: false, rate: "", queue: "" });
    shown.unshift({ name: "Postgres", pid: "", state: records ? "answers" : "does not answer", isGood: Boolean(records), rate: "", queue: "" });
    rows(find("processes"), shown, (one) => `${one.name} ${one.pid}`, create, fill);
  }
}

function create(process) {
  const row = newRow(process.name, "", "number", "number slim", "number slim", "quiet slim", "quiet spare");
  if (process.pid) row.cells[0].title = `${process.name}, process ${process.pid}`;
  return row;
}

function fill(row, { state, isGood, rate, queue, lag_seconds, since: began, version }) {
  const [, said, payments, waiting, late, up, made] = row.cells;
  say(said, state);
  said.className = isGood ? "health good" : "health bad";
  say(payments, rate);
  say(waiting, String(queue));
  say(late, lag_seconds === undefined ? "" : seconds(Math.max(0, lag_seconds)));
  late.classList.toggle("bad", lag_seconds > LATE_SECONDS);
  say(up, began ? since(began) : "");
  say(made, version ?? "");
}
