"""The kinds of files that are damaged: how each is made in a folder, how it is read, what reading it may raise."""

import gzip
import hashlib
import json
import random
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
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
from pyg_diffusion.tasks import load_recipe, task_of
from pyg_diffusion.tasks.molecules.generator import ConformerGenerator
from pyg_diffusion.tasks.molecules.inputs import input_records, unique_molecules
from pyg_diffusion.tasks.molecules.sample import Tally
from pyg_diffusion.train import RecipeError
from pyg_diffusion.train.checkpoint import CheckpointError, read_checkpoint
from pyg_diffusion.weights_io import Card, WeightsError, build_denoiser, load_pretrained, save_pretrained

ROOT = Path(__file__).parents[2]
INTERNAL = re.compile(
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
    if not re.search(r"\w{2,}", text) or INTERNAL.search(text):
        raise Fault(f"{what} says nothing: {text!r}")


@dataclass(frozen=True)
class Subject:
    """A kind of file: how a damaged one is made in a folder, and how it is read; the errors that may be raised."""

    name: str
    make: Callable[[Path, random.Random], Path]
    read: Callable[[Path], None]
    errors: tuple[type[Exception], ...]


SUBJECTS: dict[str, Subject] = {}


def subject(name: str, read: Callable[[Path], None], *errors: type[Exception]):
    """Registers how a damaged file of a kind is made, beside how such files are read and what that may raise."""

    def register(make: Callable[[Path, random.Random], Path]) -> Callable[[Path, random.Random], Path]:
        SUBJECTS[name] = Subject(name, make, read, errors)
        return make

    return register


def records(need_3d: bool) -> Callable[[Path], None]:
    """Reads a file of molecules, and those that a `healthy.json` beside it names must be among them."""

    def read(path: Path) -> None:
        healthy = path.parent / "healthy.json"
        account(path, json.loads(healthy.read_text()) if healthy.exists() else [], need_3d)

    return read


@subject("sdf", records(need_3d=True), RecordError)
def damaged_record(folder: Path, rng: random.Random) -> Path:
    """Three records, the one in the middle damaged: the others must be read."""
    blocks = rng.sample(_blocks(), 3)
    middle = mutated_text(blocks[1], rng) if rng.random() < 0.8 else _latin(mutated_bytes(blocks[1].encode(), rng))
    if middle.splitlines()[-1:] and middle.splitlines()[-1].startswith(">"):
        middle += "\n"  # or the `$$$$` would be the name of a data field
    path = folder / "middle.sdf"
    whole = f"{blocks[0]}$$$$\n{middle}$$$$\n{blocks[2]}$$$$\n"
    path.write_bytes(whole.encode("utf-8", "surrogateescape"))
    (folder / "healthy.json").write_text(json.dumps([_smiles_of(blocks[k]) for k in (0, 2)]))
    return path


@subject("sdf bytes", records(need_3d=True), RecordError)
def damaged_sdf(folder: Path, rng: random.Random) -> Path:
    """Three records, damaged anywhere."""
    content = "".join(f"{b}$$$$\n" for b in rng.sample(_blocks(), 3)).encode()
    if rng.random() < 0.2:
        content = gzip.compress(content, 1, mtime=0)
    path = folder / "any.sdf"
    path.write_bytes(mutated_bytes(content, rng))
    return path


@subject("smiles", records(need_3d=False), RecordError)
def damaged_line(folder: Path, rng: random.Random) -> Path:
    """Three lines, the one in the middle damaged, but neither quoted nor broken into several."""
    lines = [rng.choice(smiles_lines()) for _ in range(3)]
    lines[1] = re.sub(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029\"]", "", mutated_text(lines[1], rng))
    path = folder / "lines.smi"
    path.write_text("\n".join(lines) + "\n")
    return path


@subject("tables", records(need_3d=False), RecordError)
def damaged_table(folder: Path, rng: random.Random) -> Path:
    """CSV and TSV, with and without a header, quoted or not, damaged anywhere."""
    sign = rng.choice(",\t;")
    rows = [line.split(maxsplit=1) for line in rng.sample(smiles_lines(), 5)]
    rows = [[smiles, *rest, str(rng.randint(0, 99))] for smiles, *rest in rows]
    if rng.random() < 0.5:
        rows = [[row[-1], *row[:-1]] for row in rows]
    quote = '"' if rng.random() < 0.4 else ""
    header = [sign.join(["smiles", "name", "logP"])] if rng.random() < 0.6 else []
    text = "\n".join([*header, *(sign.join(f"{quote}{cell}{quote}" for cell in row) for row in rows)]) + "\n"
    return _written(
        folder / rng.choice(("table.csv", "table.tsv", "table.smi", "table.txt")), mutated_text(text, rng), 0.3, rng
    )


def read_store(path: Path) -> None:
    store = MoleculeStore(path)
    for i in range(len(store)):
        molecule = store[i]
        molecule.data(None)
        for k in range(store.count(i)):
            if not bool(molecule.data(k).pos.isfinite().all()):
                raise Fault("positions that are not finite")
    store.smiles(), store.sizes(), store.conformer_index()


def read_fields_file(path: Path) -> None:
    x, data = read_fields(path)
    if x.size(1) != grid_of(data).num_nodes or not bool(x.isfinite().all()):
        raise Fault(f"fields {list(x.shape)} on {data}")


@subject("store", read_store, StoreError)
def damaged_store(folder: Path, rng: random.Random) -> Path:
    return _damaged_hdf5(folder / "store.h5", _store(), rng)


@subject("fields", read_fields_file, FieldFileError)
def damaged_fields(folder: Path, rng: random.Random) -> Path:
    return _damaged_hdf5(folder / "fields.h5", _fields(), rng)


def read_weights(path: Path) -> None:
    denoiser, card = load_pretrained(path)
    if task_of(card).name == "molecules":
        generator = ConformerGenerator(denoiser, card)
        generator.unfamiliar(_ethanol())
        str(generator.levels)


@subject("cards", read_weights, WeightsError)
def damaged_card(folder: Path, rng: random.Random) -> Path:
    """The card of whole weights, damaged."""
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


@subject("weights", read_weights, WeightsError)
def damaged_weights(folder: Path, rng: random.Random) -> Path:
    """Damaged weights whose card has the checksum of what is there."""
    weights, card = _weights()
    content = mutated_bytes(weights[: rng.choice((600, len(weights)))], rng) + weights[600:]
    values = json.loads(card)
    if rng.random() < 0.9:
        values["sha256"] = hashlib.sha256(content).hexdigest()
    path = folder / "weights.safetensors"
    path.write_bytes(content)
    path.with_suffix(".json").write_text(json.dumps(values))
    return path


def read_state(path: Path) -> None:
    state = read_checkpoint(path)
    int(state["global_step"]), float(state["minutes"])


@subject("resume states", read_state, CheckpointError)
def damaged_state(folder: Path, rng: random.Random) -> Path:
    path = folder / "last.ckpt"
    path.write_bytes(mutated_bytes(_checkpoint(), rng))
    return path


@subject("recipes", lambda path: load_recipe(path, ["train.threads=1"]), RecipeError)
def damaged_recipe(folder: Path, rng: random.Random) -> Path:
    text = rng.choice(_recipes())
    if rng.random() < 0.6:
        text = yaml.safe_dump(mutated_values(yaml.safe_load(text), rng), sort_keys=False)
    else:
        text = mutated_text(text, rng)
    return _written(folder / "recipe.yaml", text, 0.1, rng)


@subject("reports", lambda path: Tally.load(str(path)).measures(), ValueError)
def damaged_report(folder: Path, rng: random.Random) -> Path:
    path = folder / "report.json"
    values = dict.fromkeys(("molecules", "asked", "drawn", "conformers"), 3) | {"seconds": 1.5, "finished": {"x": 1}}
    text = json.dumps(mutated_values(values, rng), default=str, skipkeys=True)
    path.write_text(text if rng.random() < 0.7 else mutated_text(text, rng))
    return path


def _written(path: Path, text: str, share: float, rng: random.Random) -> Path:
    """The text as a file, a share of such files damaged in their bytes as well."""
    content = text.encode("utf-8", "surrogatepass")
    path.write_bytes(mutated_bytes(content, rng) if rng.random() < share else content)
    return path


def _damaged_hdf5(path: Path, content: bytes, rng: random.Random) -> Path:
    """An HDF5 file damaged in its bytes, or in what it holds; then with a checksum that fits, so that nothing else tells."""
    path.write_bytes(content)
    if rng.random() < 0.4:
        path.write_bytes(mutated_bytes(content, rng))
    else:
        mutate_hdf5(path, rng)
        with open(path, "r+b") as stream:
            seal(stream)
    return path


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
        torch.manual_seed(0)
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
