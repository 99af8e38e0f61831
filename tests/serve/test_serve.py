"""A real server on a socket: answers, refusals, jobs, batches, its end; and its page in a real browser."""

import io
import json
import socket
import threading
import time
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
import uvicorn
from rdkit import Chem

from pyg_diffusion.cli import main
from pyg_diffusion.serve.app import make_app
from pyg_diffusion.serve.counts import Counts
from pyg_diffusion.serve.desk import Desk
from pyg_diffusion.serve.limits import Limits
from pyg_diffusion.serve.run import Server, listening
from pyg_diffusion.tasks.molecules.generator import ConformerGenerator
from pyg_diffusion.tasks.molecules.sample import Request, Sink, sample_records

JSON = {"Accept": "application/json"}
LIMITS = Limits(body=100_000, molecules=5, atoms=60, conformers=20, queue=4, seconds=120)


@contextmanager
def served(generators, limits):
    """A server in a thread: its client, its desk and itself."""
    desk = Desk(generators, limits, Counts())
    listener = listening("127.0.0.1", 0)
    server = Server(uvicorn.Config(make_app(desk), log_level="warning"), desk)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=120) as client:
        while not server.started:
            time.sleep(0.01)
        yield client, desk, server
    server.should_exit = True
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def generators():
    sure = ConformerGenerator.from_pretrained(device="cpu")
    return {True: sure, False: ConformerGenerator(sure.denoiser, sure.card, device="cpu", confidence=False)}


@pytest.fixture(scope="module")
def both(generators):
    with served(generators, LIMITS) as (client, desk, _):
        yield client, desk


@pytest.fixture
def client(both):
    return both[0]


@contextmanager
def held(desk):
    """The desk does nothing meanwhile."""
    begun, free = threading.Event(), threading.Event()
    desk.errand(lambda: begun.set() or free.wait())
    assert begun.wait(60)
    try:
        yield
    finally:
        free.set()


def positions(text):
    mols = Chem.ForwardSDMolSupplier(io.BytesIO(text.encode()), removeHs=False)
    return np.array([mol.GetConformer().GetPositions() for mol in mols])


def test_an_answer_is_what_the_command_writes(client, generators):
    answer = client.post("/api/conformers", json={"smiles": "CCO ethanol", "n": 2, "seed": 3})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("chemical/x-mdl-sdfile")
    assert "access-control-allow-origin" not in answer.headers
    out = io.StringIO()
    sample_records(generators[True], ["CCO ethanol"], Request(n=2, seed=3), Sink(out, print, print), progress=False)
    assert answer.text == out.getvalue()


def test_json_has_names_fields_and_what_was_skipped(client):
    asked = {"smiles": ["OCC a<b>", "nonsense bad"], "n": 2, "energies": "MMFF94s", "kelvin": 300}
    made = client.post("/api/conformers", json=asked, headers=JSON).json()
    (molecule,) = made["molecules"]
    assert (molecule["name"], molecule["smiles"]) == ("a<b>", "CCO")
    assert sum(float(c["fields"]["population"]) for c in molecule["conformers"]) == pytest.approx(1, abs=1e-3)
    assert [c["sdf"].count("$$$$") for c in molecule["conformers"]] == [1, 1]
    assert made["skipped"][0]["name"] == "bad" and "not a valid SMILES" in made["skipped"][0]["reason"]


