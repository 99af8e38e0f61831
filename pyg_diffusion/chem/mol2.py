"""Tripos mol2, written: atom types of SYBYL, bond types, and formal charges where readers look for them.

Tripos, Tripos Mol2 File Format (SYBYL 7.1, 2005): its sections, and its table of SYBYL atom types.
"""

import re

from rdkit import Chem
from rdkit.Chem import BondType, HybridizationType

from .walk import atoms_of, bonds_of
from .writing import one_line, properties_of

_ORDER = {BondType.SINGLE: "1", BondType.DOUBLE: "2", BondType.TRIPLE: "3", BondType.AROMATIC: "ar"}  # others: unknown
_DIGITS = {HybridizationType.SP: "1", HybridizationType.SP2: "2"}  # others: sp3
_SHARED = Chem.MolFromSmarts("[C;$(C(=O)[O-]),$([CX3](=[N+])(N)N)]")  # whose O or N are alike
_AMIDE = Chem.MolFromSmarts("[NX3,NX2-;!$(N=*);!$(N#*)]-[C;$(C=O),$(C=S)]")
_NITRO = Chem.MolFromSmarts("[N+](=O)[O-]")
_SULFONE, _SULFOXIDE = Chem.MolFromSmarts("S(=O)=O"), Chem.MolFromSmarts("[SX3]=O")


def _kekulized(mol: Chem.Mol) -> Chem.Mol:
    kekule = Chem.Mol(mol)
    try:
        Chem.Kekulize(kekule, clearAromaticFlags=True)
    except Chem.KekulizeException:  # as for some metal complexes: their bonds stay aromatic
        return Chem.Mol(mol)
    return kekule


def _sextets(mol: Chem.Mol, kekule: Chem.Mol) -> tuple[set[int], set[int]]:
    """Atoms and bonds of the rings aromatic to SYBYL: of six C and N, each with a double bond in such a ring.

    All other bonds are written as single and double bonds, as a double bond beside an aromatic one could not be.
    """
    info = mol.GetRingInfo()
    rings = [
        (set(atoms), set(bonds))
        for atoms, bonds in zip(info.AtomRings(), info.BondRings(), strict=True)
        if len(atoms) == 6
        and all(mol.GetAtomWithIdx(i).GetAtomicNum() in (6, 7) for i in atoms)
        and all(mol.GetBondWithIdx(i).GetIsAromatic() for i in bonds)
    ]
    double = [bond for bond in bonds_of(kekule) if bond.GetBondType() == BondType.DOUBLE]
    while True:
        inside = set().union(*(bonds for _, bonds in rings))
        paired = {i for b in double if b.GetIdx() in inside for i in (b.GetBeginAtomIdx(), b.GetEndAtomIdx())}
        kept = [ring for ring in rings if ring[0] <= paired]
        if len(kept) == len(rings):
            return set().union(*(atoms for atoms, _ in rings)), inside
        rings = kept


def _nitrogen(atom: Chem.Atom, sp: str) -> str:
    bonds = [bond.GetBondType() for bond in atom.GetBonds()]
    if sp == "1":
        return "N.1"
    if atom.GetTotalDegree() == 4:
        return "N.4"
    if BondType.DOUBLE in bonds:
        return "N.2"
    return "N.pl3" if sp == "2" else "N.3"


def _named_groups(kekule: Chem.Mol) -> tuple[dict[int, str], list[int]]:
    """The types of atoms that a group gives them, and the bonds of amides."""
    amides = kekule.GetSubstructMatches(_AMIDE)
    types = {nitrogen: "N.am" for nitrogen, _ in amides}
    types |= {sulfur: "S.O" for sulfur, _ in kekule.GetSubstructMatches(_SULFOXIDE)}
    types |= {sulfur: "S.O2" for sulfur, _, _ in kekule.GetSubstructMatches(_SULFONE)}
    for nitrogen, *oxygens in kekule.GetSubstructMatches(_NITRO):
        types |= {nitrogen: "N.pl3", **dict.fromkeys(oxygens, "O.2")}
    shared = [atom for (i,) in kekule.GetSubstructMatches(_SHARED) for atom in [kekule.GetAtomWithIdx(i)]]
    for atom in [*shared, *(atom for atom in atoms_of(kekule) if atom.GetAtomicNum() == 15)]:
        around = list(atom.GetNeighbors())
        ends = [other for other in around if other.GetAtomicNum() == 8 and other.GetDegree() == 1]
        if any(other.GetFormalCharge() == -1 for other in ends):  # carboxylate, phosphate
            types |= {other.GetIdx(): "O.co2" for other in ends}
        elif atom.GetAtomicNum() == 6 and all(other.GetAtomicNum() == 7 for other in around):  # guanidinium
            types |= {atom.GetIdx(): "C.cat", **{other.GetIdx(): "N.pl3" for other in around}}
    return types, [kekule.GetBondBetweenAtoms(*pair).GetIdx() for pair in amides]


