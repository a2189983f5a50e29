// The key: from the address's fragment, which no server sees, or typed in. The key stays in this tab.

import { find } from "./dom.js";

const KEPT = "polka key";

export class Refused extends Error {
  constructor(problem, status) {
    super(problem.detail ?? `The api answers ${status}.`);
    this.code = problem.code ?? "";
    this.status = status;
  }
}

export function takeKeyFromAddress() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (given === null) return;
  sessionStorage.setItem(KEPT, given);
  history.replaceState(null, "", location.pathname);
}

/** The answer to a request of this operator. Throws Refused, or a TypeError if the api is down. */
export async function ask(method, path, body) {
  const key = sessionStorage.getItem(KEPT);
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const content = body === undefined ? undefined : JSON.stringify(body);
  const response = await fetch(path, { method, headers, body: content, credentials: "same-origin", cache: "no-store" });
  if (response.ok) return response.status === 204 ? null : response.json();
  let problem = {};
  try {
    problem = await response.json();
  } catch {
    // A proxy in front of the api has answered.
  }
  throw new Refused(problem, response.status);
}

/** Exchange the key for a session, which allows the stream. Ask for a key until a key is valid. */
export async function openSession() {
  try {
    await ask("POST", "/console/session");
  } catch (error) {
    if (!(error instanceof Refused) || ![401, 403].includes(error.status)) throw error;
    await askForKey(sessionStorage.getItem(KEPT) ? error.message : "");
    return openSession();
  }
  find("door").hidden = true;
}

function askForKey(why) {
  const door = find("door");
  sessionStorage.removeItem(KEPT);
  find("refused").textContent = why;
  find("state").textContent = "Waits for a key";
  find("figures").hidden = true;
  door.hidden = false;
  find("key").focus();
  return new Promise((resolve) => {
    door.onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEPT, find("key").value.trim());
      find("key").value = "";
      resolve();
    };
  });
}
