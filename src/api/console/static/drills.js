// Drills: kill a process of a local Polka, and compare acknowledged and stored payments, before and after.

import { ask } from "./door.js";
import { clock, confirmed, find, make, newRow, rows, say, seconds } from "./dom.js";

const NAMES = { cache: "the cache", api: "an api", postgres: "Postgres" };
const STEPS = {
  before: () => "paying; the kill comes soon",
  away: ({ process }) => `${process} is killed`,
  after: ({ process }) => `${process} works again; paying continues`,
  comparing: () => "comparing with the stored payments",
  ended: ({ is_good }) => (is_good ? "nothing was lost" : "failed"),
};
const LOOK_MILLISECONDS = 5000;
const WATCH_MILLISECONDS = 300;
const SHOWN_MAX = 5;

export class Drills {
  constructor() {
    this.isWatching = false;
    this.orders = 0;
    this.running = null;
    this.wake = () => {};
  }

  greet({ drills }) {
    find("drills").hidden = !drills;
    if (drills && !this.isWatching) this.watch();
  }

  /** Order a drill. The drill continues if the stream is cut. */
  show() {}

  /** The asked api may be the killed process. Another api answers the next request. */
  async watch() {
    this.isWatching = true;
    for (;;) {
      let isRunning = true;
      const orders = this.orders;
      try {
        const told = await ask("GET", "/drills");
        isRunning = told.running !== null;
        if (orders === this.orders) this.draw(told); // otherwise from before the start
      } catch {
        // The next poll is soon.
      }
      await new Promise((resolve) => {
        this.wake = resolve;
        setTimeout(resolve, isRunning ? WATCH_MILLISECONDS : LOOK_MILLISECONDS);
      });
    }
  }

  draw({ targets, running, results }) {
    this.drawButtons(targets);
    this.disable(running !== null);
    const drills = running ? [running, ...results] : results;
    find("drill-results").hidden = !drills.length;
    rows(find("drill-results"), drills.slice(0, SHOWN_MAX), ({ id, started_at }) => `${id} ${started_at}`, create, fill);
    if (running) this.say(`Drill ${running.id}: ${STEPS[running.step](running)} …`);
    else if (results.length && this.running === results[0].id) this.tell(results[0]);
    this.running = running?.id ?? null;
  }

  drawButtons(targets) {
    const place = find("drill-buttons");
    if (place.children.length !== targets.length) place.replaceChildren(...targets.map((target) => this.button(target)));
  }

  disable(isDisabled) {
    for (const button of find("drill-buttons").children) button.disabled = isDisabled;
  }

  button(target) {
    const button = make("button", "", `Kill ${NAMES[target]}`);
    button.type = "button";
    button.onclick = () => this.start(target);
    return button;
  }

  async start(target) {
    const text =
      "It gets SIGKILL while a drill pays a few hundred times between two banks of its own, and is started again. " +
      "Payments of others may wait meanwhile.";
    if (!(await confirmed(`Kill ${NAMES[target]}?`, text, "Kill it"))) return;
    this.orders += 1;
    this.disable(true);
    try {
      this.draw(await ask("POST", "/drills", { target }));
    } catch (error) {
      this.say(`The drill did not start: ${error.message}`, true);
    }
    this.orders += 1;
    this.wake();
  }

  tell(drill) {
    const { findings } = drill;
    if (!drill.is_good) return this.say(`Drill ${drill.id} failed: ${drill.failure ?? found(findings)}`, true);
    const acknowledged = drill.acknowledged_before + drill.acknowledged_after;
    const stored = findings.stored_before + findings.stored_after;
    this.say(
      `Drill ${drill.id}: ${acknowledged.toLocaleString("en")} payments acknowledged, ${stored.toLocaleString("en")} stored, ` +
        `${findings.lost} lost, ${findings.doubled} duplicated.`,
    );
  }

  say(text, isBad = false) {
    const said = find("drill-said");
    said.classList.toggle("bad", isBad);
    say(said, text);
  }
}

function found({ lost, doubled, unacknowledged, wrong_balances }) {
  return `${lost} lost, ${doubled} duplicated, ${unacknowledged} stored without acknowledgement, ${wrong_balances.length} wrong balances.`;
}

function create({ started_at, process }) {
  return newRow(`${clock(started_at)} ${process}`, "", "number slim", "number slim", "number", "number", "number slim", "number slim", "number slim");
}

function fill(row, drill) {
  const [, state, before, after, lost, doubled, first, ready, longest] = row.cells;
  const { findings } = drill;
  say(state, STEPS[drill.step](drill));
  state.className = drill.step === "ended" ? `health ${drill.is_good ? "good" : "bad"}` : "quiet";
  say(before, part(drill.acknowledged_before, findings?.stored_before));
  say(after, part(drill.acknowledged_after, findings?.stored_after));
  count(lost, findings?.lost);
  count(doubled, findings?.doubled);
  say(first, seconds(drill.first_answer_seconds));
  say(ready, seconds(drill.ready_seconds));
  say(longest, seconds(drill.longest_wait_seconds));
}

/** The acknowledged payments, and after the comparison the stored payments. */
function part(acknowledged, stored) {
  return `${acknowledged.toLocaleString("en")} acknowledged` + (stored === undefined ? "" : `, ${stored.toLocaleString("en")} stored`);
}

function count(cell, number) {
  say(cell, number === undefined ? "–" : number.toLocaleString("en"));
  cell.classList.toggle("bad", Boolean(number));
}
