// Each bank's position as a bar around zero, with its net debit cap as a mark.

import { find, make, newRow, rows, say } from "./dom.js";
import { money, percent } from "./money.js";

const CAP_IN_SIGHT = 1.6;

export class Positions {
  show({ overview: { book } }) {
    const table = find("positions");
    say(find("positions-note"), note(book));
    if (!book) return;
    const standings = book.standings.map((one) => ({ ...one, position: BigInt(one.posted) + BigInt(one.pending ?? 0) }));
    standings.sort((one, other) => one.bank.localeCompare(other.bank, "en", { numeric: true }));
    const scale = scaleOf(standings);
    rows(table, standings, (one) => one.bank, create, (row, one) => fill(row, one, scale, book.currency));
  }
}

function note(book) {
  if (!book) return "No bank has a position yet. The command `polka banks open` opens banks, and `polka pay` makes a payment.";
  const shown = book.standings.length;
  const which = shown < book.banks ? `The largest ${shown} positions of ${book.banks.toLocaleString("en")} banks, ` : "";
  return `${which}${book.currency}, as of flush ${book.flush.toLocaleString("en")} and what is pending`;
}

/** The value of half a bar: the largest position, or a cap if only slightly larger. */
function scaleOf(standings) {
  const largest = Math.max(1, ...standings.map(({ position }) => Math.abs(Number(position))));
  const caps = standings.filter(({ cap }) => cap !== null).map(({ cap }) => Number(cap));
  return Math.max(largest, ...caps.filter((cap) => cap <= CAP_IN_SIGHT * largest));
}

function create({ bank }) {
  const row = newRow(bank, "axis", "number", "number quiet spare", "number");
  const bar = make("div", "bar");
  bar.setAttribute("aria-hidden", "true");
  bar.append(make("i", "filled"), make("i", "cap"));
  row.cells[1].append(bar);
  return row;
}

function fill(row, { position, pending, cap }, scale, currency) {
  const [bar, amount, waiting, use] = Array.from(row.cells).slice(1);
  const [filled, mark] = bar.firstElementChild.children;
  const width = (50 * Math.min(1, Math.abs(Number(position)) / scale)).toFixed(2);
  filled.className = position < 0n ? "filled below" : "filled above";
  filled.style.setProperty("width", `${width}%`);
  const far = cap === null ? 0 : Number(cap) / scale;
  mark.className = cap === null ? "cap none" : far > 1 ? "cap beyond" : "cap";
  mark.style.setProperty("left", `${(50 - 50 * Math.min(1, far)).toFixed(2)}%`);
  say(amount, money(position, currency));
  amount.classList.toggle("below", position < 0n);
  say(waiting, pending === null ? "–" : pending === "0" ? "" : money(pending, currency));
  if (cap === null) {
    say(use, "");
    use.title = "";
  } else {
    const owed = position < 0n ? -position : 0n;
    say(use, BigInt(cap) === 0n ? "no debit" : percent(owed, cap));
    use.title = `It may owe ${money(cap, currency)} at most`;
    use.classList.toggle("bad", BigInt(cap) > 0n && 10n * owed >= 9n * BigInt(cap));
  }
}
