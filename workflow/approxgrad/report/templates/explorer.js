"use strict";
(async () => {
  const element = (id) => document.getElementById(id);
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const unzip = (id) => {
    const stream = new Blob([bytes(element(id).textContent)]).stream();
    return new Response(stream.pipeThrough(new DecompressionStream("gzip"))).text();
  };
  if (!window.DecompressionStream) {
    element("problem").hidden = false;
    return;
  }
  const library = document.createElement("script");
  library.textContent = await unzip("library");
  document.head.append(library);
  const comparisons = JSON.parse(await unzip("data"));
  const list = element("comparison");
  const groups = new Map();
  comparisons.forEach(({ group, name }, index) => {
    if (!groups.has(group)) groups.set(group, list.appendChild(Object.assign(document.createElement("optgroup"), { label: group })));
    groups.get(group).append(new Option(`${group}: ${name}`, index));
  });

  /* Draws the chosen comparison and keeps the chosen metric. */
  let view, pending = Promise.resolve(), drawn = 0;
  async function draw() {
    const measure = view && view.signal("measure");
    if (view) view.finalize();
    element("bindings").replaceChildren();
    const options = { mode: "vega-lite", renderer: "svg", actions: false, bind: "#bindings" };
    view = (await vegaEmbed("#chart", comparisons[list.value].chart, options)).view;
    if (measure) await view.signal("measure", measure).runAsync();
    document.body.dataset.drawn = ++drawn;
  }
  const queue = () => { pending = pending.then(draw); };
  list.addEventListener("change", queue);
  element("choices").addEventListener("submit", (event) => event.preventDefault());
  queue();
})();