def test_an_uploaded_file_keeps_its_atoms(client):
    text = client.post("/api/conformers", json={"smiles": "OCC alcohol", "n": 1}).text
    answer = client.post("/api/conformers", files={"file": ("../../etc/x.sdf", text)}, data={"n": "2", "preset": "screen"})
    mols = list(Chem.ForwardSDMolSupplier(io.BytesIO(answer.text.encode()), removeHs=False))
    assert [m.GetAtomWithIdx(0).GetSymbol() for m in mols] == ["O"] * len(mols) and 1 <= len(mols) <= 2
    assert not mols[0].HasProp("confidence")  # which screening leaves out, unless it is asked for


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"smiles": "CCO", "n": 0}, "greater than or equal to 1"),
        ({"smiles": "CCO", "sdf": "x"}, "either smiles or sdf"),
        ({"smiles": "CCO", "colour": "red"}, "Extra inputs"),
        ({"smiles": "setup.cfg"}, "not a valid SMILES"),
        ({"sdf": "/etc/passwd"}, "not an SDF file"),
        ({"smiles": "CCO", "window": 1}, "window needs energies"),
        ({"smiles": "CCO", "level": "DFT9"}, "no level 'DFT9'"),
        ({"smiles": "CCO", "n": 21}, "more than 20 conformers"),
        ({"smiles": ["CC" + "C" * k for k in range(6)], "n": 1}, "more than 5 molecules"),
        ({"smiles": "C" * 30}, "at most 60 are taken"),
        ({"smiles": "CC(F)(Cl)C(F)(Cl)C", "stereo": "enumerate", "n": 9}, "more than 20 conformers"),
        ({"smiles": []}, "no molecule"),
    ],
)
def test_what_makes_no_sense_or_is_too_much_is_422(client, asked, sentence):
    answer = client.post("/api/conformers", json=asked)
    assert answer.status_code == 422
    assert sentence in answer.json()["detail"]


