"""Make the files that the recipes start from, out of their public sources:

    python datasets/fetch.py FULL [--exclude FILE ...] [--mirror BASE]

FULL/train/qm9.sdf.gz, dev/qm9_val.sdf.gz    QM9 (figshare; size and MD5 as its API publishes them)
FULL/train/dft8k.sdf.gz                      DFT8K (github.com/patonlab/CASCADE)
FULL/smiles/zinc_drug_like.smi.gz            ZINC (github.com/wengong-jin/icml18-jtnn)
FULL/smiles/geom_qm9_test.smi                GEOM-QM9's test molecules (github.com/PattanaikL/GeoMol)

What comes from GitHub is read with `git` from one commit. A commit's id is a hash of everything in it, so git itself
verifies the bytes, and there is no checksum of ours to believe. FULL/SHA256SUMS lists what was made; the log of each file
names every record that was left out and why. Interrupted downloads go on where they stopped, finished files are kept.

No molecule of geom_qm9_test.smi or of a file given by --exclude (SDF or SMILES, plain or gzipped: what you evaluate on) is
in the other files, nor one that differs from it only in stereo, isotopes or protonation (`chem.splits.connectivity`). With
--mirror, files come from BASE/NAME and repositories from BASE/NAME.git. README.md says how these files differ from those
that the shipped weights were trained on.
"""

import argparse
import csv
import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from http.client import HTTPException
from pathlib import Path
from shutil import copyfileobj
from typing import NamedTuple

from rdkit import Chem, rdBase
from rdkit.Chem import rdDetermineBonds
from tqdm import tqdm

from pyg_diffusion.chem import RecordError, read_records
from pyg_diffusion.chem.sdf import record_from_block, split_sdf
from pyg_diffusion.chem.splits import connectivity, uniform


class Download(NamedTuple):
    """A file on the web."""

    name: str
    url: str
    size: int
    md5: str


class Committed(NamedTuple):
    """A file of a git repository at one commit."""

    name: str
    url: str
    commit: str
    path: str


class Item(NamedTuple):
    """A record of a source; `problem` says why it has no molecule."""

    name: str
    mol: Chem.Mol | None
    problem: str = ""


class FetchError(RuntimeError):
    """A source cannot be had, or is not what it should be."""


XYZ = Download(
    "dsgdb9nsd.xyz.tar.bz2",
    "https://ndownloader.figshare.com/files/3195389",
    86144227,
    "ad1ebd51ee7f5b3a6e32e974e5d54012",
)
UNCHARACTERIZED = Download(
    "uncharacterized.txt",
    "https://ndownloader.figshare.com/files/3195404",
    486752,
    "a361887bacb427b8a0ce7903d92a53b4",
)
DFT8K = Committed(
    "CASCADE",
    "https://github.com/patonlab/CASCADE.git",
    "bf17a0ddb7c2f4558d790e6d6ea7af71b698f096",
    "data/DFT8K/DFT.sdf.gz",
)
ZINC = Committed(
    "icml18-jtnn",
    "https://github.com/wengong-jin/icml18-jtnn.git",
    "b05ae3a966e8cac29217d436999c427c06b41488",
    "data/zinc/all.txt",
)
GEOM_TEST = Committed(
    "GeoMol",
    "https://github.com/PattanaikL/GeoMol.git",
    "bb7820c5acdcc1fad66aeb65d0d6258e7ca27a1a",
    "data/QM9/test_smiles_corrected.csv",
)
HELD_OUT = 0.009  # of QM9, by the hash of `pyg_diffusion.chem.splits.Split`
ZINC_LINES = 30_000  # from the start: the list is in random order


def download(source: Download, folder: Path, mirror: str | None = None) -> Path:
    """The verified file in `folder`, downloaded if it is not there; an earlier NAME.part is continued.

    Raises:
        FetchError: it is not there, the connection breaks (call again to go on), or the bytes are wrong (NAME.part goes).
    """
    path, part = folder / source.name, folder / f"{source.name}.part"
    if path.exists() and _identity(path) == (source.size, source.md5):
        return path
    url = f"{mirror}/{source.name}" if mirror else source.url
    start = part.stat().st_size if part.exists() else 0
    if start < source.size:
        print(f"{source.name}: downloading {url} from byte {start:,} of {source.size:,}", file=sys.stderr)
        headers = {"User-Agent": "pyg-diffusion"} | ({"Range": f"bytes={start}-"} if start else {})
        try:
            with (
                urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as response,
                open(part, "ab" if response.status == 206 else "wb") as stream,  # 200: no ranges here, all of it anew
            ):
                copyfileobj(response, stream)
        except urllib.error.HTTPError as error:
            raise FetchError(f"{source.name}: {url}: HTTP {error.code} {error.reason}; see --mirror") from error
        except (OSError, HTTPException) as error:
            raise FetchError(f"{source.name}: {url}: {error}; the same command goes on from what has come") from error
        if (size := part.stat().st_size) < source.size:
            raise FetchError(
                f"{source.name}: {url}: {size:,} of {source.size:,} bytes came; the same command goes on from there"
            )
    if (found := _identity(part)) != (source.size, source.md5):
        part.unlink()
        raise FetchError(
            f"{source.name} from {url}: expected {source.size} bytes with MD5 {source.md5}, found {found[0]} with MD5 "
            f"{found[1]}; {part} is removed. Try again or see --mirror"
        )
    os.replace(part, path)
    return path


