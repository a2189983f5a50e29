// The cache in four figures: its epoch, the latest flush, its lag, and the pending batches.

import { find, pairs, seconds } from "./dom.js";

export class Ledger {
  show({ overview: { cache, apis } }) {
    const queue = apis.reduce((sum, { pulse }) => sum + pulse.queue, 0);
    const queueMax = apis.reduce((sum, { pulse }) => sum + pulse.queue_max, 0);
    pairs(find("ledger"), [
      ["Epoch", cache?.epoch ? cache.epoch.toLocaleString("en") : "–", "Rises with each start of the cache"],
      ["Flush", cache?.epoch ? cache.flush.toLocaleString("en") : "–", "The latest flush of posted batches"],
      ["Lag", cache?.epoch ? seconds(cache.flush_age_seconds) : "–", "Since the latest flush looked"],
      ["Pending", cache?.epoch ? `${cache.pending.toLocaleString("en")} batches` : "–", "Committed batches, not posted yet"],
      ["Waiting", `${queue.toLocaleString("en")} of ${queueMax.toLocaleString("en")}`, "Payments in the queues of all apis"],
    ]);
  }
}
