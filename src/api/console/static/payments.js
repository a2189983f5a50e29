// The stream of the latest payments.

import { clock, find, make, newRow, rows, say } from "./dom.js";
import { money } from "./money.js";

const NOTICED_MAX = 3; // new payments at once; more are shown without a mark

export class Payments {
  constructor() {
    this.shown = [];
  }

  show({ records }) {
    if (!records) return;
    const shown = new Set(this.shown);
    const arrived = records.payments.filter(({ id }) => !shown.has(id)).length;
    const isNoticed = shown.size > 0 && arrived <= NOTICED_MAX;
    this.shown = records.payments.map(({ id }) => id);
    rows(find("payments"), records.payments, (one) => one.id, (one) => create(one, isNoticed), fill);
  }
}

function create(payment, isNew) {
  const row = newRow("", "party", "party", "number");
  row.cells[0].className = "quiet";
  if (isNew) row.classList.add("new");
  party(row.cells[1], payment.sender_bank, payment.sender_account);
  party(row.cells[2], payment.receiver_bank, payment.receiver_account);
  return row;
}

function party(cell, bank, account) {
  cell.replaceChildren(make("b", "", bank), " ", make("span", "quiet", account));
  cell.title = `${bank} ${account}`;
}

function fill(row, payment) {
  say(row.cells[0], clock(payment.created_at));
  const amounts = [`${money(payment.amount, payment.currency)} ${payment.currency}`];
  if (payment.receiver_currency) amounts.push(`→ ${money(payment.receiver_amount, payment.receiver_currency)} ${payment.receiver_currency}`);
  if (payment.status === "deleted") amounts.push("deleted");
  if (row.cells[3].textContent !== amounts.join("")) row.cells[3].replaceChildren(...amounts.map((text) => make("span", "", text)));
  row.classList.toggle("deleted", payment.status === "deleted");
}
