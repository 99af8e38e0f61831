"""Public files -> FULL: downloads from a local server, commits of a local repository, xyz -> bonds, what is left out."""

import gzip
import hashlib
import importlib.util
import io
import os
import subprocess
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from pyg_diffusion.chem import read_sdf
from pyg_diffusion.chem.splits import connectivity, uniform

DATASETS = Path(__file__).parents[2] / "datasets"
BYTES = np.random.default_rng(0).bytes(300_000)


@pytest.fixture(scope="module")
def fetch():
    spec = importlib.util.spec_from_file_location("fetch", DATASETS / "fetch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def source(fetch, data, name="file.bin", url=""):
    return fetch.Download(name, url, len(data), hashlib.md5(data).hexdigest())


class Server(ThreadingHTTPServer):
    """Serves BYTES at /file.bin; `ranges`: it knows them; `cut`: it breaks off there; `asked`: Range headers seen."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.ranges, self.cut, self.asked = True, None, []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path != "/file.bin":
            return self.send_error(404)
        wanted = self.headers["Range"]
        self.server.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.ranges else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(BYTES) - start))
        self.end_headers()
        self.wfile.write(BYTES[start : self.server.cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on_and_a_whole_one_is_not_repeated(fetch, server, tmp_path, ranges):
    wanted = source(fetch, BYTES)
    server.ranges, server.cut = ranges, 200_000
    with pytest.raises(fetch.FetchError, match=r"file\.bin: .*goes on"):
        fetch.download(wanted, tmp_path, server.url)
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin.part"]
    server.cut = None
    for _ in range(2):
        assert fetch.download(wanted, tmp_path, server.url).read_bytes() == BYTES
    assert server.asked == [None, "bytes=200000-"]
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]


def test_wrong_bytes_are_named_and_only_they_are_removed(fetch, server, tmp_path):
    (tmp_path / "file.bin").write_bytes(b"older")
    wanted = source(fetch, BYTES[::-1], url=f"{server.url}/file.bin")
    with pytest.raises(fetch.FetchError) as error:
        fetch.download(wanted, tmp_path)
    for told in ("file.bin", wanted.md5, hashlib.md5(BYTES).hexdigest()):
        assert told in str(error.value)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file.bin", b"older")]


def test_a_missing_file_and_a_missing_server_are_clear_errors(fetch, server, tmp_path):
    with pytest.raises(fetch.FetchError, match=r"other\.bin: http.*HTTP 404.*--mirror"):
        fetch.download(source(fetch, BYTES, "other.bin"), tmp_path, server.url)
    with pytest.raises(fetch.FetchError, match=r"file\.bin: http://127.0.0.1:9/file.bin: .*refused"):
        fetch.download(source(fetch, BYTES), tmp_path, "http://127.0.0.1:9")


def commit(folder: Path, files: dict[str, bytes]) -> str:
    """The id of a new commit of these files in a repository that is made where there is none."""

    def git(*arguments):
        user = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | user
        done = subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True, text=True, env=environment)
        return done.stdout.strip()

    if not folder.exists():
        folder.mkdir()
        git("init", "--quiet")
        git("config", "uploadpack.allowFilter", "true")
        git("config", "uploadpack.allowAnySHA1InWant", "true")
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    git("add", ".")
    git("commit", "--quiet", "--message", "files")
    return git("rev-parse", "HEAD")


def test_a_file_is_read_from_its_commit_and_no_other(fetch, tmp_path):
    first = commit(tmp_path / "repo.git", {"data/a.txt": BYTES})
    commit(tmp_path / "repo.git", {"data/a.txt": b"changed later", "data/b.txt": b"new"})
    right = fetch.Committed("repo", f"file://{tmp_path}/repo.git", first, "data/a.txt")
    assert fetch.committed(right) == BYTES
    assert fetch.committed(right._replace(url="nowhere"), f"file://{tmp_path}") == BYTES
    for wrong, told in [
        (right._replace(commit="1" * 40), "commit 1{40} cannot be fetched"),
        (right._replace(path="data/b.txt"), f"no data/b.txt in {first}"),
        (right._replace(url=f"file://{tmp_path}/none.git"), "none.git: commit .* cannot be fetched"),
    ]:
        with pytest.raises(fetch.FetchError, match=told):
            fetch.committed(wrong)


def xyz(symbols: list[str], positions, number: int) -> bytes:
    """A record as QM9 has them, with the exponents of Mathematica."""
    rows = [
        f"{s}\t{x * 1e6:.0f}.*^-6\t{y: .10f}\t{z: .10f}\t-1.2*^-6" for s, (x, y, z) in zip(symbols, positions, strict=True)
    ]
    return "\n".join(
        [str(len(rows)), f"gdb {number}\t157.7118\t0.", *rows, "1341.307\t1341.3284", "C\tC", "InChI=1\tInChI=1", ""]
    ).encode()


def isomeric(mol: Chem.Mol) -> str:
    mol = Chem.Mol(mol)
    Chem.AssignStereochemistryFrom3D(mol)
    return Chem.MolToSmiles(Chem.RemoveHs(mol))


@pytest.fixture(scope="module")
def chiral():
    """Four molecules of QM9 with stereo centres, by u(key) of the split."""
    mols = (record.mol for record in read_sdf(str(DATASETS / "qm9_3000.sdf.gz")))
    found = list(islice((mol for mol in mols if "@" in isomeric(mol)), 4))
    return sorted(found, key=lambda mol: uniform(connectivity(mol)))


@pytest.fixture
def mirror(fetch, chiral, tmp_path, monkeypatch):
    """A folder that holds what the public sources do, small, and the drug-like molecules and the DFT8K record in it."""
    held_out, _, tested, kept = chiral
    records = [([a.GetSymbol() for a in m.GetAtoms()], m.GetConformer().GetPositions()) for m in [*chiral, kept]]
    records += [(["H", "F"], [(0, 0, 0), (0.92, 0, 0)])]
    records += [(["H"] * 4, [(0, 0, 0), (0.74, 0, 0), (9, 0, 0), (9.74, 0, 0)])]
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    with tarfile.open(mirror / "dsgdb9nsd.xyz.tar.bz2", "w:bz2") as tar:
        for number, record in enumerate(records, 1):
            member = tarfile.TarInfo(f"dsgdb9nsd_{number:06d}.xyz")
            member.size = len(data := xyz(*record, number))
            tar.addfile(member, io.BytesIO(data))
    lines = ["header"] * 9 + ["     5      C#N      CN"] + ["footer", ""]
    (mirror / "uncharacterized.txt").write_text("\n".join(lines))
    whole = gzip.decompress((DATASETS / "dft8k_200.sdf.gz").read_bytes()).decode().split("$$$$\n")[0]
    dft8k = f"{whole}$$$$\nbad\n     RDKit\n\n  1  0  0\nM  END\n$$$$\n"
    zinc = [*(DATASETS / "zinc_100.smi").read_text().split()[:3], "C1CC", isomeric(held_out)]
    pinned = commit(
        mirror / "all.git",
        {
            fetch.DFT8K.path: gzip.compress(dft8k.encode()),
            fetch.ZINC.path: "\n".join(zinc).encode(),
            fetch.GEOM_TEST.path: f"smiles,n_conformers,corrected_smiles\n?,1,{isomeric(tested)}\n".encode(),
        },
    )
    for constant in ("DFT8K", "ZINC", "GEOM_TEST"):
        old = getattr(fetch, constant)
        monkeypatch.setattr(fetch, constant, old._replace(commit=pinned))
        (mirror / f"{old.name}.git").symlink_to(mirror / "all.git")
    for constant in ("XYZ", "UNCHARACTERIZED"):
        name = getattr(fetch, constant).name
        monkeypatch.setattr(fetch, constant, source(fetch, (mirror / name).read_bytes(), name))
    return mirror, zinc, dft8k


def test_public_files_become_the_files_that_the_recipes_expect(fetch, chiral, mirror, tmp_path, monkeypatch, capsys):
    (mirror, zinc, dft8k), full = mirror, tmp_path / "full"
    held_out, excluded, _, kept = chiral
    u = [uniform(connectivity(mol)) for mol in chiral]
    monkeypatch.setattr(fetch, "HELD_OUT", (u[0] + u[1]) / 2)
    mine = tmp_path / "mine.smi"
    flat = Chem.RemoveHs(excluded)
    mine.write_text(Chem.MolToSmiles(flat, isomericSmiles=False))  # its stereoisomers are excluded as well
    arguments = [str(full), "--exclude", str(mine), "--mirror", f"file://{mirror}/"]
    fetch.main(arguments)

    for name, original in [("train/qm9.sdf.gz", kept), ("dev/qm9_val.sdf.gz", held_out)]:
        (record,) = read_sdf(str(full / name))
        assert record.name == f"dsgdb9nsd_{chiral.index(original) + 1:06d}"
        assert isomeric(record.mol) == isomeric(original)
        positions = [mol.GetConformer().GetPositions() for mol in (record.mol, original)]
        np.testing.assert_allclose(*positions, atol=1e-4)
    assert (full / "train/qm9.log").read_text().splitlines()[1:] == [
        "train/qm9.sdf.gz: 1 records",
        "dev/qm9_val.sdf.gz: 1 records",
        "left out: 1 x excluded: in mine.smi",
        "left out: 1 x excluded: in geom_qm9_test.smi",
        "left out: 1 x uncharacterized: relaxed to another molecule",
        "left out: 1 x has F",
        "left out: 1 x falls into fragments",
        "dsgdb9nsd_000002: excluded: in mine.smi",
        "dsgdb9nsd_000003: excluded: in geom_qm9_test.smi",
        "dsgdb9nsd_000005: uncharacterized: relaxed to another molecule",
        "dsgdb9nsd_000006: has F",
        "dsgdb9nsd_000007: falls into fragments",
    ]
    (record,) = read_sdf(str(full / "train/dft8k.sdf.gz"))
    assert record.name == dft8k.split("\n")[0]
    assert "\nbad: " in (full / "train/dft8k.log").read_text()
    assert gzip.decompress((full / "smiles/zinc_drug_like.smi.gz").read_bytes()).decode().split() == zinc[:3]
    assert "3 of the 100 molecules of zinc_100.smi" in capsys.readouterr().err
    sums = dict(reversed(line.split()) for line in (full / "SHA256SUMS").read_text().splitlines())
    assert sums == {
        name: hashlib.sha256((full / name).read_bytes()).hexdigest()
        for name in (
            "train/qm9.sdf.gz",
            "train/dft8k.sdf.gz",
            "dev/qm9_val.sdf.gz",
            "smiles/zinc_drug_like.smi.gz",
            "smiles/geom_qm9_test.smi",
        )
    }

    times = {name: (full / name).stat().st_mtime_ns for name in sums}
    (mirror / "all.git").rename(mirror / "gone")  # nothing is asked for again
    fetch.main(arguments)
    assert {name: (full / name).stat().st_mtime_ns for name in sums} == times
    (full / "train/dft8k.sdf.gz").write_bytes(b"damaged")
    with pytest.raises(SystemExit, match=r"error: .*CASCADE\.git"):
        fetch.main(arguments)
    (full / "SHA256SUMS").unlink()
    with pytest.raises(SystemExit, match=r"error: .*geom_qm9_test\.smi: not made by this program"):
        fetch.main(arguments)
