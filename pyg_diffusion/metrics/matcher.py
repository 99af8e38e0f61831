"""Which reference molecule a generated record belongs to."""

from collections import defaultdict
from collections.abc import Sequence

from rdkit import Chem

from ..chem.records import Record, guarded
from .references import Ensemble, flat_smiles, isomeric_smiles, usable_position
from .result import OK, UNREADABLE, WRONG_GRAPH
from .validity import signature


def _only(places: list[int]) -> int | None:
    return places[0] if len(places) == 1 else None


class Matcher:
    """Which reference molecule a generated record belongs to.

    In this order, each where exactly one reference fits: same name and flat SMILES; same name and isomeric SMILES; same
    isomeric SMILES; same flat SMILES; same name (then the graph is wrong, or the record is unreadable).
    """

    def __init__(self, references: Sequence[Ensemble]):
        self._at: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for k, ref in enumerate(references):
            for key in (("name", ref.name), ("iso", ref.smiles), ("flat", ref.flat)):
                self._at[key].append(k)
            self._at["name+flat", ref.name, ref.flat].append(k)
            self._at["name+iso", ref.name, ref.smiles].append(k)
        self._flat: dict[tuple, str] = {}

    def _find(self, *key: str) -> int | None:
        return _only(self._at.get(key, []))

    def __call__(self, record: Record) -> tuple[int | None, str]:
        """(index of the reference, status "ok", "wrong graph" or "unreadable"), or (None, why not)."""
        # A nameless reference is known under the number its reader gave it, which the generated record may carry.
        named, problems = self._find("name", record.own_name), []
        if record.mol is None or usable_position(record.mol) is None:
            problems.append(record.problem or "no usable coordinates")
        else:
            with guarded(record.name, lambda _, reason: problems.append(reason)):
                return self._match(record, record.mol, named)
        return (None, f"{problems[0]}; no single reference has its name") if named is None else (named, UNREADABLE)

    def _match(self, record: Record, mol: Chem.Mol, named: int | None) -> tuple[int | None, str]:
        """For a molecule with coordinates."""
        name, graph = record.own_name, signature(mol)
        flat = self._flat.get(graph)
        if flat is None:  # conformers of one molecule share it, and canonical SMILES are slow
            flat = self._flat[graph] = flat_smiles(mol)
        place = self._find("name+flat", name, flat)
        if place is None and ("flat", flat) in self._at:
            smiles = isomeric_smiles(mol)
            for key in (("name+iso", name, smiles), ("iso", smiles), ("flat", flat)):
                place = self._find(*key) if place is None else place
        if place is not None:
            return place, OK
        if ("flat", flat) in self._at:
            return None, f"{len(self._at['flat', flat])} references share its graph, and neither name nor stereo decides"
        return (None, f"no reference with graph {flat} or this name") if named is None else (named, WRONG_GRAPH)