def test_large_bodies_are_413_told_or_not(client):
    for body in (b"x" * 100_001, iter([b"x" * 60_000] * 2)):
        answer = client.post("/api/conformers", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        assert "more than 100000 bytes" in answer.json()["detail"]
    assert client.post("/api/conformers", content=b"{nonsense").status_code == 422
    assert client.post("/api/conformers", content=b"[" * 90_000).status_code == 422


def test_requests_are_drawn_together_and_stay_what_they_are(both):
    client, desk = both
    asks = [{"smiles": smiles, "n": 1} for smiles in ("CCO", "CCN", "CCF")]
    alone = [positions(client.post("/api/conformers", json=ask).text) for ask in asks]
    before = desk.counts.registry.get_sample_value("pyg_diffusion_batch_jobs_bucket", {"le": "2.0"})
    with held(desk):
        ids = [client.post("/api/jobs", json=ask).json()["id"] for ask in asks]
        assert client.get(f"/api/jobs/{ids[0]}").json()["state"] == "waiting"
        assert client.get(f"/api/jobs/{ids[0]}/conformers").status_code == 409
        fourth = client.post("/api/jobs", json=asks[0]).json()["id"]
        refused = client.post("/api/jobs", json=asks[0])
        assert refused.status_code == 429 and "4 requests are waiting" in refused.json()["detail"]
        assert refused.headers["retry-after"] == "5"
        assert client.delete(f"/api/jobs/{fourth}").status_code == 204
        assert client.get(f"/api/jobs/{fourth}").json()["state"] == "cancelled"
    for job in ids:
        desk.jobs[job].ended.result(60)
    for job, expected in zip(ids, alone, strict=True):
        assert client.get(f"/api/jobs/{job}").json() == {
            "id": job, "state": "done", "molecules": 1, "done": 1, "conformers": 1
        }  # fmt: skip
        assert positions(client.get(f"/api/jobs/{job}/conformers").text) == pytest.approx(expected, abs=0.02)  # rounding
    assert desk.counts.registry.get_sample_value("pyg_diffusion_batch_jobs_bucket", {"le": "2.0"}) == before
    assert desk.counts.registry.get_sample_value("pyg_diffusion_batch_jobs_bucket", {"le": "4.0"}) > before
    page = client.get(f"/api/jobs/{ids[0]}/page")
    assert page.status_code == 200 and "default-src 'none'" in page.text
    assert client.get("/api/jobs/none").status_code == 404


def test_what_is_not_done_in_time_is_503(generators):
    with served(generators, Limits(seconds=0.0)) as (client, _, _):
        answer = client.post("/api/conformers", json={"smiles": "CCO"})
        assert answer.status_code == 503 and "given up" in answer.json()["detail"]


def test_a_server_that_ends_finishes_what_it_has(generators):
    with served(generators, LIMITS) as (client, desk, server):
        with held(desk):
            job = client.post("/api/jobs", json={"smiles": "CCO", "n": 1}).json()["id"]
            server.handle_exit(15, None)
            refused = client.post("/api/conformers", json={"smiles": "CCO"})
            assert refused.status_code == 503 and "about to end" in refused.json()["detail"]
            assert client.get("/healthz").status_code == 503
        desk.jobs[job].ended.result(60)
        assert client.get(f"/api/jobs/{job}/conformers").text.count("$$$$") == 1
        until = time.monotonic() + 20
        while not server.should_exit and time.monotonic() < until:
            time.sleep(0.05)
        assert server.should_exit


def test_the_oldest_results_go(generators):
    with served(generators, Limits(kept=2)) as (client, desk, _):
        first = client.post("/api/jobs", json={"smiles": "C", "n": 1}).json()["id"]
        for smiles in ("N", "O"):
            client.post("/api/conformers", json={"smiles": smiles, "n": 1})
        assert [job.ask.smiles for job in desk.jobs.values()] == ["N", "O"]
        gone = client.get(f"/api/jobs/{first}/conformers")
        assert gone.status_code == 404 and "results are kept for a while only" in gone.json()["detail"]
        desk.limits = Limits(kept_bytes=1)
        client.post("/api/conformers", json={"smiles": "S", "n": 1})
        assert len(desk.jobs) <= 1


def test_documentation_needs_no_network(client):
    text = client.get("/docs").text
    assert "http://" not in text and "https://" not in text
    for name in ("swagger/swagger-ui-bundle.js", "swagger/swagger-ui.css", "jsme/jsme.nocache.js"):
        assert client.get(f"/static/{name}").status_code == 200
    assert client.get("/static/..%2fapp.py").status_code == 404
    schema = client.get("/openapi.json").json()["components"]["schemas"]["Ask"]["properties"]
    assert schema["n"]["description"].startswith("Conformers of a molecule")


def test_it_answers_to_its_own_name_alone(client):
    assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 400
    assert client.get("/healthz").json()["status"] == "ok"
    assert 'pyg_diffusion_answers_total{status="200"}' in client.get("/metrics").text


def test_what_keeps_it_from_starting_is_said(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 2
    assert "Address already in use; --port 0" in capsys.readouterr().err
    assert main(["serve", "--port", "0", "--weights", str(tmp_path / "none.safetensors")]) == 2
    assert "none.safetensors: no such file" in capsys.readouterr().err
    assert main(["serve", "--port", "70000"]) == 2


def test_the_page_makes_conformers_of_what_is_pasted_and_drawn(browser, client, tmp_path):
    tab = browser.new_page(viewport={"width": 1300, "height": 380})
    tab.set_default_timeout(120_000)
    asked, errors = [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(str(client.base_url))
    tab.click("#drawing summary")
    tab.wait_for_function("() => window.JSApplet && document.querySelector('#jsme svg')")
    tab.wait_for_timeout(200)
    tab.click("#take")
    assert tab.inner_text("#said") == "there is nothing drawn"
    tab.fill("#smiles", "CCO <b>ethanol</b>\nnonsense bad")
    tab.fill("#n", "2")
    tab.click("#go")
    tab.wait_for_selector("#results:not([hidden])")
    assert tab.inner_text("#said").startswith("2 conformers of 1 molecules; bad: not a valid SMILES")
    look = tab.frame_locator("#look")
    look.locator("body[data-ready=yes]").wait_for()
    assert look.locator("#name").inner_text() == "<b>ethanol</b>"
    assert look.locator("#remarks").inner_text() == ""
    with tab.expect_download() as saved:
        tab.click("#sdf")
    saved.value.save_as(tmp_path / "out.sdf")
    assert (tmp_path / "out.sdf").read_text().count("$$$$") == 2
    assert [url for url in asked if not url.startswith((str(client.base_url), "blob:", "data:"))] == []
    assert errors == []
    tab.close()


def test_the_answer_is_json_that_json_reads(client):
    text = client.post("/api/conformers", json={"smiles": "O", "n": 1}, headers=JSON).text
    assert json.loads(text)["molecules"][0]["smiles"] == "O"
