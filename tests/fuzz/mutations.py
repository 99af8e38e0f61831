"""Damage to real files: to bytes, to text, to what JSON, YAML and HDF5 hold. All of it follows from a `Random`."""

import copy
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

TOKENS = (
    *("[", "]", "(", ")", "%10", "%1", "@@", "@", "/", "\\", ".", "*", "~", "->", "|", "{", ":", ",", ";", "'", '"'),
    *("[nH]", "[2H]", "[13C@@H]", "[Na+]", "[Fe+2]", "|&1:1|", "|^1:0|", "R#", "C" * 40, "1" * 30, "é", "\u2028"),
    *("999", "-0", "-1", "nan", "1e400", "  ", "\0", "\t", "\n", "\r", "\r\n"),
    *("$$$$", "\n$$$$\n", "M  END", "M  CHG  1   1   9", ">  <x>", "V2000", "V3000"),
)
NUMBERS = (0, -1, 1, 10**12, 10**30, 0.5, -0.0, 1e308, -1e-308, float("nan"), float("inf"))
TEXTS = ("", "x", "1e-3", "nan", "é" * 50, "molecules")
SHAPES: tuple[Any, ...] = ([], [0], [None], [[1]], {}, {"a": 1}, {"kind": "fields"}, [1] * 70, {"": {"": {}}}, ["C", 3])
ODD: tuple[Any, ...] = (None, True, False, *NUMBERS, *TEXTS, *SHAPES)


def mutated_bytes(content: bytes, rng: random.Random) -> bytes:
    """One to four of: a bit, a byte, a piece deleted, doubled, moved, overwritten, filled; the end cut off."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        if not data:
            break
        a = rng.randrange(len(data))
        b = min(len(data), a + 1 + int(rng.expovariate(1 / 20)))
        match rng.randrange(8):
            case 0:
                data[a] ^= 1 << rng.randrange(8)
            case 1:
                data[a] = rng.randrange(256)
            case 2:
                del data[a:b]
            case 3:
                data[a:a] = data[a:b]
            case 4:
                c = rng.randrange(len(data))
                data[c:c] = data[a:b]
            case 5:
                data[a:b] = rng.randbytes(b - a)
            case 6:
                data[a:b] = rng.choice((b"\0", b"\xff")) * (b - a)
            case 7 if rng.random() < 0.3:
                del data[a:]
            case _:
                data[a : a + 4] = rng.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 255)).to_bytes(4, "little")
    return bytes(data)


def mutated_text(text: str, rng: random.Random) -> str:
    """One to four of: a character changed, lines or pieces deleted, doubled or swapped, a token put in, a number changed."""
    for _ in range(rng.randint(1, 4)):
        if not text:
            break
        a = rng.randrange(len(text))
        b = min(len(text), a + 1 + int(rng.expovariate(1 / 6)))
        lines = text.splitlines(keepends=True)
        k, j = rng.randrange(len(lines)), rng.randrange(len(lines))
        match rng.randrange(8):
            case 0:
                text = text[:a] + chr(rng.choice((rng.randrange(32, 127), rng.randrange(1, 0x2FF)))) + text[a + 1 :]
            case 1:
                text = text[:a] + text[b:]
            case 2:
                text = text[:b] + text[a:]
            case 3:
                text = text[:a] + rng.choice(TOKENS) + text[a:]
            case 4:
                text = text[:a] + rng.choice(TOKENS) + text[b:]
            case 5:
                lines[k], lines[j] = lines[j], lines[k]
                text = "".join(lines)
            case 6:
                lines[k:k] = lines[j : j + 1]
                text = "".join(lines)
            case _:
                digits = [i for i, c in enumerate(text) if c.isdigit()]
                if digits:
                    i = rng.choice(digits)
                    text = text[:i] + rng.choice("0123456789-.e ") + text[i + 1 :]
    return text


def mutated_values(values: Any, rng: random.Random) -> Any:
    """What JSON or YAML holds, with one to three of its parts changed, deleted, put in or swapped."""
    values = copy.deepcopy(values)
    for _ in range(rng.randint(1, 3)):
        holders = [(None, None)]
        _collect(values, holders)
        holder, key = rng.choice(holders)
        odd = copy.deepcopy(rng.choice(ODD))
        if holder is None:
            if rng.random() < 0.1:
                values = odd
            elif isinstance(values, dict):
                values[rng.choice(("x", 3, None, "kind", "data", True))] = odd
            continue
        match rng.randrange(4):
            case 0:
                del holder[key]
            case 1:
                other, name = rng.choice(holders[1:])
                with suppress(KeyError, IndexError):  # deleted before
                    holder[key] = copy.deepcopy(other[name])
            case _:
                holder[key] = odd
    return values


def _collect(values: Any, holders: list) -> None:
    for key in values if isinstance(values, dict) else range(len(values)) if isinstance(values, list) else ():
        holders.append((values, key))
        _collect(values[key], holders)


def mutate_hdf5(path: Path, rng: random.Random) -> None:
    """One or two of: a dataset deleted, made a group, retyped, reshaped, with an extreme value; an attribute changed."""
    extreme = (0, -1, 1, 255, 65535, 2**31 - 1, 2**40, float("nan"), float("inf"))
    with h5py.File(path, "r+") as file:
        for _ in range(rng.randint(1, 2)):
            names: list[str] = []
            file.visit(names.append)
            attributes = list(file.attrs)
            if attributes and rng.random() < 0.25:
                name = rng.choice(attributes)
                if rng.random() < 0.2:
                    del file.attrs[name]
                else:
                    odd = rng.choice((-1, 0, 3, 10**12, 0.5, "", "[", "[1]", '{"shape": [2]}', [1, 2], b"\xff", "pyg", True))
                    file.attrs.create(name, odd)
                continue
            if not names:
                return
            name = rng.choice(names)
            found = file[name]
            if isinstance(found, h5py.Group) or rng.random() < 0.1:
                del file[name]
                if rng.random() < 0.3:
                    file.create_group(name)
                continue
            values = found[...]
            numeric, rows = values.dtype.kind in "iuf", bool(values.ndim and len(values))
            match rng.randrange(5):
                case 0 if numeric:
                    with np.errstate(all="ignore"):
                        values = values.astype(rng.choice(("u1", "i2", "i8", "f4", "f8", ">i4")))
                case 1:
                    values = values[:-1] if rows else values[None]
                case 2:
                    values = np.concatenate([values, values]) if rows else values[None]
                case 3:
                    values = values.reshape(-1) if values.ndim != 1 else values[:, None]
                case _ if numeric and values.size:
                    flat, value = values.reshape(-1), rng.choice(extreme)
                    if values.dtype.kind != "f":
                        top = np.iinfo(values.dtype)
                        value = top.max if value != value else int(min(max(value, top.min), top.max))
                    flat[rng.randrange(flat.size)] = value
            del file[name]
            file[name] = values
