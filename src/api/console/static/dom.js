// What all panels need of the document: finding, making and changing elements without touching what is the same.

export function find(id) {
  return document.getElementById(id);
}

export function make(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Have one row of the table's body for each item, by its key and in their order. `fill` changes a row's cells; a row
 * that is there stays the same element, so that whoever has the focus in it keeps it.
 */
export function rows(table, items, keyOf, create, fill) {
  const body = table.tBodies[0];
  const there = new Map(Array.from(body.rows, (row) => [row.dataset.key, row]));
  items.forEach((item, place) => {
    const key = String(keyOf(item));
    let row = there.get(key);
    if (!row) {
      row = create(item);
      row.dataset.key = key;
    }
    there.delete(key);
    if (body.rows[place] !== row) body.insertBefore(row, body.rows[place] ?? null);
    fill(row, item);
  });
  for (const row of there.values()) row.remove();
}

/** A row whose first cell is its heading, which is cut where it is long; each further class is another cell. */
export function newRow(heading, ...classNames) {
  const row = document.createElement("tr");
  const first = make("th", "name", heading);
  first.scope = "row";
  first.title = heading;
  row.append(first, ...classNames.map((className) => make("td", className)));
  return row;
}

/** Terms and what they are, as a list of definitions; with a `line`, in the colour of that line of a chart. */
export function pairs(list, items) {
  items.forEach(([term, text, title, line], place) => {
    let pair = list.children[place];
    if (!pair) {
      pair = make("div");
      pair.append(make("dt"), make("dd"));
      list.append(pair);
    }
    say(pair.children[0], term);
    say(pair.children[1], text);
    pair.title = title;
    if (line) pair.children[0].dataset.line = line;
  });
  while (list.children.length > items.length) list.lastElementChild.remove();
}

/** Ask before what cannot be taken back; whether the answer is yes. */
export function confirmed(title, text, yes) {
  const dialog = find("confirm");
  say(find("confirm-title"), title);
  say(find("confirm-text"), text);
  say(find("confirm-yes"), yes);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => (dialog.onclose = () => resolve(dialog.returnValue === "yes")));
}

export function clock(time) {
  return new Date(time).toLocaleTimeString("en-GB");
}

/** "14:02:11" for today, with the day before for others. */
export function since(time) {
  const at = new Date(time);
  const day = at.toDateString() === new Date().toDateString() ? "" : at.toLocaleDateString("en-GB", { day: "numeric", month: "short" }) + " ";
  return day + clock(time);
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.0995) return `${(value * 1000).toFixed(value < 0.00995 ? 1 : 0)} ms`;
  return value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(1)} s`;
}
