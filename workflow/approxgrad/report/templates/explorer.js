(async () => {
  const element = (id) => document.getElementById(id);
  const library = document.createElement("script");
  library.textContent = await unzip("library");
  document.head.append(library);
  const { width: full, side, box, comparisons } = JSON.parse(await unzip("data"));
  /* Pixels beside a chart, beside maps, of a label that lies flat, and of a width for two maps only. */
  const AXIS = 95, GAP = 70, CROWDED = 90, NARROW = 500;
  const LINKED = ["measure", "reference", "sample_sample"];
  const panels = [];
  let drawn = 0;

  /* The charts of a comparison in a width of `room` pixels; where four maps have no room side by side, two have. */
  function fitted({ chart, shape, sources }, room) {
    // A copy of the data too: what draws them changes them.
    const { datasets, ...own } = structuredClone(chart);
    const wide = Math.min(full, Math.max(160, room - AXIS));
    const pixel = (limit) => Math.max(1, Math.floor(limit / Math.max(...shape)));
    const narrow = room < NARROW;
    const [before, after] = [pixel(side), pixel(Math.min(side, narrow ? (room - GAP) / 2 : (room - 2 * GAP) / 4))];
    const visit = (node) => {
      if (node.width === full) node.width = wide;
      if (node.width === before * shape[1] && node.height === before * shape[0]) {
        node.width = after * shape[1];
        node.height = after * shape[0];
      }
      if (node.gradientLength === before * shape[1]) node.gradientLength = after * shape[1];
      if (wide / sources < CROWDED && String(node.labelExpr).startsWith("split(")) {
        delete node.labelExpr;
        node.labelAngle = -60;
      }
      Object.values(node).forEach((inner) => inner && typeof inner === "object" && visit(inner));
    };
    visit(own);
    own.params.find(({ name }) => name === "box").value = Math.min(box, wide / (2 * sources));
    const { hconcat, ...maps } = own.vconcat[1];
    if (hconcat && narrow) own.vconcat[1] = { ...maps, vconcat: hconcat };
    return { ...own, datasets };
  }

  class Panel {
    constructor(number) {
      const section = element("panel").content.firstElementChild.cloneNode(true);
      const named = (selector, id) => Object.assign(section.querySelector(selector), { id: number ? `${id}-${number + 1}` : id });
      this.section = section;
      this.list = named("select", "comparison");
      section.querySelector("label").htmlFor = this.list.id;
      this.bindings = named(".bindings", "bindings");
      this.chart = named(".chart", "chart");
      this.rows = named("tbody", "measures");
      this.pending = Promise.resolve();
      const groups = new Map();
      comparisons.forEach(({ group, name }, index) => {
        if (!groups.has(group)) groups.set(group, this.list.appendChild(Object.assign(document.createElement("optgroup"), { label: group })));
        groups.get(group).append(new Option(`${group}: ${name}`, index));
      });
      this.list.addEventListener("change", () => this.queue());
      section.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
      element("panels").append(section);
      panels.push(this);
    }

    queue() {
      this.pending = this.pending.then(() => this.draw());
      return this.pending;
    }

    /* Draws the chosen comparison and keeps what is linked, as it is here or else in the other panel. */
    async draw() {
      const from = this.view ? this : panels.find((other) => other.view);
      const kept = from ? LINKED.map((name) => [name, from.view.signal(name)]) : [];
      if (this.view) this.view.finalize();
      this.bindings.replaceChildren();
      this.comparison = comparisons[this.list.value];
      this.room = this.chart.clientWidth;
      const options = { mode: "vega-lite", renderer: "svg", actions: false, bind: `#${this.bindings.id}` };
      this.view = (await vegaEmbed(this.chart, fitted(this.comparison, this.room), options)).view;
      for (const [name, value] of kept) await this.set(name, value);
      for (const name of [...LINKED, "source_source"]) this.view.addSignalListener(name, (_, value) => this.changed(name, value));
      this.tabulate();
      document.body.dataset.drawn = ++drawn;
    }

    /* Chooses a value where it is offered. */
    async set(name, value) {
      const options = this.bindings.querySelector(`select[name=${name}]`).options;
      const offered = [...options].some((option) => option.value === String(value));
      if (offered && this.view.signal(name) !== value) await this.view.signal(name, value).runAsync();
    }

    changed(name, value) {
      this.tabulate();
      if (LINKED.includes(name)) panels.filter((other) => other !== this && other.view).forEach((other) => other.set(name, value));
    }

    /* Every metric: of the chosen row, its median over all rows, and for perfect agreement. */
    tabulate() {
      const { metrics, points, boxes } = this.comparison.chart.datasets;
      const [reference, source, sample] = ["reference", "source_source", "sample_sample"].map((name) => this.view.signal(name));
      const of = (own) => own.reference === reference && own.source === source;
      const point = points.find((own) => of(own) && own.sample === sample), all = boxes.find(of);
      const text = (value) => Number.isFinite(value) ? String(Number(value.toPrecision(4))).replace("-", "−") : "undefined";
      this.rows.replaceChildren(...metrics.map(({ metric, label, best }) => {
        const row = document.createElement("tr");
        row.append(Object.assign(document.createElement("td"), { textContent: label }));
        for (const value of [point?.[metric], all?.[metric].median, best])
          row.append(Object.assign(document.createElement("td"), { className: "number", textContent: text(value) }));
        return row;
      }));
    }

    remove() {
      panels.splice(panels.indexOf(this), 1);
      this.pending.then(() => this.view.finalize());
      this.section.remove();
    }
  }

  const redraw = () => Promise.all(panels.map((panel) => panel.queue()));
  new Panel(0);
  element("beside").addEventListener("click", async ({ target }) => {
    const two = document.body.classList.toggle("two");
    target.setAttribute("aria-pressed", two);
    target.textContent = two ? "Show one alone" : "Show another one beside it";
    if (!two) panels[1].remove();
    else new Panel(1).list.value = panels[0].list.value;
    await redraw();
    if (!two) return;
    /* The same again says nothing: the next source. */
    const { options, selectedIndex } = panels[1].bindings.querySelector("select[name=source_source]");
    await panels[1].set("source_source", options[(selectedIndex + 1) % options.length].value);
  });
  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => panels.forEach((panel) => panel.room !== panel.chart.clientWidth && panel.queue()), 200);
  });
  redraw();
})();
