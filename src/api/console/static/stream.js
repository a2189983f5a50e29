// The single stream of snapshots. If an api ends the stream, the browser reconnects by itself. Any api may answer.

import { openSession } from "./door.js";

const PATIENCE_MILLISECONDS = 3000;
const PAUSES_MILLISECONDS = [500, 1000, 2000, 5000];

export class Stream {
  /** `onHello` and `onSnapshot` get the messages, `onState` gets "live", "late" or "off". */
  constructor({ onHello, onSnapshot, onState }) {
    this.onHello = onHello;
    this.onSnapshot = onSnapshot;
    this.onState = onState;
    this.currency = null;
    this.failures = 0;
    this.heard = 0;
    setInterval(() => this.watch(), 1000);
  }

  open(currency) {
    this.currency = currency;
    this.heard ||= performance.now(); // a stream without any message is late, too
    this.source?.close();
    const source = new EventSource("/console/events" + (currency ? `?currency=${currency}` : ""));
    source.addEventListener("hello", (event) => this.onHello(JSON.parse(event.data)));
    source.onmessage = (event) => {
      this.failures = 0;
      this.heard = performance.now();
      this.onState("live");
      this.onSnapshot(JSON.parse(event.data));
    };
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED && source === this.source) this.reopen();
    };
    this.source = source;
  }

  /** Refused: the session has expired, or too many consoles are open at this api. */
  reopen() {
    this.onState("off");
    const pause = PAUSES_MILLISECONDS[Math.min(this.failures++, PAUSES_MILLISECONDS.length - 1)];
    setTimeout(async () => {
      try {
        await openSession();
        this.open(this.currency);
      } catch {
        this.reopen();
      }
    }, pause);
  }

  watch() {
    if (this.heard && performance.now() - this.heard > PATIENCE_MILLISECONDS) {
      this.onState(this.source.readyState === EventSource.OPEN ? "late" : "off");
    }
  }
}
