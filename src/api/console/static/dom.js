// The document for all panels: finding, making and changing elements. Unchanged elements are not touched.

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
 * Show one row of the table's body for each item, by its key and in their order. `fill` changes a row's cells. An
 * existing row stays the same element, because a new element would lose the focus.
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

/** A row with a heading as its first cell, cut if too long. Each further class is another cell. */
export function newRow(heading, ...classNames) {
  const row = document.createElement("tr");
  const first = make("th", "name", heading);
  first.scope = "row";
  first.title = heading;
  row.append(first, ...classNames.map((className) => make("td", className)));
  return row;
}

/** A list of definitions. With `line`, a term has the colour of this line of a chart. */
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

/** Ask before an irreversible step. Returns whether the user agrees. */
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
