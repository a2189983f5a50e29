// The console: opens the stream, and gives each snapshot to the panels. A panel is a file of its own.

import { Audit } from "./audit.js";
import { Clearing } from "./clearing.js";
import { find, make, say, clock } from "./dom.js";
import { openSession, takeKeyFromAddress } from "./door.js";
import { Drills } from "./drills.js";
import { Flow } from "./flow.js";
import { Ledger } from "./ledger.js";
import { Liquidity } from "./liquidity.js";
import { learn } from "./money.js";
import { Payments } from "./payments.js";
import { Positions } from "./positions.js";
import { Processes } from "./processes.js";
import { Stream } from "./stream.js";

const SWITCH_MAX = 8;
const STATES = { live: "Live", late: "No news", off: "Not connected" };

let panels = [];
const stream = new Stream({ onHello: greet, onSnapshot: show, onState: showState });

/** The beginning of a stream. `drills` is true for a Polka on one machine, the only kind with drills. */
function greet(hello) {
  learn(hello.exponents);
  for (const panel of panels) panel.greet?.(hello);
}

function show(snapshot) {
  find("figures").hidden = false;
  showCurrencies(snapshot.overview);
  showNotice(snapshot);
  say(find("made-by"), `As ${snapshot.api} saw it at ${clock(snapshot.at)}.`);
  for (const panel of panels) panel.show(snapshot);
}

function showState(state) {
  const element = find("state");
  element.dataset.state = state;
  document.body.dataset.state = state;
  say(element, STATES[state]);
}

function showNotice({ overview, records }) {
  const notices = [];
  if (!records) notices.push("The database does not answer: no payment is possible. Payments and windows are as last known.");
  if (!overview.cache) notices.push("The cache does not answer: positions are as of the database's latest flush, and processes as one api sees them.");
  else if (!overview.cache.epoch) notices.push("The cache is starting: payments go on, positions follow.");
  const notice = find("notice");
  notice.hidden = !notices.length;
  say(notice, notices.join(" "));
}

/** A button for each currency. If there are too many for the room, the others are in a list. */
function showCurrencies({ currencies, book }) {
  const place = find("currencies");
  const key = currencies.join(" ");
  if (place.dataset.key !== key) {
    place.dataset.key = key;
    place.hidden = currencies.length < 2;
    place.replaceChildren(place.firstElementChild, ...(currencies.length > SWITCH_MAX ? [list(currencies)] : currencies.map(button)));
  }
  const shown = book?.currency;
  for (const radio of place.querySelectorAll("input")) radio.checked = radio.value === shown;
  const select = place.querySelector("select");
  if (select && shown) select.value = shown;
}

function button(currency) {
  const label = make("label");
  const radio = make("input");
  radio.type = "radio";
  radio.name = "currency";
  radio.value = currency;
  radio.onchange = () => choose(currency);
  label.append(radio, make("span", "", currency));
  return label;
}

function list(currencies) {
  const select = make("select");
  select.setAttribute("aria-label", "Currency");
  select.append(...currencies.map((currency) => make("option", "", currency)));
  select.onchange = () => choose(select.value);
  return select;
}

function choose(currency) {
  localStorage.setItem("polka currency", currency);
  stream.open(currency);
}

async function start() {
  takeKeyFromAddress();
  addEventListener("hashchange", () => location.reload()); // another key was given
  panels = [new Flow(), new Ledger(), new Positions(), new Payments(), new Clearing(), new Liquidity(), new Processes(), new Audit(), new Drills()];
  for (;;) {
    try {
      await openSession();
      break;
    } catch {
      showState("off");
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
  stream.open(localStorage.getItem("polka currency"));
}

start();