def sybyl_types(mol: Chem.Mol) -> tuple[list[str], list[str]]:
    """SYBYL's types of the atoms and of the bonds of a sanitized molecule.

    `ar` are rings of six C and N alone: five-membered ones have single and double bonds, as SYBYL has it. A group of several
    resonance structures (carboxylate, nitro, guanidinium) has the bonds of one, which every reader takes on.

    Examples:
        >>> from rdkit import Chem
        >>> sybyl_types(Chem.MolFromSmiles('CC(=O)Nc1ccco1'))[0]
        ['C.3', 'C.2', 'O.2', 'N.am', 'C.2', 'C.2', 'C.2', 'C.2', 'O.3']
        >>> sybyl_types(Chem.MolFromSmiles('CC(=O)N'))[1]
        ['1', '2', 'am']
    """
    kekule = _kekulized(mol)
    aromatic, sextets = _sextets(mol, kekule)
    groups, amides = _named_groups(kekule)
    atoms = []
    for atom in atoms_of(kekule):
        index, symbol = atom.GetIdx(), atom.GetSymbol()
        sp = _DIGITS.get(atom.GetHybridization(), "3")
        if symbol in ("O", "S"):  # by their bonds: one beside a pi system is no other
            sp = "2" if any(bond.GetBondType() == BondType.DOUBLE for bond in atom.GetBonds()) else "3"
        if index in aromatic:
            kind = f"{symbol}.ar"
        elif index in groups:
            kind = groups[index]
        elif symbol == "N":
            kind = _nitrogen(atom, sp)
        else:
            kind = {"C": f"C.{sp}", "O": f"O.{sp}", "S": f"S.{sp}", "P": "P.3", "*": "Du"}.get(symbol, symbol)
        atoms.append(kind)
    bonds = [_ORDER.get(bond.GetBondType(), "un") for bond in bonds_of(kekule)]
    for kind, which in (("am", amides), ("ar", sextets)):
        for index in which:
            bonds[index] = kind
    return atoms, bonds


def _line(text: str) -> str:
    """What may stand on a data line: it does not go on with the next one, nor begin a comment or a section."""
    return re.sub(r"^(?=[@#])", "_", one_line(text).replace("@<TRIPOS>", "@ <TRIPOS>").strip().rstrip("\\"))


def mol2_text(mol: Chem.Mol, conformer: int) -> str:
    """A mol2 record of a conformer, its properties as comments `# name: value` before it.

    Formal charges stand in the column of charges, and once more in UNITY_ATOM_ATTR, as readers guess them else: as `charge`
    for Open Babel, as `AtomExpr` for RDKit.
    """
    atom_types, bond_types = sybyl_types(mol)
    places = mol.GetConformer(conformer).GetPositions()
    charges = [atom.GetFormalCharge() for atom in atoms_of(mol)]
    said = [i for i, atom in enumerate(atoms_of(mol)) if charges[i] or atom.GetNumRadicalElectrons()]
    rows = [f"# {_line(key)}: {_line(value)}" for key, value in properties_of(mol).items()]
    rows += ["@<TRIPOS>MOLECULE", (_line(mol.GetProp("_Name")) if mol.HasProp("_Name") else "") or "*****"]
    rows += [f"{len(atom_types)} {len(bond_types)} 0 0 0", "SMALL", "USER_CHARGES" if any(charges) else "NO_CHARGES", ""]
    rows.append("@<TRIPOS>ATOM")
    for i, (atom, (x, y, z)) in enumerate(zip(atoms_of(mol), places, strict=True)):
        name = f"{atom.GetSymbol()}{i + 1}"
        rows += [f"{i + 1:7} {name:6} {x:11.5f} {y:11.5f} {z:11.5f} {atom_types[i]:5} 1 UNL1 {charges[i]:8.4f}"]
    if said:
        rows += ["@<TRIPOS>UNITY_ATOM_ATTR", *(f"{i + 1} 2\ncharge {charges[i]}\nAtomExpr {charges[i]}" for i in said)]
    rows.append("@<TRIPOS>BOND")
    for bond, kind in zip(bonds_of(mol), bond_types, strict=True):
        rows += [f"{bond.GetIdx() + 1:6} {bond.GetBeginAtomIdx() + 1:5} {bond.GetEndAtomIdx() + 1:5} {kind}"]
    return "\n".join(rows) + "\n\n"
