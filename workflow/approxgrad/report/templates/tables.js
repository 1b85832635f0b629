(async () => {
  const MOST_SHOWN = 300;
  const element = (id) => document.getElementById(id);
  const tables = JSON.parse(await unzip("data"));
  const list = element("table"), words = element("words");
  tables.forEach(({ name }, index) => list.append(new Option(name, index)));
  let order = { column: -1, sign: 1 };

  const number = (text) => (text === "" ? NaN : Number(text));
  const rounded = (text) => (/^-?\d*\.?\d+(e[-+]?\d+)?$/i.test(text) ? String(Number(Number(text).toPrecision(4))) : text);

  function compare(one, other) {
    const [a, b] = [one[order.column], other[order.column]];
    const [x, y] = [number(a), number(b)];
    if (!Number.isNaN(x) && !Number.isNaN(y)) return order.sign * (x - y);
    /* What is empty comes last, whichever way. */
    if (a === "" || b === "") return (a === "") - (b === "");
    return order.sign * a.localeCompare(b);
  }

  function draw() {
    const { header, rows, all, file } = tables[list.value];
    const asked = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = rows.filter((row) => asked.every((word) => row.some((cell) => cell.toLowerCase().includes(word))));
    const sorted = order.column < 0 ? found : found.toSorted(compare);
    const [head, body] = ["thead", "tbody"].map((name) => document.querySelector(name));
    const names = header.map((name, column) => {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
      button.addEventListener("click", () => {
        order = { column, sign: order.column === column ? -order.sign : 1 };
        draw();
      });
      const cell = Object.assign(document.createElement("th"), { scope: "col" });
      if (order.column === column) cell.setAttribute("aria-sort", order.sign > 0 ? "ascending" : "descending");
      cell.append(button);
      return cell;
    });
    const line = document.createElement("tr");
    line.append(...names);
    head.replaceChildren(line);
    body.replaceChildren(...sorted.slice(0, MOST_SHOWN).map((row) => {
      const line = document.createElement("tr");
      line.append(...row.map((text) => Object.assign(document.createElement("td"), {
        textContent: rounded(text), title: text, className: Number.isNaN(number(text)) ? "" : "number",
      })));
      return line;
    }));
    const shown = Math.min(MOST_SHOWN, sorted.length);
    const here = rows.length < all ? ` The page has the first ${rows.length} of ${all}.` : "";
    element("count").textContent = `${shown} of ${sorted.length} rows that are asked for, out of ${all} in ${file}.${here}`;
  }

  list.addEventListener("change", () => { order = { column: -1, sign: 1 }; draw(); });
  words.addEventListener("input", draw);
  document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  draw();
  document.body.dataset.drawn = 1;
})();
