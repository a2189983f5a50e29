// Clearing windows: the open window, closing and settling, and the savings.

import { ask, Refused } from "./door.js";
import { confirmed, find, make, newRow, rows, say, since } from "./dom.js";
import { money, percent } from "./money.js";

const AGAIN = ["outcome_unknown", "timeout", "cache_away", "overloaded", "database_away"];

export class Clearing {
  constructor() {
    this.isBusy = false;
    this.settled = null;
  }

  show({ records, overview: { book } }) {
    if (!records) return;
    const currency = book?.currency ?? "";
    rows(find("windows"), records.windows, (one) => one.id, (one) => this.create(one), (row, one) => this.fill(row, one, currency));
    const netted = records.windows.find((one) => savedIn(one, currency));
    drawNetting(netted, currency);
    this.tellSaved(records.windows, currency);
  }

  create(window) {
    const row = newRow(String(window.id), "", "quiet slim", "number", "act");
    const button = make("button");
    button.type = "button";
    button.onclick = () => this.confirm(window.id, button.dataset.state);
    row.cells[4].append(button);
    return row;
  }

  fill(row, window, currency) {
    const saved = savedIn(window, currency);
    say(row.cells[1], window.state);
    row.cells[1].className = `window ${window.state}`;
    say(row.cells[2], since(window.settled_at ?? window.closed_at ?? window.opened_at));
    row.cells[2].title = window.scheduled_for ? `Closed as scheduled for ${since(window.scheduled_for)}` : "";
    say(row.cells[3], saved ? percent(BigInt(saved.gross) - BigInt(saved.multilateral), saved.gross) : "");
    const button = row.cells[4].firstElementChild;
    button.dataset.state = window.state;
    say(button, window.state === "open" ? "Close and settle" : "Settle");
    button.setAttribute("aria-label", `${button.textContent} window ${window.id}`);
    button.hidden = window.state === "settled";
    button.disabled = this.isBusy;
  }

  async confirm(id, state) {
    const what = state === "open" ? "Close and settle" : "Settle";
    const text =
      (state === "open" ? "All payments committed so far are in it, and the next window opens. " : "") +
      "Settlement entries bring each of its nets to zero. This cannot be taken back.";
    if (await confirmed(`${what} window ${id}?`, text, what)) this.clear(id, state);
  }

  async clear(id, state) {
    this.isBusy = true;
    try {
      if (state === "open") {
        this.say(`Closing window ${id} …`);
        await ask("POST", "/clearing", { window: id });
      }
      this.say(`Settling window ${id} …`);
      await ask("POST", `/clearing/${id}/settle`);
      this.settled = id;
      this.say(`Window ${id} is settled.`);
    } catch (error) {
      const isSafe = !(error instanceof Refused) || AGAIN.includes(error.code);
      this.say(`Window ${id} could not be cleared: ${error.message}${isSafe ? " Doing it again is safe: it is done once." : ""}`, true);
    } finally {
      this.isBusy = false;
    }
  }

  /** The savings of the window just settled, after their computation. */
  tellSaved(windows, currency) {
    const window = windows.find((one) => one.id === this.settled);
    const saved = window && savedIn(window, currency);
    if (!saved) return;
    this.settled = null;
    this.say(`Window ${window.id} is settled: ${money(saved.multilateral, currency)} ${currency} moved instead of ${money(saved.gross, currency)}.`);
  }

  say(text, isBad = false) {
    const said = find("clearing-said");
    said.classList.toggle("bad", isBad);
    say(said, text);
  }
}

function savedIn(window, currency) {
  return window.netting.find((one) => one.currency === currency);
}

/** The sums that banks would pay for each payment, for each pair of banks, and after clearing. */
function drawNetting(window, currency) {
  const place = find("netting");
  if (!window) {
    if (place.dataset.key !== "none") place.replaceChildren(make("p", "quiet", "The first closed window with payments will show the saving by clearing."));
    place.dataset.key = "none";
    return;
  }
  const key = `${window.id} ${currency}`;
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  const { gross, bilateral, multilateral } = savedIn(window, currency);
  const title = make("p", "", `Window ${window.id}: clearing moves ${percent(BigInt(gross) - BigInt(multilateral), gross)} less ${currency}`);
  const list = make("dl", "netted");
  for (const [name, amount, kind] of [
    ["Payment by payment", gross, "gross"],
    ["Pair by pair", bilateral, "bilateral"],
    ["Cleared", multilateral, "multilateral"],
  ]) {
    const pair = make("div");
    const bar = make("i", `filled ${kind}`);
    bar.setAttribute("aria-hidden", "true");
    bar.style.setProperty("width", `${Number(gross) ? (100 * Number(amount)) / Number(gross) : 0}%`);
    const track = make("span", "track");
    track.append(bar);
    const amountShown = make("dd", "number", money(amount, currency));
    amountShown.prepend(track);
    pair.append(make("dt", "", name), amountShown);
    list.append(pair);
  }
  place.replaceChildren(title, list);
}
