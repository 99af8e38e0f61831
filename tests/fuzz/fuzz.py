"""Mutation fuzz of every reader: what is damaged must be named in a sentence, and never crash, hang or lose a record.

    python tests/fuzz/fuzz.py 100000 --seed 1 [--only sdf store ...] [--limit SECONDS]

Input k follows from (seed, k) alone, so that any fault is repeated by `--one K`. Faults: an exception that is none of the
package's declared errors, or one without a sentence; a crash or a hang of the process; a record that is neither used nor
named; a healthy record beside a damaged one that is not read; a record's reason that is an exception of the program itself.
"""

import argparse
import gzip
import hashlib
import json
import multiprocessing
import random
import re
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from mutations import mutate_hdf5, mutated_bytes, mutated_text, mutated_values
from rdkit import Chem

from pyg_diffusion.chem import RecordError, molecule_from_mol
from pyg_diffusion.chem.formats import raw_records, read_records
from pyg_diffusion.data import MoleculeStore, StoreError, write_store
from pyg_diffusion.data.field_file import FieldFileError, grid_of, read_fields, write_fields
from pyg_diffusion.data.sealed import seal
from pyg_diffusion.spectral import PowerSpectrum
from pyg_diffusion.tasks import load_recipe
from pyg_diffusion.tasks.molecules.generator import ConformerGenerator
from pyg_diffusion.tasks.molecules.inputs import input_records, unique_molecules
from pyg_diffusion.tasks.molecules.sample import Tally
from pyg_diffusion.train import RecipeError
from pyg_diffusion.train.checkpoint import CheckpointError, read_checkpoint
from pyg_diffusion.weights_io import Card, WeightsError, build_denoiser, load_pretrained, save_pretrained

ROOT = Path(__file__).parents[2]
HANG = 60.0  # seconds for one input
_INTERNAL = re.compile(
    r"KeyError|IndexError|TypeError|AttributeError|AssertionError|ZeroDivision|Unbound|NoneType|has no attribute"
    r"|index out of|unexpected keyword|not subscriptable|not iterable|unsupported operand|must be str|argument types"
)


class Fault(Exception):
    """What must not happen, and what did."""


