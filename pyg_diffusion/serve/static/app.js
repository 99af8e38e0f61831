// The page of the server: a request becomes a job, which is watched, looked at and saved. All text goes in as text.
"use strict";
(() => {
  const by = (id) => document.getElementById(id);
  const say = (text) => { by("said").textContent = text; };
  let running = null; // the id of the job that is watched
  let editor = null;

  const ask = async () => {
    const wanted = { seed: Number(by("seed").value || 0), preset: by("preset").value };
    if (by("n").value) wanted.n = Number(by("n").value);
    if (by("stereo").checked) wanted.stereo = "enumerate";
    const file = by("file").files[0];
    if (file) return { ...wanted, sdf: await file.text() };
    const lines = by("smiles").value.split("\n").map((line) => line.trim()).filter(Boolean);
    return { ...wanted, smiles: lines };
  };
  const called = async (path, options) => {
    const answer = await fetch(path, options);
    const body = answer.status === 204 ? null : await answer.json();
    if (!answer.ok) throw new Error(typeof body.detail === "string" ? body.detail : `status ${answer.status}`);
    return body;
  };
  const busy = (on) => {
    by("go").disabled = on;
    by("stop").hidden = by("progress").hidden = !on;
  };
  const watch = async (id) => {
    for (;;) {
      const job = await called(`/api/jobs/${id}`);
      if (running !== id) return;
      by("progress").value = job.molecules ? job.done / job.molecules : 0;
      say(job.state === "waiting" ? "waiting" : `${job.done} of ${job.molecules} molecules, ${job.conformers} conformers`);
      if (job.problem) throw new Error(job.problem);
      if (job.state === "done") return show(id, job);
      await new Promise((done) => setTimeout(done, 300));
    }
  };
  const show = async (id, job) => {
    const made = await called(`/api/jobs/${id}/conformers`, { headers: { Accept: "application/json" } });
    const lost = made.skipped.map(({ name, reason }) => `${name}: ${reason}`);
    say([`${job.conformers} conformers of ${made.molecules.length} molecules`, ...lost, ...made.remarks].join("; "));
    const links = { sdf: "", json: "application/json", page: "page" };
    for (const [name, kind] of Object.entries(links)) {
      const path = kind === "page" ? `/api/jobs/${id}/page` : `/api/jobs/${id}/conformers`;
      const blob = await (await fetch(path, { headers: kind === "application/json" ? { Accept: kind } : {} })).blob();
      URL.revokeObjectURL(by(name).href);
      by(name).href = URL.createObjectURL(blob);
    }
    by("results").hidden = false;
    by("look").src = `/api/jobs/${id}/page`;
    by("look").hidden = false;
  };

  by("ask").onsubmit = async (event) => {
    event.preventDefault();
    busy(true);
    say("");
    by("results").hidden = by("look").hidden = true;
    try {
      const job = await called("/api/jobs", {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(await ask()) });
      running = job.id;
      await watch(job.id);
    } catch (error) {
      say(error.message);
    } finally {
      running = null;
      busy(false);
    }
  };
  by("stop").onclick = async () => {
    const id = running;
    running = null;
    if (id) await called(`/api/jobs/${id}`, { method: "DELETE" });
    say("stopped");
  };
  by("drawing").ontoggle = () => { // the editor is loaded when it is first wanted
    if (editor || !by("drawing").open) return;
    window.jsmeOnLoad = () => { editor = new JSApplet.JSME("jsme", "350px", "320px", { options: "oldlook,star,newlook" }); };
    const script = document.createElement("script");
    script.src = "/static/jsme/jsme.nocache.js";
    document.head.append(script);
  };
  by("take").onclick = () => {
    const smiles = editor ? editor.smiles() : "";
    if (!smiles) return say("there is nothing drawn");
    by("smiles").value = [by("smiles").value.trim(), smiles].filter(Boolean).join("\n");
    by("file").value = "";
  };
})();
