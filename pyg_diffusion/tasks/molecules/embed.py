"""`embed_multiple_confs`: the generator behind RDKit's door."""

import math
import warnings
from typing import Any

import numpy as np
from rdkit import Chem

from ...chem import add_conformers, molecule_from_mol
from ...chem.similarity import distinct, representatives
from .generator import ConformerGenerator

OVERSAMPLE = 2.0  # draws for each conformer that is kept, where there is a choice

_default: list[ConformerGenerator] = []  # the shipped weights, loaded once


def embed_multiple_confs(
    mol: Chem.Mol,
    n: int = 10,
    seed: int = 0,
    clear_confs: bool = True,
    generator: ConformerGenerator | None = None,
    prune: float = 0.0,
    level: str | None = None,
    oversample: float = OVERSAMPLE,
) -> list[int]:
    """Generate conformers and add them to `mol`, as RDKit's `EmbedMultipleConfs` does.

    Without explicit hydrogens the molecule is completed internally and only its own atoms get coordinates; for a model
    with hydrogens call `Chem.AddHs(mol)` first, as for RDKit.

    Args:
        mol: a sanitized molecule; its specified stereo is kept.
        n: how many.
        seed: same seed, same conformers.
        clear_confs: drop the conformers it has.
        generator: defaults to the shipped weights.
        prune: leave out conformers nearer than this to an earlier one, in Å (`chem.similarity.distinct`); 0 keeps all.
        level: of theory, as for `ConformerGenerator.sample`.
        oversample: draw so many times n, and keep the n that stand best for all (`chem.similarity.representatives`); 1
            gives n independent samples.

    Returns:
        Ids of the new conformers, the surest first; like RDKit's fewer than n, where no sound conformer of right stereo
        was found or some were pruned.

    Raises:
        TypeError: `mol` is no RDKit molecule, such as None, which RDKit returns for what it cannot read.
        ValueError: it has no atoms or was not sanitized, or another argument is out of range.

    Example:
        >>> from rdkit import Chem
        >>> from pyg_diffusion import embed_multiple_confs
        >>> mol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
        >>> embed_multiple_confs(mol, 3, seed=1)
        [0, 1, 2]
        >>> mol.GetConformer(2).GetPositions().shape
        (9, 3)
    """
    _require_sanitized(mol)
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if not 1 <= oversample < float("inf"):
        raise ValueError(f"oversample must be finite and >= 1, got {oversample}")
    if generator is None:
        if not _default:
            _default.append(ConformerGenerator.from_pretrained())
        generator = _default[0]
    full = Chem.AddHs(mol)
    molecule = molecule_from_mol(full, conformers=False)
    result = generator.sample(
        [molecule],
        math.ceil(oversample * n),
        seed,
        level=level,
        choose=lambda _, positions, confidence: representatives(full, positions, n, confidence),
    )[0]
    for text in [*generator.unfamiliar(molecule), result.problem]:
        if text:
            warnings.warn(text, stacklevel=2)
    if clear_confs:
        mol.RemoveAllConformers()
    if result.confidence is not None:
        result.positions = result.positions[np.argsort(-result.confidence, kind="stable")]
    kept = distinct(full, result.positions, prune)
    return add_conformers(mol, result.positions[kept, : mol.GetNumAtoms()])


def _require_sanitized(mol: Any) -> None:
    if not isinstance(mol, Chem.Mol):
        made = f"; Chem.MolFromSmiles({mol!r:.60}) makes one" if isinstance(mol, str) else ""
        made = "; RDKit returns None for what it cannot read" if mol is None else made
        raise TypeError(f"mol must be an RDKit molecule, got {type(mol).__name__}{made}")
    if not mol.GetNumAtoms():
        raise ValueError("the molecule has no atoms")
    # Sanitizing sets the hybridization of all but dummies and atoms of very many neighbours.
    states = {atom.GetHybridization() for atom in mol.GetAtoms() if atom.GetAtomicNum()}
    if mol.NeedsUpdatePropertyCache() or states == {Chem.HybridizationType.UNSPECIFIED}:
        raise ValueError("the molecule was not sanitized; call Chem.SanitizeMol(mol) first, which also says what is wrong")