def sdf_blocks(count: int) -> list[str]:
    """Records of the bundled conformers, without their `$$$$` lines."""
    with gzip.open(ROOT / "datasets" / "qm9_ensembles_20.sdf.gz", "rt") as stream:
        text = stream.read()
    blocks = [block.lstrip("\n") if k else block for k, block in enumerate(text.split("$$$$\n"))]
    small = sorted((b for b in blocks if "M  END" in b), key=len)
    return small[:: max(1, len(small) // count)][:count]


def smiles_lines() -> list[str]:
    return [*(ROOT / "datasets" / "zinc_100.smi").read_text().splitlines(), *odd_lines()]


def odd_lines() -> list[str]:
    path = ROOT / "datasets" / "odd.smi"
    return [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]


def account(path: Path, healthy: list[str], need_3d: bool) -> None:
    """Read as `sample` does and as `prepare` does: every record used or named; the healthy ones, as SMILES, used."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks
        total = sum(1 for _ in raw_records(str(path)))
        skipped: list[tuple[str, str]] = []
        entries = list(
            unique_molecules(input_records([str(path)], lambda _: None), lambda *row: skipped.append(row), lambda _: None)
        )
        used = sum(entry.copies for entry in entries)
        if used + len(skipped) != total:
            raise Fault(f"{total} records, but {used} are used and {len(skipped)} named")
        for name, reason in skipped:
            _sentence(reason, f"the reason of {name!r}")
        found = Counter(Chem.MolToSmiles(Chem.RemoveHs(e.record.mol, sanitize=False)) for e in entries)
        for smiles in healthy:
            if not found[smiles]:
                raise Fault(f"the healthy record {smiles} is not read ({dict(found)}, skipped {skipped})")
        for record in read_records(str(path), need_3d):
            if (record.mol is None) != bool(record.problem):
                raise Fault(f"{record.name!r} is both used and refused, or neither: {record.problem!r}")
            if record.mol is None:
                _sentence(record.problem, f"the reason of {record.name!r}")


def _sentence(text: str, what: str) -> None:
    if not re.search(r"\w{2,}", text) or _INTERNAL.search(text):
        raise Fault(f"{what} says nothing: {text!r}")


@dataclass(frozen=True)
class Subject:
    """A kind of file: how a damaged one is made in a folder, and how it is read; the errors that may be raised."""

    name: str
    make: Callable[[Path, random.Random], Path]
    read: Callable[[Path], None]
    errors: tuple[type[Exception], ...]


SUBJECTS: dict[str, Subject] = {}


def subject(name: str, *errors: type[Exception]):
    """Registers a class with `make` and `read` as a subject."""

    def register(kind: Any) -> Any:
        SUBJECTS[name] = Subject(name, kind.make, kind.read, errors)
        return kind

    return register


@subject("sdf", RecordError)
class _:
    """Three records, the one in the middle damaged: the others must be read."""

    def make(folder: Path, rng: random.Random) -> Path:
        blocks = rng.sample(_blocks(), 3)
        middle = mutated_text(blocks[1], rng) if rng.random() < 0.8 else _latin(mutated_bytes(blocks[1].encode(), rng))
        if middle.splitlines()[-1:] and middle.splitlines()[-1].startswith(">"):
            middle += "\n"  # or the `$$$$` would be the name of a data field
        path = folder / "middle.sdf"
        whole = f"{blocks[0]}$$$$\n{middle}$$$$\n{blocks[2]}$$$$\n"
        path.write_bytes(whole.encode("utf-8", "surrogateescape"))
        (folder / "healthy.json").write_text(json.dumps([_smiles_of(blocks[k]) for k in (0, 2)]))
        return path

    def read(path: Path) -> None:
        account(path, json.loads((path.parent / "healthy.json").read_text()), need_3d=True)


@subject("sdf bytes", RecordError)
class _:
    """Three records, damaged anywhere."""

    def make(folder: Path, rng: random.Random) -> Path:
        content = "".join(f"{b}$$$$\n" for b in rng.sample(_blocks(), 3)).encode()
        if rng.random() < 0.2:
            content = gzip.compress(content, 1, mtime=0)
        path = folder / "any.sdf"
        path.write_bytes(mutated_bytes(content, rng))
        return path

    def read(path: Path) -> None:
        account(path, [], need_3d=True)


@subject("smiles", RecordError)
class _:
    """Three lines, the one in the middle damaged: the others must be read, unless it opened a quote or became many lines."""

    def make(folder: Path, rng: random.Random) -> Path:
        lines = [rng.choice(smiles_lines()) for _ in range(3)]
        lines[1] = re.sub(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029\"]", "", mutated_text(lines[1], rng))
        path = folder / "lines.smi"
        path.write_text("\n".join(lines) + "\n")
        return path

    def read(path: Path) -> None:
        account(path, [], need_3d=False)


@subject("tables", RecordError)
class _:
    """CSV and TSV, with and without a header, quoted or not, damaged anywhere."""

    def make(folder: Path, rng: random.Random) -> Path:
        sign = rng.choice(",\t;")
        rows = [line.split(maxsplit=1) for line in rng.sample(smiles_lines(), 5)]
        rows = [[smiles, *rest, str(rng.randint(0, 99))] for smiles, *rest in rows]
        if rng.random() < 0.5:
            rows = [[row[-1], *row[:-1]] for row in rows]
        quote = '"' if rng.random() < 0.4 else ""
        header = [sign.join(["smiles", "name", "logP"])] if rng.random() < 0.6 else []
        text = "\n".join([*header, *(sign.join(f"{quote}{cell}{quote}" for cell in row) for row in rows)]) + "\n"
        path = folder / rng.choice(("table.csv", "table.tsv", "table.smi", "table.txt"))
        content = mutated_text(text, rng).encode("utf-8", "surrogatepass")
        path.write_bytes(mutated_bytes(content, rng) if rng.random() < 0.3 else content)
        return path

    def read(path: Path) -> None:
        account(path, [], need_3d=False)


@subject("store", StoreError)
class _:
    def make(folder: Path, rng: random.Random) -> Path:
        path = folder / "store.h5"
        path.write_bytes(_store())
        _damage(path, rng)
        return path

    def read(path: Path) -> None:
        store = MoleculeStore(path)
        for i in range(len(store)):
            molecule = store[i]
            molecule.data(None)
            for k in range(store.count(i)):
                if not bool(molecule.data(k).pos.isfinite().all()):
                    raise Fault("positions that are not finite")
        store.smiles(), store.sizes(), store.conformer_index()


@subject("fields", FieldFileError)
class _:
    def make(folder: Path, rng: random.Random) -> Path:
        path = folder / "fields.h5"
        path.write_bytes(_fields())
        _damage(path, rng)
        return path

    def read(path: Path) -> None:
        x, data = read_fields(path)
        if x.size(1) != grid_of(data).num_nodes or not bool(x.isfinite().all()):
            raise Fault(f"fields {list(x.shape)} on {data}")


@subject("cards", WeightsError)
class _:
    """The card of whole weights, damaged."""

    def make(folder: Path, rng: random.Random) -> Path:
        weights, card = _weights()
        path = folder / "weights.safetensors"
        path.write_bytes(weights)
        if rng.random() < 0.7:
            values = mutated_values(json.loads(card), rng)
            if isinstance(values, dict) and rng.random() < 0.9:
                values |= {k: v for k, v in json.loads(card).items() if k in ("format", "version", "features", "sha256")}
            card = json.dumps(values, default=str, skipkeys=True).encode()
        else:
            card = mutated_bytes(card, rng)
        path.with_suffix(".json").write_bytes(card)
        return path

    def read(path: Path) -> None:
        denoiser, card = load_pretrained(path)
        if card.data["kind"] == "molecules":
            generator = ConformerGenerator(denoiser, card)
            generator.unfamiliar(_ethanol())
            str(generator.levels)


@subject("weights", WeightsError)
class _:
    """Damaged weights whose card has the checksum of what is there."""

    def make(folder: Path, rng: random.Random) -> Path:
        weights, card = _weights()
        content = mutated_bytes(weights[: rng.choice((600, len(weights)))], rng) + weights[600:]
        values = json.loads(card)
        if rng.random() < 0.9:
            values["sha256"] = hashlib.sha256(content).hexdigest()
        path = folder / "weights.safetensors"
        path.write_bytes(content)
        path.with_suffix(".json").write_text(json.dumps(values))
        return path

    def read(path: Path) -> None:
        load_pretrained(path)


@subject("resume states", CheckpointError)
class _:
    def make(folder: Path, rng: random.Random) -> Path:
        path = folder / "last.ckpt"
        path.write_bytes(mutated_bytes(_checkpoint(), rng))
        return path

    def read(path: Path) -> None:
        state = read_checkpoint(path)
        int(state["global_step"]), float(state["minutes"])


@subject("recipes", RecipeError)
class _:
    def make(folder: Path, rng: random.Random) -> Path:
        text = rng.choice(_recipes())
        if rng.random() < 0.6:
            values = mutated_values(yaml.safe_load(text), rng)
            text = yaml.safe_dump(values, sort_keys=False)
        else:
            text = mutated_text(text, rng)
        path = folder / "recipe.yaml"
        content = text.encode("utf-8", "surrogatepass")
        path.write_bytes(mutated_bytes(content, rng) if rng.random() < 0.1 else content)
        return path

    def read(path: Path) -> None:
        load_recipe(path, ["train.threads=1"])


@subject("reports", ValueError)
class _:
    def make(folder: Path, rng: random.Random) -> Path:
        path = folder / "report.json"
        values = dict.fromkeys(("molecules", "asked", "drawn", "conformers"), 3) | {"seconds": 1.5, "finished": {"x": 1}}
        text = json.dumps(mutated_values(values, rng), default=str, skipkeys=True)
        path.write_text(text if rng.random() < 0.7 else mutated_text(text, rng))
        return path

    def read(path: Path) -> None:
        Tally.load(str(path)).measures()


def _damage(path: Path, rng: random.Random) -> None:
    """An HDF5 file damaged in its bytes, or in what it holds; then with a checksum that fits, so that nothing else tells."""
    if rng.random() < 0.4:
        path.write_bytes(mutated_bytes(path.read_bytes(), rng))
    else:
        mutate_hdf5(path, rng)
        with open(path, "r+b") as stream:
            seal(stream)


def _latin(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


@cache
def _blocks() -> list[str]:
    return sdf_blocks(12)


@cache
def _smiles_of(block: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "one.sdf")
        path.write_text(f"{block}$$$$\n")
        (record,) = read_records(str(path))
    return Chem.MolToSmiles(Chem.RemoveHs(record.mol, sanitize=False))


@cache
def _store() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "all.sdf")
        path.write_text("".join(f"{b}$$$$\n" for b in sdf_blocks(4)))
        molecules = [molecule_from_mol(r.mol, r.name) for r in read_records(str(path))]
        molecules[0].levels, molecules[0].energies = ["GFN2-xTB"] * len(molecules[0].pos), [0.0] * len(molecules[0].pos)
        write_store(Path(folder, "s.h5"), molecules)
        return Path(folder, "s.h5").read_bytes()


@cache
def _fields() -> bytes:
    data = {"kind": "fields", "shape": [3, 4], "kinds": "cycle", "spacing": 1.0, "law": "matern", "parameters": {}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "f.h5")
        write_fields(path, torch.linspace(0, 1, 48).view(2, 12, 2), data | {"seed": 0, "num_samples": 10})
        return path.read_bytes()


@cache
def _weights() -> tuple[bytes, bytes]:
    card = Card(
        process={"gamma": 1.33, "lambda0": 0.0, "noise": "white", "tau_min": 2e-4, "tau_max": 40.0},
        model={
            "kind": "conformer",
            "width": 8,
            "depths": [1],
            "heads": 2,
            "pair_width": 4,
            "levels": ["a"],
            "conditions": [],
        },
        bf16=False,
        elements=[1, 6, 8],
        data={"kind": "molecules"},
        domain={"max_atoms": 9, "charges": [0]},
        training={"steps": 3},
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "w.safetensors")
        save_pretrained(path, build_denoiser(card, PowerSpectrum.harmonic()), card)
        return path.read_bytes(), path.with_suffix(".json").read_bytes()


@cache
def _ethanol() -> Any:
    return molecule_from_mol(Chem.AddHs(Chem.MolFromSmiles("CCO")), conformers=False)


@cache
def _checkpoint() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "c.ckpt")
        torch.save({"global_step": 3, "minutes": 0.5, "state_dict": {"w": torch.arange(50.0)}}, path)
        return path.read_bytes()


@cache
def _recipes() -> list[str]:
    return [path.read_text() for path in sorted((ROOT / "configs").glob("*.yaml"))]


def one(seed: int, k: int, folder: Path, names: list[str]) -> str:
    """Input k: "" where it was read or refused as it should be, else the fault."""
    rng = random.Random(f"{seed}/{k}")
    chosen = SUBJECTS[names[k % len(names)]]
    for old in folder.iterdir():
        old.unlink()
    try:
        path = chosen.make(folder, rng)
        chosen.read(path)
    except Fault as fault:
        return f"{chosen.name}: {fault}"
    except chosen.errors as error:
        text = str(error)
        if path.stem not in text or "\n" in text or len(text.split()) < 4 or _INTERNAL.search(text):
            return f"{chosen.name}: {type(error).__name__} without a sentence: {text!r}"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{chosen.name}: {type(error).__name__} ({Path(where.filename).name}:{where.lineno}): {error}"
    return ""


def _worker(pipe: Any, seed: int, numbers: Iterator[int], names: list[str]) -> None:
    torch.set_num_threads(1)
    sys.setrecursionlimit(1000)
    with tempfile.TemporaryDirectory() as folder:
        for k in numbers:
            pipe.send((k, None))
            pipe.send((k, one(seed, k, Path(folder), names)))


def run(count: int, seed: int = 0, names: list[str] | None = None, limit: float = float("inf"), first: int = 0) -> dict:
    """{"inputs": how many, "faults": {k: fault}}; each process goes on where a crash or a hang ended the one before."""
    names, k = names or list(SUBJECTS), first
    context = multiprocessing.get_context("fork")
    faults: dict[int, str] = {}
    for chosen in names:  # what the originals take to make is made once, and inherited
        with tempfile.TemporaryDirectory() as folder:
            one(seed, names.index(chosen), Path(folder), names)
    end = time.monotonic() + limit
    while k < first + count and time.monotonic() < end:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_worker, args=(theirs, seed, range(k, first + count), names), daemon=True)
        process.start()
        theirs.close()
        try:
            while k < first + count and time.monotonic() < end:
                if not ours.poll(HANG):
                    faults[k] = f"{names[k % len(names)]}: hangs for {HANG:g} s"
                    k += 1
                    break
                number, fault = ours.recv()
                if fault is not None:
                    if fault:
                        faults[number] = fault
                        print(f"input {number}: {fault}", file=sys.stderr, flush=True)
                    k = number + 1
        except EOFError:
            process.join()
            faults[k] = f"{names[k % len(names)]}: the process died ({process.exitcode})"
            k += 1
        finally:
            process.kill()
            process.join()
    return {"inputs": k - first, "faults": faults}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int, nargs="?", default=300, help="inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(SUBJECTS), help="these kinds of files")
    parser.add_argument("--limit", type=float, default=float("inf"), metavar="SECONDS", help="stop after so long")
    parser.add_argument("--first", type=int, default=0, metavar="K", help="begin with input K")
    parser.add_argument("--one", type=int, metavar="K", help="input K alone, its traceback with it")
    args = parser.parse_args()
    if args.one is not None:
        names = args.only or list(SUBJECTS)
        with tempfile.TemporaryDirectory() as folder:
            print(one(args.seed, args.one, Path(folder), names) or "no fault")
            kept = Path(tempfile.mkdtemp())
            for path in Path(folder).iterdir():
                path.rename(kept / path.name)
            print(f"the input: {kept}")
        return 0
    begin = time.monotonic()
    result = run(args.count, args.seed, args.only, args.limit, args.first)
    kinds = Counter(re.sub(r"[\d'\"].*", "", fault) for fault in result["faults"].values())
    print(
        f"{result['inputs']} inputs in {time.monotonic() - begin:.0f} s, {len(result['faults'])} faults (seed {args.seed})"
    )
    for kind, number in kinds.most_common():
        print(f"  {number} x {kind}")
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
