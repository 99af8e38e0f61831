"""Whether the columns of a store fit together: what a damaged file is told by."""

from collections.abc import Iterator, Mapping

import numpy as np

from . import schema

# column -> (pointer that cuts it, dtype, trailing shape)
Columns = Mapping[str, tuple[str, type, tuple[int, ...]]]
_HEAVIEST = 118


def problems(arrays: Mapping[str, np.ndarray], columns: Columns, levels: int) -> Iterator[str]:
    """What is wrong with columns of the right type and shape, the first thing first; later ones rest on the earlier ones.

    Args:
        arrays: every column, and `molecule/*_ptr` for every pointer.
        columns: what there should be.
        levels: how many levels of theory have names.
    """
    for name, (pointer, _, _) in columns.items():
        ptr = arrays[f"molecule/{pointer}_ptr"]
        if ptr[0] != 0 or (np.diff(ptr) < 0).any() or ptr[-1] != len(arrays[name]):
            yield f"molecule/{pointer}_ptr does not cut {name}"
            return
    atoms, count, rows = (np.diff(arrays[f"molecule/{pointer}_ptr"]) for pointer in ("atom", "conformer", "pos"))
    if (rows != atoms * count).any():
        yield "conformer/pos has not one row for each atom of each conformer"
    for name, pointer in (("bond/index", "bond"), ("tetra/index", "tetra"), ("ez/index", "ez")):
        owner = np.repeat(atoms, np.diff(arrays[f"molecule/{pointer}_ptr"]))
        if (arrays[name] >= owner[:, None]).any():
            yield f"{name} names an atom that its molecule has not"
    classes = np.array(list(schema.ATOM_FEATURES.values()))
    if (arrays["atom/x"] >= classes).any():
        yield "atom/x has a class that no feature has"
    for name, low, high in (
        ("atom/z", 0, _HEAVIEST),
        ("bond/type", 1, len(schema.BOND_TYPES) - 1),
        ("ez/type", min(schema.CIS, schema.TRANS), max(schema.CIS, schema.TRANS)),
        ("conformer/level", 0, levels - 1),
    ):
        if ((arrays[name] < low) | (arrays[name] > high)).any():
            yield f"{name} has a value outside of {low}..{high}"
    if np.isinf(arrays["conformer/energy"]).any():
        yield "conformer/energy is infinite"
    for name, pointer in (("text/name", "name"), ("text/smiles", "smiles")):
        text = arrays[name]
        begins = arrays[f"molecule/{pointer}_ptr"]
        begins = begins[begins < len(text)]
        try:
            text.tobytes().decode()
        except UnicodeDecodeError:
            yield f"{name} is not UTF-8"
        else:
            if ((text[begins] & 0xC0) == 0x80).any():  # within a character
                yield f"{name} is cut within a character"
