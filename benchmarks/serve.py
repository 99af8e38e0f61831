"""`pyg-diffusion serve` under load: many clients at once, each of which asks for a few molecules, again and again.

    python benchmarks/serve.py [--clients 200] [--seconds 60] [--quick]

Starts a server on this machine, lets the clients ask for at most so long, then ends it by SIGTERM under load. Each answer
must be conformers of the molecules asked for, of their graph and stereo and as many as asked for at most, or a clean refusal
(429 or 503 with a sentence, after which the client waits as it is told). Writes benchmarks/results/serve.json and serve.png:
answers by status, latency, conformers per second, the server's memory over time.
"""

import argparse
import asyncio
import io
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
from machine import machine
from rdkit import Chem

HERE = Path(__file__).parent
MOLECULES = [
    "CCO",
    "C[C@H](N)C(=O)O",
    "CC(=O)Nc1ccc(O)cc1",
    "OCCNCCO",
    "C/C=C/CO",
    "N#CC1CC1",
    "c1ccccc1O",
    "CC(C)Cc1ccc(C)cc1",
]
JSON = {"Accept": "application/json"}


def fault(answer: httpx.Response, asked: list[str], n: int) -> str:
    """What is wrong with an answer, "" for nothing."""
    if answer.status_code in (429, 503):
        return "" if answer.json().get("detail") else "a refusal without a sentence"
    if answer.status_code != 200:
        return f"status {answer.status_code}: {answer.text[:100]}"
    made = answer.json()["molecules"]
    if [m["name"] for m in made] != [f"m{k}" for k in range(len(asked))]:
        return "other molecules than asked for"
    for molecule, smiles in zip(made, asked, strict=True):
        text = "".join(c["sdf"] for c in molecule["conformers"])
        mols = list(Chem.ForwardSDMolSupplier(io.BytesIO(text.encode()), removeHs=False))
        if not 1 <= len(mols) <= n:
            return f"{len(mols)} conformers of {n}"
        for mol in mols:
            Chem.AssignStereochemistryFrom3D(mol)
            if Chem.CanonSmiles(Chem.MolToSmiles(Chem.RemoveHs(mol))) != Chem.CanonSmiles(smiles):
                return f"conformers of {Chem.MolToSmiles(Chem.RemoveHs(mol))} for {smiles}"
    return ""


async def client(http: httpx.AsyncClient, until: float, seed: int, rows: list[tuple[int, float, str, int]]) -> None:
    """Asks, and waits where it is told to, until the time is over."""
    draw = random.Random(seed)
    while time.monotonic() < until:
        asked, n = draw.sample(MOLECULES, draw.randint(1, 3)), draw.randint(1, 4)
        body = {"smiles": [f"{smiles} m{k}" for k, smiles in enumerate(asked)], "n": n, "seed": draw.randint(0, 1)}
        begun = time.monotonic()
        try:
            answer = await http.post("/api/conformers", json=body)
        except httpx.HTTPError as error:
            rows.append((0, time.monotonic() - begun, f"{type(error).__name__}: {error}", 0))
            await asyncio.sleep(1)
            continue
        wrong = fault(answer, asked, n)
        made = 0 if answer.status_code != 200 else sum(len(m["conformers"]) for m in answer.json()["molecules"])
        rows.append((answer.status_code, time.monotonic() - begun, wrong, made))
        if answer.status_code != 200:
            await asyncio.sleep(int(answer.headers.get("retry-after", "5")) * draw.uniform(0.5, 1.5))


def memory_of(process: int) -> float:
    """Resident memory in MB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1e3
    return 0.0


async def watch(process: subprocess.Popen, started: float, memory: list[tuple[float, float]]) -> None:
    """Notes the server's memory until it ends."""
    while process.poll() is None:
        memory.append((time.monotonic() - started, memory_of(process.pid)))
        await asyncio.sleep(0.5)


async def load(process: subprocess.Popen, url: str, clients: int, seconds: float) -> dict:
    """The clients against the server; then SIGTERM while they still ask."""
    rows: list[tuple[int, float, str, int]] = []
    memory: list[tuple[float, float]] = []
    bounds = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    http = httpx.AsyncClient(base_url=url, timeout=300, headers=JSON, limits=bounds, verify=False)
    started = time.monotonic()
    watcher = asyncio.create_task(watch(process, started, memory))
    crowd = [asyncio.create_task(client(http, started + seconds + 1, k, rows)) for k in range(clients)]
    await asyncio.sleep(seconds)
    told, before = time.monotonic(), len(rows)
    process.send_signal(signal.SIGTERM)
    await asyncio.gather(*crowd)
    await watcher
    await http.aclose()
    answers = [row for row in rows if row[0] == 200]
    took = np.array([row[1] for row in answers]) if answers else np.zeros(1)
    return {
        "clients": clients,
        "seconds": seconds,
        "answers": dict(Counter(str(row[0]) for row in rows)),
        "faults": [row[2] for k, row in enumerate(rows) if row[2] and (row[0] or k < before)][
            :20
        ],  # an ended server is none
        "conformers per second": sum(row[3] for row in answers) / (told - started),
        "latency median s": float(np.median(took)),
        "latency 95 % s": float(np.quantile(took, 0.95)),
        "after SIGTERM": dict(Counter(str(row[0]) for row in rows[before:])),
        "seconds to end": time.monotonic() - told,
        "exit status": process.returncode,
        "memory at start MB": memory[0][1],
        "memory most MB": max(m for _, m in memory),
        "memory": memory,
        "latencies": took.tolist(),
    }


def picture(result: dict, path: Path) -> None:
    """Latencies and memory."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), constrained_layout=True)
    left.hist(result["latencies"], bins=30)
    left.set(xlabel="seconds to an answer", ylabel="answers", title=f"{result['clients']} clients")
    right.plot(*np.array(result["memory"]).T)
    right.set(xlabel="seconds", ylabel="server's memory, MB", ylim=(0, None))
    figure.savefig(path, dpi=100)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--quick", action="store_true", help="20 clients, 5 seconds, nothing written")
    args = parser.parse_args()
    clients, seconds = (20, 5.0) if args.quick else (args.clients, args.seconds)
    command = [sys.executable, "-m", "pyg_diffusion", "serve", "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    while line and ": ready" not in line:
        line = process.stderr.readline()
    url = line.partition(": ready")[0]
    result = asyncio.run(load(process, url, clients, seconds))
    result["machine"] = machine()
    print(json.dumps({k: v for k, v in result.items() if k not in ("memory", "latencies")}, indent=1))
    if not args.quick:
        (HERE / "results" / "serve.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        picture(result, HERE / "results" / "serve.png")
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
