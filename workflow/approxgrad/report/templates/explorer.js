"use strict";
(() => {
  const element = (id) => document.getElementById(id);
  const KEYS = ["dataset", "model", "method"];
  const MOST_FEATURES = 40;
  const views = {};
  let data;
  let turn = 0;

  const choice = (id) => element(id).value;
  const unique = (values) => [...new Set(values)];
  const short = (value, digits = 4) => value === null || value === undefined ? "undefined" : String(Number(value.toPrecision(digits)));

  function offer(id, options, wanted) {
    element(id).replaceChildren(...options.map(([value, text]) => new Option(text, value)));
    if (options.some(([value]) => value === wanted)) element(id).value = wanted;
    element(id).disabled = options.length < 2;
  }

  /* Offers only what the study combines, and keeps what was chosen before where it still exists. */
  function offerAll() {
    let fitting = data.comparisons;
    for (const key of KEYS) {
      const names = unique(fitting.map((item) => item[key]));
      const label = (name) => fitting.find((item) => item[key] === name).labels[key];
      offer(key, names.map((name) => [name, label(name)]), choice(key));
      fitting = fitting.filter((item) => item[key] === choice(key));
    }
    const item = fitting[0];
    const middle = item.sources[Math.floor(item.sources.length / 2)];
    offer("source", item.sources.map((name) => [name, name]), item.sources.includes(choice("source")) ? choice("source") : middle);
    offer("metric", data.metrics.map((metric) => [metric.name, metric.label]), choice("metric"));
    const texts = { exact: "the exact attribution", truth: "the true effects" };
    offer("reference", Object.keys(item.references).map((name) => [name, texts[name]]), choice("reference"));
    const slider = element("sample");
    slider.max = item.maps.samples.length - 1;
    slider.value = Math.min(slider.value, slider.max);
    slider.disabled = item.maps.samples.length < 2;
  }

  function current() {
    const item = data.comparisons.find((entry) => KEYS.every((key) => entry[key] === choice(key)));
    const row = Number(element("sample").value);
    return {
      item,
      row,
      sample: item.maps.samples[row],
      source: choice("source"),
      position: item.sources.indexOf(choice("source")),
      metric: data.metrics.find((metric) => metric.name === choice("metric")),
      distributions: item.references[choice("reference")],
    };
  }

  async function show(id, name, datasets, adjust = () => {}) {
    const chart = structuredClone(data.charts[name]);
    chart.datasets = datasets;
    adjust(chart);
    const mine = turn;
    const result = await vegaEmbed(element(id), chart, { mode: "vega-lite", renderer: "canvas", actions: false });
    if (views[id]) views[id].finalize();
    views[id] = result;
    return mine === turn ? result.view : null;
  }

  /* The range of an axis: values that agree to the last digits are not blown up to the whole chart. */
  function scaleOf(values, metric) {
    const low = Math.min(...values), high = Math.max(...values);
    if (!values.length) return { zero: false };
    if (metric.error && low > 0 && high / low > 100) return { type: "log" };
    if (metric.error) return { zero: false, nice: true };
    const bottom = Math.min(low, high - 0.1);
    const margin = 0.03 * (high - bottom);
    return { zero: false, domain: [bottom - margin, high + margin], nice: false };
  }

  async function drawDistribution() {
    const { item, sample, source, metric, distributions } = current();
    const boxes = [], points = [];
    for (const entry of distributions) {
      const chosen = entry.source === source;
      const box = entry.boxes[metric.name];
      boxes.push({ source: entry.source, chosen, ...box });
      entry.points[metric.name].forEach((value, index) => {
        const number = item.samples[index];
        const shown = number === sample && chosen;
        if (value !== null) points.push({ source: entry.source, sample: number, value, jitter: item.jitter[index], shown });
      });
    }
    const numbers = [...points.map((point) => point.value), ...boxes.flatMap((box) => [box.low, box.high])];
    const scale = scaleOf(numbers.filter((value) => value !== undefined), metric);
    const slot = (element("distribution").clientWidth - 60) / boxes.length;
    const view = await show("distribution", "distribution", { boxes, points }, (chart) => {
      for (const layer of chart.layer) {
        Object.assign(layer.encoding.y, { scale, title: metric.label });
        if (layer.mark.width) layer.mark.width = Math.min(34, 0.5 * slot);
        if (layer.mark.size && layer.mark.type === "bar") layer.mark.size = Math.min(34, 0.5 * slot);
        if (slot < 55) Object.assign(layer.encoding.x.axis, { labelAngle: -60, labelExpr: "datum.label", labelLimit: 150 });
      }
    });
    if (view) view.addEventListener("click", (_, mark) => mark && choose(mark.datum));
    describeDistribution(boxes, points);
  }

  /* A click on a box or point chooses its gradient source and, where there is a map of it, its test row. */
  function choose(datum) {
    const { item } = current();
    if (item.sources.includes(datum.source)) element("source").value = datum.source;
    const row = item.maps.samples.indexOf(datum.sample);
    if (row >= 0) element("sample").value = row;
    draw();
  }

  function describeDistribution(boxes, points) {
    const { item, source, metric, distributions } = current();
    const reference = choice("reference") === "exact" ? "the exact attribution" : "the true effects";
    const known = boxes.filter((box) => box.n > 0);
    const mine = known.find((box) => box.source === source);
    const best = known.find((box) => box.nearest);
    const parts = [`${item.labels.method} of the ${item.labels.model} on ${item.labels.dataset}, compared with ${reference}.`];
    parts.push(mine ? `With ${source} the median is ${short(mine.median)}.` : `With ${source} the measure is undefined.`);
    if (best && known.length > 1) {
      parts.push(mine && mine.nearest ? "No other source of this chart comes nearer to perfect agreement."
        : `Nearest to perfect agreement is ${best.source} with ${short(best.median)}.`);
    }
    element("distribution-text").textContent = parts.join(" ");
    const rows = Math.max(...distributions.map((entry) => entry.rows));
    const undefinedRows = distributions.map((entry) => entry.rows - entry.boxes[metric.name].n);
    const drawn = points.length ? ` Dots: ${Math.min(item.samples.length, rows)} of ${rows} rows; the red one is the row shown below.` : "";
    const left = Math.max(...undefinedRows) ? ` Left out because the measure is undefined: up to ${Math.max(...undefinedRows)} rows.` : "";
    element("distribution-note").textContent =
      `Box: lower to upper quartile of ${rows} rows, the dark one with the chosen source; line: median; whiskers: 5th to 95th ` +
      `percentile.${drawn}${left} Perfect agreement is ${metric.best}. Click a box or dot to choose it.`;
  }

  const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  async function unzip(id) {
    const stream = new Blob([bytesOf(element(id).textContent)]).stream();
    return new Response(stream.pipeThrough(new DecompressionStream("gzip"))).text();
  }

  function unpack(packed, row, length, bytes) {
    const whole = new DataView(bytesOf(packed.values).buffer);
    const at = (index) => bytes === 1 ? whole.getInt8(index) : whole.getInt16(2 * index, true);
    return Array.from({ length }, (_, index) => at(row * length + index) * packed.scales[row]);
  }

  function mapsOf() {
    const { item, row, position } = current();
    const maps = item.maps;
    const size = maps.shape.reduce((product, side) => product * side, 1);
    const values = (packed, length = size) => unpack(packed, row, length, maps.bytes);
    const exact = values(maps.exact);
    const difference = values(maps.differences[position]);
    const truth = maps.truth ? values(maps.truth) : null;
    const inputs = values(maps.inputs, size * Math.max(1, maps.channels));
    return { exact, difference, truth, inputs, approximated: exact.map((value, index) => value + difference[index]) };
  }

  const largest = (...lists) => Math.max(...lists.flat().map(Math.abs)) || 1;

  function side() {
    const width = element("maps").clientWidth;
    const columns = width > 640 ? 4 : 2;
    return Math.max(110, Math.min(235, Math.floor((width - 16 * (columns - 1)) / columns) - 12));
  }

  async function drawImages(maps) {
    const [height, width] = current().item.maps.shape;
    const channels = current().item.maps.channels;
    const pixel = (value, index) => ({ row: Math.floor(index / width) + 1, column: index % width + 1, value });
    const byte = (value) => Math.round(255 * Math.min(1, Math.max(0, value)));
    // Whole screen pixels for every pixel of the map, so that no seams show between them.
    const scale = Math.max(1, Math.floor(side() / Math.max(height, width)));
    const size = (chart) => Object.assign(chart, { width: scale * width, height: scale * height });
    const colours = (limit) => (chart) => {
      size(chart);
      chart.encoding.color.scale.domain = [-limit, limit];
      chart.encoding.color.legend.gradientLength = scale * width;
    };
    const picture = maps.exact.map((_, index) => {
      const levels = Array.from({ length: channels }, (_, channel) => maps.inputs[index * channels + channel]);
      const [red, green, blue] = levels.length === 3 ? levels.map(byte) : [0, 0, 0].fill(byte(levels[0]));
      const mean = levels.reduce((sum, level) => sum + level, 0) / channels;
      return { ...pixel(mean, index), colour: `rgb(${red},${green},${blue})` };
    });
    const both = largest(maps.exact, maps.approximated);
    await show("picture", "picture", { pixels: picture }, size);
    await show("exact", "map", { pixels: maps.exact.map(pixel) }, colours(both));
    await show("approximated", "map", { pixels: maps.approximated.map(pixel) }, colours(both));
    await show("difference", "map", { pixels: maps.difference.map(pixel) }, colours(largest(maps.difference)));
  }

  async function drawFeatures(maps) {
    let shown = maps.exact.map((_, index) => index);
    if (shown.length > MOST_FEATURES) {
      shown.sort((a, b) => Math.abs(maps.exact[b]) - Math.abs(maps.exact[a]));
      shown = shown.slice(0, MOST_FEATURES).sort((a, b) => a - b);
    }
    const bar = (values, kind) => shown.map((index) => ({ feature: index + 1, input: maps.inputs[index], kind, value: values[index] }));
    const features = [...bar(maps.exact, "exact"), ...bar(maps.approximated, "approximated")];
    if (maps.truth) features.push(...bar(maps.truth, "true effect"));
    const limit = (chart) => {
      if (maps.truth) return;
      chart.encoding.color.scale.domain.pop();
      chart.encoding.color.scale.range.pop();
    };
    await show("bars", "bars", { features }, limit);
    await show("differences", "differences", { features: bar(maps.difference, "difference") });
  }

  function describeMaps(maps) {
    const { item, row, sample, source } = current();
    const image = item.maps.channels > 0;
    const target = item.maps.targets ? `, explained class ${item.maps.targets[row]}` : "";
    const count = item.maps.samples.length;
    element("sample-name").textContent = `test row ${sample}${target} (${row + 1} of ${count})`;
    element("sample").setAttribute("aria-valuetext", `test row ${sample}${target}`);
    const share = largest(maps.difference) / largest(maps.exact);
    const strongest = maps.difference.every((value) => value === 0) ? "The two maps are equal."
      : `The largest difference is ${short(100 * share, 2)} % of the largest exact attribution.`;
    const peak = (values) => values.reduce((first, value) => Math.abs(value) > Math.abs(first) ? value : first, 0);
    const peaks = `The strongest exact attribution is ${short(peak(maps.exact), 2)}, the strongest approximated one ` +
      `${short(peak(maps.approximated), 2)}.`;
    element("maps-text").textContent = `${item.labels.method} with ${source}. ${peaks} ${strongest}`;
    const first = `Shown are the first ${count} of the attributed rows, which were drawn at random.`;
    const channels = item.maps.channels > 1 ? " A pixel is the sum over the colour channels." : "";
    const coarse = item.maps.coarsened ? " The pictures are coarsened: a pixel is the mean of a block." : "";
    element("maps-note").textContent = image
      ? `Orange: positive attribution; blue: negative; white: zero. Exact and approximated share a colour scale, the ` +
        `difference (approximated − exact) has its own.${channels}${coarse} ${first}`
      : `Bars of one feature stand beside each other; below, the approximated minus the exact one on a scale of its own.` +
        `${maps.exact.length > MOST_FEATURES ? ` Only the ${MOST_FEATURES} features with the largest exact attributions are drawn.` : ""} ${first}`;
  }

  function fillMeasures() {
    const { item, sample, source, distributions } = current();
    const entry = distributions.find((candidate) => candidate.source === source);
    const index = item.samples.indexOf(sample);
    const cells = data.metrics.map((metric) => [
      metric.label,
      index < 0 ? "not kept" : short(entry.points[metric.name][index]),
      short(entry.boxes[metric.name].median),
      String(metric.best),
    ]);
    element("measures").tBodies[0].replaceChildren(...cells.map((texts) => {
      const line = document.createElement("tr");
      texts.forEach((text, position) => {
        const cell = line.insertCell();
        cell.textContent = text;
        if (position) cell.className = "number";
      });
      return line;
    }));
  }

  async function drawRow() {
    const maps = mapsOf();
    const image = current().item.maps.channels > 0;
    element("maps").hidden = !image;
    element("features").hidden = image;
    describeMaps(maps);
    fillMeasures();
    await (image ? drawImages(maps) : drawFeatures(maps));
  }

  async function draw() {
    turn += 1;
    offerAll();
    await drawDistribution();
    await drawRow();
    document.body.dataset.drawn = turn;
  }

  let pending = Promise.resolve();
  const queue = () => { pending = pending.then(draw); };

  async function start() {
    const library = document.createElement("script");
    library.textContent = await unzip("library");
    document.head.append(library);
    data = JSON.parse(await unzip("data"));
    let timer = 0;
    element("choices").addEventListener("change", queue);
    element("choices").addEventListener("submit", (event) => event.preventDefault());
    element("sample").addEventListener("input", queue);
    window.addEventListener("resize", () => { clearTimeout(timer); timer = setTimeout(queue, 200); });
    queue();
  }

  if (window.DecompressionStream) start();
  else element("problem").hidden = false;
})();
