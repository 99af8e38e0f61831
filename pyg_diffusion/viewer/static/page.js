// The page: molecules in a list, conformers in space and in a table. All text goes in as text, never as HTML.
"use strict";
(async () => {
  const PREFERRED = ["confidence", "energy_kcal_mol", "population"]; // columns, where there are such data fields
  const HEADERS = { confidence: "confidence", energy_kcal_mol: "kcal/mol", population: "population" };
  const DESCENDING = new Set(["confidence", "population"]); // the most is the best
  const OVERLAID = 60; // conformers drawn at once at most
  const COLOURS = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"];

  const by = (id) => document.getElementById(id);
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const unpacked = async () => {
    const bytes = Uint8Array.from(atob(by("data").textContent), (c) => c.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
  };

  const data = await unpacked();
  const molecules = data.molecules;
  const chosen = molecules.map(() => new Set());
  // picks: {conformer, atom} that were clicked, atoms numbered as in the molecule's first record
  const state = { molecule: 0, current: 0, sort: "", picks: [] };

  const molecule = () => molecules[state.molecule];
  const conformers = () => molecule().conformers;
  const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

  // Values by which conformers are sorted

  const number = (conformer, name) => {
    const text = Object.hasOwn(conformer.fields, name) ? conformer.fields[name].trim() : "";
    return text === "" ? NaN : Number(text);
  };
  const numeric = () => {
    const names = new Set(conformers().flatMap((c) => Object.keys(c.fields)));
    const found = [...names].filter((name) => conformers().every((c) => !Number.isNaN(number(c, name)) || !Object.hasOwn(c.fields, name)
      || c.fields[name] === "unknown") && conformers().some((c) => !Number.isNaN(number(c, name))));
    return [...PREFERRED.filter((name) => found.includes(name)), ...found.filter((name) => !PREFERRED.includes(name)).sort()];
  };
  const measuredAtoms = () => state.picks.map((pick) => pick.atom);
  const value = (k, key) => (key === "measured" ? measure(k) : key ? number(conformers()[k], key) : k);
  const sorted = () => {
    const sign = DESCENDING.has(state.sort) ? -1 : 1;
    const rank = (k) => { const v = value(k, state.sort); return Number.isNaN(v) ? Infinity : sign * v; };
    const ranks = conformers().map((_, k) => rank(k));
    return conformers().map((_, k) => k).sort((a, b) => (ranks[a] < ranks[b] ? -1 : ranks[a] > ranks[b] ? 1 : a - b));
  };
  const rmsd = (a, b) => {
    const [high, low] = a > b ? [a, b] : [b, a];
    return a === b ? 0 : molecule().rmsd[(high * (high - 1)) / 2 + low];
  };
  const compared = () => Math.round((1 + Math.sqrt(1 + 8 * molecule().rmsd.length)) / 2);

  // Places of atoms

  const atoms = (conformer) => {
    conformer.atoms ??= $3Dmol.Parsers.sdf(conformer.record.split("M  END")[0] + "M  END\n", { keepH: true })[0];
    return conformer.atoms;
  };
  const place = (conformer, atom) => {
    const { x, y, z } = atoms(conformer)[conformer.order ? conformer.order[atom] : atom];
    return [x, y, z];
  };
  const measure = (k) => (state.picks.length < 2 ? NaN : Geometry.measured(measuredAtoms().map((atom) => place(conformers()[k], atom))));
  const label = (atom) => {
    const first = conformers()[0];
    return `${atoms(first)[first.order ? first.order[atom] : atom].elem}${atom + 1}`;
  };

  // Space

  let viewer = null;
  try {
    viewer = $3Dmol.createViewer(by("stage"), { backgroundColor: "white", antialias: true });
  } catch { /* said below */ }
  if (viewer) {
    by("stage").viewer = viewer;
  } else {
    by("measure").textContent = "This browser has no WebGL, so there is nothing to see in three dimensions; the rest works.";
  }

  const colour = (k) => COLOURS[k % COLOURS.length];
  const shown = () => {
    if (!by("overlaid").checked) return [state.current];
    const some = chosen[state.molecule];
    return sorted().filter((k) => !some.size || some.has(k)).slice(0, OVERLAID);
  };
  const styleOf = (carbon) => {
    const colorscheme = carbon ? { prop: "elem", map: { ...$3Dmol.elementColors.defaultColors, C: carbon } } : undefined;
    const look = (options) => ({ ...options, ...(colorscheme ? { colorscheme } : {}) });
    return {
      sticks: { stick: look({ radius: carbon ? 0.06 : 0.12 }), sphere: look({ scale: carbon ? 0.07 : 0.16 }) },
      balls: { stick: look({ radius: 0.1 }), sphere: look({ scale: 0.28 }) },
      lines: { line: look({ linewidth: 1.5 }) },
      spheres: { sphere: look({ scale: 1 }) },
    }[by("style").value];
  };
  const hidden = (all) => {
    const mode = by("hydrogens").value;
    const onCarbon = (atom) => atom.bonds.every((other) => all[other].elem === "C");
    return all.filter((atom) => atom.elem === "H" && (mode === "none" || (mode === "polar" && onCarbon(atom)))).map((atom) => atom.index);
  };
  const draw = (zoom) => {
    if (!viewer) return;
    viewer.removeAllModels();
    viewer.removeAllLabels();
    viewer.removeAllShapes();
    const several = by("overlaid").checked;
    for (const k of shown()) {
      const conformer = conformers()[k];
      const laid = atoms(conformer).map((atom) => {
        const [x, y, z] = Geometry.moved([atom.x, atom.y, atom.z], conformer.move);
        return { ...atom, x, y, z, properties: { conformer: k } };
      });
      const model = viewer.addModel();
      model.addAtoms(laid);
      model.setStyle({}, styleOf(several ? colour(k) : null));
      const out = hidden(laid);
      if (out.length) model.setStyle({ index: out }, {});
    }
    viewer.setClickable({}, true, (atom) => pick(atom.properties.conformer, atom.index));
    drawPicks();
    if (zoom) viewer.zoomTo();
    viewer.render();
  };
  const drawPicks = () => {
    const spots = state.picks.map((p) => {
      const conformer = conformers()[p.conformer];
      const [x, y, z] = Geometry.moved(place(conformer, p.atom), conformer.move);
      return { x, y, z };
    });
    spots.forEach((spot, k) => {
      viewer.addLabel(label(state.picks[k].atom), { position: spot, fontSize: 12, backgroundOpacity: 0.6, inFront: true });
      if (k) viewer.addCylinder({ start: spots[k - 1], end: spot, radius: 0.04, dashed: true, color: "#444" });
    });
  };
  const pick = (k, index) => {
    const conformer = conformers()[k];
    const atom = conformer.order ? conformer.order.indexOf(index) : index;
    const same = state.picks.length && state.picks[0].conformer === k;
    if (!same || state.picks.length === 4) state.picks = [];
    if (state.picks.some((p) => p.atom === atom)) state.picks = state.picks.filter((p) => p.atom !== atom);
    else state.picks.push({ conformer: k, atom });
    refresh();
  };

  // Panels

  const unit = () => (state.picks.length === 2 ? "Å" : "°");
  const written = (v) => (Number.isNaN(v) ? "" : state.picks.length === 2 ? v.toFixed(3) : v.toFixed(1));
  const named = () => state.picks.map((p) => label(p.atom)).join("–");
  const showMeasure = () => {
    const count = state.picks.length;
    const what = ["", "", "distance", "angle", "torsion"][count];
    by("measure").textContent = count === 0 ? "Click atoms: two give a distance, three an angle, four a torsion."
      : count === 1 ? `${named()}: click another atom`
        : `${what} ${named()}: ${written(measure(state.picks[0].conformer))} ${unit()}`;
  };
  const showList = () => {
    const wanted = by("filter").value.toLowerCase();
    by("molecules").replaceChildren(...molecules.flatMap((m, k) => {
      if (!`${m.name}\n${m.smiles}`.toLowerCase().includes(wanted)) return [];
      const button = make("button", { onclick: () => open(k) });
      if (m.picture) {
        const bytes = new TextEncoder().encode(m.picture);
        const source = btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join(""));
        button.append(make("img", { src: `data:image/svg+xml;base64,${source}`, alt: m.smiles, loading: "lazy" }));
      }
      button.append(make("b", { textContent: m.name }), make("br"), plural(m.conformers.length, "conformer"));
      button.setAttribute("aria-current", String(k === state.molecule));
      return [make("li", {}, button)];
    }));
  };
  const columns = () => {
    const keys = PREFERRED.filter((name) => numeric().includes(name));
    if (state.sort && state.sort !== "measured" && !keys.includes(state.sort)) keys.push(state.sort);
    return keys;
  };
  const showTable = () => {
    const keys = columns(), measuring = state.picks.length > 1, few = compared();
    const heads = ["", "#", ...keys.map((key) => HEADERS[key] ?? key), "RMSD", ...(measuring ? [`${named()} ${unit()}`] : [])];
    by("conformers").tHead.replaceChildren(make("tr", {}, ...heads.map((text) => make("th", { textContent: text }))));
    by("conformers").tBodies[0].replaceChildren(...sorted().map((k) => {
      const box = make("input", { type: "checkbox", checked: chosen[state.molecule].has(k), ariaLabel: `choose ${k + 1}` });
      box.onclick = (event) => event.stopPropagation();
      box.onchange = () => { chosen[state.molecule][box.checked ? "add" : "delete"](k); refresh(); };
      const spot = make("span", { className: "swatch" });
      spot.style.background = by("overlaid").checked ? colour(k) : "none";
      const there = k < few && state.current < few ? (rmsd(k, state.current) ?? NaN) : NaN;
      const cells = [make("td", {}, box, spot), make("td", { textContent: String(k + 1) })];
      for (const key of keys) cells.push(make("td", { textContent: conformers()[k].fields[key] ?? "" }));
      cells.push(make("td", { textContent: Number.isNaN(there) ? "" : there.toFixed(2) }));
      if (measuring) cells.push(make("td", { textContent: written(measure(k)) }));
      const row = make("tr", { onclick: () => { state.current = k; state.picks = state.picks.map((p) => ({ ...p, conformer: k })); refresh(); } }, ...cells);
      row.setAttribute("aria-current", String(k === state.current));
      return row;
    }));
  };
  const showSort = () => {
    const options = [["", "place in the file"], ...numeric().map((name) => [name, HEADERS[name] ?? name])];
    if (state.picks.length > 1) options.push(["measured", named()]);
    if (!options.some(([key]) => key === state.sort)) state.sort = "";
    by("sort").replaceChildren(...options.map(([key, text]) => make("option", { value: key, textContent: text })));
    by("sort").value = state.sort;
  };
  const grid = () => {
    const few = compared();
    return sorted().filter((k) => k < few);
  };
  const showMatrix = () => {
    const canvas = by("matrix"), order = grid(), size = Math.max(1, Math.floor(canvas.width / order.length));
    const pen = canvas.getContext("2d"), most = molecule().rmsd.reduce((a, b) => Math.max(a, b), 0.01);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    order.forEach((a, row) => order.forEach((b, column) => {
      const share = rmsd(a, b) / most;
      pen.fillStyle = `hsl(210 70% ${97 - 62 * share}%)`;
      pen.fillRect(column * size, row * size, size, size);
    }));
    const whole = conformers().length, bound = molecule().rmsd_is_bound ? "; upper bounds, as the molecule is very symmetric" : "";
    const part = order.length < whole ? `the first ${order.length} of ${whole}; ` : "";
    by("rmsd").textContent = molecule().rmsd.length ? `${part}largest ${most.toFixed(2)} Å${bound}` : "";
  };
  const cell = (event) => {
    const canvas = by("matrix"), box = canvas.getBoundingClientRect(), order = grid();
    const size = Math.max(1, Math.floor(canvas.width / order.length)) * (box.width / canvas.width);
    return [order[Math.floor((event.clientY - box.top) / size)], order[Math.floor((event.clientX - box.left) / size)]];
  };
  const showRest = () => {
    const m = molecule(), current = conformers()[state.current];
    by("name").textContent = m.name;
    const more = m.left_out ? [`${plural(m.left_out, "further conformer")} left out`] : [];
    by("remarks").textContent = [...m.remarks, ...more].join("; ");
    by("which").textContent = by("overlaid").checked ? `${shown().length} of ${conformers().length} overlaid`
      : `${state.current + 1} of ${conformers().length}`;
    by("fields").replaceChildren(...Object.entries(current.fields).flatMap(([name, text]) => [
      make("dt", { textContent: name }), make("dd", { textContent: text })]));
    const count = chosen.reduce((sum, some) => sum + some.size, 0);
    by("save-chosen").textContent = `Save chosen (${count})`;
    by("save-chosen").disabled = !count;
  };
  const refresh = (zoom = false) => { showSort(); showTable(); showMatrix(); showRest(); showMeasure(); draw(zoom); };
  const open = (k) => {
    Object.assign(state, { molecule: k, current: 0, picks: [] });
    showSort();
    state.current = sorted()[0];
    showList();
    refresh(true);
  };

  // Out

  const save = (name, parts, type) => {
    const link = make("a", { href: URL.createObjectURL(new Blob(parts, { type })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  const sdf = (name, records) => save(name, records, "chemical/x-mdl-sdfile");
  const fileName = (text) => (text.replace(/[^\w.+-]+/g, "_").slice(0, 80) || "molecule");

  by("save-chosen").onclick = () => sdf("chosen.sdf", molecules.flatMap((m, k) => m.conformers.filter((_, c) => chosen[k].has(c)).map((c) => c.record)));
  by("save-molecule").onclick = () => sdf(`${fileName(molecule().name)}.sdf`, sorted().map((k) => conformers()[k].record));
  by("save-all").onclick = () => sdf(`${fileName(data.title)}.sdf`, molecules.flatMap((m) => m.conformers.map((c) => c.record)));
  by("picture").onclick = async () => {
    if (viewer) save(`${fileName(molecule().name)}.png`, [Uint8Array.from(atob(viewer.pngURI().split(",")[1]), (c) => c.charCodeAt(0))], "image/png");
  };
  by("all").onclick = () => { conformers().forEach((_, k) => chosen[state.molecule].add(k)); refresh(); };
  by("none").onclick = () => { chosen[state.molecule].clear(); refresh(); };
  by("sort").onchange = () => { state.sort = by("sort").value; refresh(); };
  by("overlaid").onchange = () => refresh(true);
  by("style").onchange = by("hydrogens").onchange = () => draw(false);
  by("filter").oninput = showList;
  by("matrix").onmousemove = (event) => {
    const [a, b] = cell(event);
    if (a !== undefined && b !== undefined) by("rmsd").textContent = `${a + 1} and ${b + 1}: ${rmsd(a, b).toFixed(2)} Å`;
  };
  by("matrix").onmouseleave = showMatrix;
  by("matrix").onclick = (event) => {
    const [a, b] = cell(event);
    if (a === undefined || b === undefined) return;
    chosen[state.molecule] = new Set([a, b]);
    by("overlaid").checked = true;
    refresh(true);
  };
  const step = (by_) => {
    const order = sorted(), next = order[(order.indexOf(state.current) + by_ + order.length) % order.length];
    state.current = next;
    state.picks = state.picks.map((p) => ({ ...p, conformer: next }));
    refresh();
  };
  by("back").onclick = () => step(-1);
  by("forth").onclick = () => step(1);
  document.addEventListener("keydown", (event) => {
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });

  by("notes").textContent = data.notes.join(". ");
  if (molecules.length) open(0);
  document.body.dataset.ready = "yes";
})();