def _identity(path: Path) -> tuple[int, str]:
    """(size, MD5)"""
    return path.stat().st_size, _digest(path, "md5")


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def committed(source: Committed, mirror: str | None = None) -> bytes:
    """The file at that commit; git fetches its tree and this one blob, and verifies both against the commit's id.

    Raises:
        FetchError: no git, no such repository, commit or file.
    """
    url = f"{mirror}/{source.name}.git" if mirror else source.url
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | {"GIT_TERMINAL_PROMPT": "0"}

    def git(problem: str, *arguments: str) -> bytes:
        try:
            return subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True, env=environment).stdout
        except FileNotFoundError as error:
            raise FetchError(f"{url}: git is not installed, and it verifies what comes from there") from error
        except subprocess.CalledProcessError as error:
            raise FetchError(f"{url}: {problem}: {error.stderr.decode(errors='replace').strip()}") from error

    with tempfile.TemporaryDirectory() as folder:
        git("no folder for it", "init", "--quiet", "--bare")
        git("no repository", "remote", "add", "origin", url)
        git(f"commit {source.commit} cannot be fetched", "fetch", "--depth=1", "--filter=blob:none", "origin", source.commit)
        return git(f"no {source.path} in {source.commit}", "cat-file", "blob", f"{source.commit}:{source.path}")


def qm9(archive: Path, uncharacterized: Path) -> Iterator[Item]:
    """The records of QM9 with bonds, by number; without F and those that failed QM9's consistency check."""
    lines = uncharacterized.read_text().split("\n")[9:-2]  # without its header and footer
    failed = {int(line.split()[0]) for line in lines}
    with tarfile.open(archive, "r|bz2") as tar:
        for member in tar:
            if not member.name.endswith(".xyz"):
                continue
            name = Path(member.name).stem
            if int(name.rpartition("_")[2]) in failed:
                yield Item(name, None, "uncharacterized: relaxed to another molecule")
            else:
                yield bonded(name, tar.extractfile(member).read().decode())  # type: ignore[union-attr]  # a file, not a folder


def bonded(name: str, text: str) -> Item:
    """A record in QM9's own xyz format (numbers such as 2.1*^-6, a fifth column of charges, lines after the atoms).

    Bonds and stereo are perceived from its geometry at net charge 0, by RDKit's DetermineBonds (after Kim and Kim 2015).
    """
    lines = text.replace("*^", "e").splitlines()
    atoms = [line.split()[:4] for line in lines[2 : 2 + int(lines[0])]]
    if any(symbol == "F" for symbol, *_ in atoms):
        return Item(name, None, "has F")
    rows = [f"{symbol} {float(x):.10f} {float(y):.10f} {float(z):.10f}" for symbol, x, y, z in atoms]
    with rdBase.BlockLogs():
        mol = Chem.MolFromXYZBlock("\n".join([str(len(atoms)), "", *rows]))  # which knows no exponents
        try:
            rdDetermineBonds.DetermineBonds(mol, charge=0)
        except (ValueError, RuntimeError) as error:
            return Item(name, None, f"no bonds perceived: {str(error).strip().splitlines()[0]}")
    mol.SetProp("_Name", name)
    return Item(name, mol) if len(Chem.GetMolFrags(mol)) == 1 else Item(name, None, "falls into fragments")


def dft8k(data: bytes) -> Iterator[Item]:
    for k, block in enumerate(split_sdf(io.StringIO(gzip.decompress(data).decode()), DFT8K.path)):
        record = record_from_block(k, block, need_3d=True)
        yield Item(record.name, record.mol, record.problem)


def from_smiles(lines: Iterable[str]) -> Iterator[Item]:
    for line in lines:
        with rdBase.BlockLogs():
            mol = Chem.MolFromSmiles(line)
        yield Item(line, mol, "" if mol else "not a valid SMILES")


def sdf(mol: Chem.Mol) -> str:
    return Chem.MolToMolBlock(mol) + "$$$$\n"


def smiles(mol: Chem.Mol) -> str:
    return Chem.MolToSmiles(mol) + "\n"


def keys(path: Path) -> dict[str, str]:
    """What the molecules of a file exclude -> the reason; records that cannot be read exclude nothing, and that is said."""
    mols = [record.mol for record in read_records(str(path), need_3d=False)]
    if unread := mols.count(None):
        print(f"warning: {path}: {unread} of {len(mols)} records cannot be read and exclude nothing", file=sys.stderr)
    return {connectivity(mol): f"excluded: in {path.name}" for mol in mols if mol is not None}


