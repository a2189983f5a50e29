// The audit's state: the time of the last complete proof, and the findings.

import { ask, Refused } from "./door.js";
import { find, make, since } from "./dom.js";
import { money } from "./money.js";

const REFRESH_MILLISECONDS = 5000;
const FINDINGS_SHOWN = 3;

export class Audit {
  constructor() {
    this.at = -Infinity;
  }

  show() {
    if (performance.now() - this.at < REFRESH_MILLISECONDS) return;
    this.at = performance.now();
    this.read();
  }

  async read() {
    try {
      const { runs } = await ask("GET", "/audit?limit=1");
      draw(runs[0]);
    } catch (error) {
      if (error instanceof Refused && error.status === 404) draw(undefined);
    }
  }
}

function verdictOf(run) {
  if (run.faults) return `${run.faults} faults`;
  return run.skipped.length ? `${run.skipped.length} checks skipped` : "Clean";
}

function draw(run) {
  const place = find("audit");
  const key = run ? run.ended_at : "none";
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  if (!run) {
    place.replaceChildren(make("p", "quiet", "Not run yet."));
    return;
  }
  const verdict = make("p", run.faults || run.skipped.length ? "health bad" : "health good", verdictOf(run));
  const when = make("p", "quiet", `${run.payments_new.toLocaleString("en")} new payments proved, ${run.payments_again.toLocaleString("en")} proved again, at ${since(run.ended_at)}.`);
  const findings = make("ul");
  for (const found of run.findings.slice(0, FINDINGS_SHOWN)) {
    findings.append(make("li", "", `${found.check}: ${found.subject}: ${shown(found.found, found)} instead of ${shown(found.expected, found)}`));
  }
  for (const skipped of run.skipped.slice(0, FINDINGS_SHOWN)) {
    findings.append(make("li", "", `${skipped.check}: ${skipped.reason}`));
  }
  if (run.faults > FINDINGS_SHOWN) findings.append(make("li", "quiet", `and ${run.faults - FINDINGS_SHOWN} more: GET /audit`));
  place.replaceChildren(verdict, when, ...(findings.children.length ? [findings] : []));
}

/** A number of a finding: money, or a count. */
function shown(number, { currency }) {
  return currency ? money(number, currency) : BigInt(number).toLocaleString("en");
}