class Maker:
    """Makes files in `full` once: again only if the recipe, what is excluded, or the files have changed."""

    def __init__(self, full: Path):
        self.full = full
        self.sums = full / "SHA256SUMS"

    def make(
        self,
        source: Download | Committed,
        outputs: list[str],
        items: Callable[[], Iterable[Item]],
        text: Callable[[Chem.Mol], str],
        excluded: dict[str, str],
    ) -> None:
        """Sift the items into the outputs: what is held out goes to the second one, if there is one."""
        state = hashlib.sha256("\n".join(sorted(excluded)).encode()).hexdigest()[:16]
        title = f"# {tuple(source)}, RDKit {rdBase.rdkitVersion}, {len(excluded)} molecules excluded ({state})"
        log = self.full / f"{outputs[0].partition('.')[0]}.log"
        lines = self.sums.read_text().splitlines() if self.sums.exists() else []
        sums = {line[66:]: line[:64] for line in lines}
        paths = {name: self.full / name for name in outputs}
        same = log.exists() and log.read_text().startswith(f"{title}\n")
        if same and all(path.exists() and sums.get(name) == _digest(path, "sha256") for name, path in paths.items()):
            print(f"{', '.join(outputs)}: made before", file=sys.stderr)
            return
        if foreign := [str(path) for name, path in paths.items() if path.exists() and name not in sums]:
            raise FetchError(
                f"{', '.join(foreign)}: not made by this program, so not replaced; move it or give another folder"
            )
        kept: list[list[str]] = [[] for _ in outputs]
        skipped: list[tuple[str, str]] = []
        for item in tqdm(items(), desc=outputs[0], unit=" records", file=sys.stderr):
            key = "" if item.mol is None else connectivity(item.mol)
            if item.mol is None:
                skipped.append((item.name, item.problem))
            elif key in excluded:
                skipped.append((item.name, excluded[key]))
            else:
                kept[len(outputs) > 1 and uniform(key) < HELD_OUT].append(text(item.mol))
        log.unlink(missing_ok=True)
        contents = ["".join(texts).encode() for texts in kept]
        contents = [gzip.compress(c, 9, mtime=0) if n.endswith(".gz") else c for n, c in zip(outputs, contents, strict=True)]
        sums |= {name: hashlib.sha256(content).hexdigest() for name, content in zip(outputs, contents, strict=True)}
        _write(
            self.sums, "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()
        )  # first: this marks them as ours
        for path, content in zip(paths.values(), contents, strict=True):
            _write(path, content)
        counts = [f"{name}: {len(texts)} records" for name, texts in zip(outputs, kept, strict=True)]
        counts += [f"left out: {count} x {problem}" for problem, count in Counter(p for _, p in skipped).most_common()]
        _write(log, "\n".join([title, *counts, *(f"{name}: {problem}" for name, problem in skipped), ""]).encode())
        print("\n".join(counts), file=sys.stderr)


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(data)
    os.replace(part, path)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("full", metavar="FULL", type=Path)
    parser.add_argument("--exclude", metavar="FILE", type=Path, nargs="+", default=[])
    parser.add_argument("--mirror", metavar="BASE", help="URL")
    options = parser.parse_args(arguments)
    full, mirror = options.full, options.mirror and options.mirror.rstrip("/")
    try:
        excluded = {key: reason for path in options.exclude for key, reason in keys(path).items()}
        _make_all(full, mirror, excluded)
    except (FetchError, RecordError) as error:
        sys.exit(f"error: {error}")


def _make_all(full: Path, mirror: str | None, excluded: dict[str, str]) -> None:
    raw, maker = full / "raw", Maker(full)
    raw.mkdir(parents=True, exist_ok=True)

    def geom_test() -> Iterator[Item]:
        rows = csv.DictReader(io.StringIO(committed(GEOM_TEST, mirror).decode()))
        return from_smiles(row["corrected_smiles"] for row in rows)

    maker.make(GEOM_TEST, ["smiles/geom_qm9_test.smi"], geom_test, smiles, {})
    excluded |= keys(full / "smiles/geom_qm9_test.smi")
    maker.make(
        XYZ,
        ["train/qm9.sdf.gz", "dev/qm9_val.sdf.gz"],
        lambda: qm9(download(XYZ, raw, mirror), download(UNCHARACTERIZED, raw, mirror)),
        sdf,
        excluded,
    )
    excluded |= keys(full / "dev/qm9_val.sdf.gz")
    maker.make(DFT8K, ["train/dft8k.sdf.gz"], lambda: dft8k(committed(DFT8K, mirror)), sdf, excluded)
    maker.make(
        ZINC,
        ["smiles/zinc_drug_like.smi.gz"],
        lambda: from_smiles(committed(ZINC, mirror).decode().split()[:ZINC_LINES]),
        smiles,
        excluded,
    )
    made = set(gzip.decompress((full / "smiles/zinc_drug_like.smi.gz").read_bytes()).decode().split())
    bundled = Path(__file__).with_name("zinc_100.smi").read_text().split()
    print(
        f"{sum(s in made for s in bundled)} of the {len(bundled)} molecules of zinc_100.smi are among them", file=sys.stderr
    )


if __name__ == "__main__":
    main()
