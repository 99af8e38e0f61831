import json

import h5py
import numpy as np
import pytest
import torch

from pyg_diffusion.data.field_file import FieldFileError, read_fields, write_fields
from pyg_diffusion.data.sealed import seal

GRID = {"shape": [3, 4], "kinds": "cycle", "spacing": 1.0}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "fields.h5"
    write_fields(path, torch.arange(48.0).view(2, 12, 2), GRID)
    return path


def test_round_trip(path):
    x, data = read_fields(path)
    assert data == GRID and torch.equal(x, torch.arange(48.0).view(2, 12, 2))
    assert [p.name for p in path.parent.iterdir()] == ["fields.h5"]


def described(**changes):
    return lambda file: file.attrs.create("data", json.dumps({k: v for k, v in (GRID | changes).items() if v is not None}))


def array(values):
    def change(file):
        del file["x"]
        file["x"] = values

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.attrs.create("format", "another"), "not a file of fields"),
        (lambda f: f.attrs.create("version", [1, 1]), "not a file of fields"),
        (lambda f: f.attrs.create("data", "{"), "damaged one"),
        (lambda f: f.attrs.create("data", "[]"), "no shape, kinds and spacing"),
        (lambda f: f.attrs.create("data", 3), "damaged one"),
        (described(shape=None), "no shape, kinds and spacing"),
        (described(shape=[3, 5]), r"fields of shape \[2, 3, 4, 2\] on a grid \[3, 5\]"),
        (described(shape=[3, 0]), "the shape of the grid is"),
        (described(shape=12), "the shape of the grid is 12"),
        (described(kinds="torus"), "kinds must be of path, cycle, complete; got 'torus'"),
        (described(spacing=-1.0), "spacing must be finite and > 0"),
        (described(law="matern"), "a law without num_samples, parameters, seed"),
        (lambda f: f.pop("x"), "damaged one"),
        (array(np.zeros((2, 3, 4, 2), int)), "floating point"),
        (array(np.zeros((2, 3, 4))), "fields of shape"),
        (array(np.zeros((0, 3, 4, 2))), "fields of shape"),
        (array(np.full((2, 3, 4, 2), np.nan)), "not finite"),
        (array(1.0), "fields of shape"),
    ],
)
def test_a_damaged_file_is_refused_in_a_sentence(path, change, message):
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(FieldFileError, match="changed since it was written"):
        read_fields(path)
    with open(path, "r+b") as stream:
        seal(stream)
    with pytest.raises(FieldFileError, match=rf"fields\.h5: .*{message}") as error:
        read_fields(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("keep", [0, 100, 1000, -1])
def test_a_truncated_file_is_refused(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FieldFileError, match="damaged"):
        read_fields(path)
    with pytest.raises(FieldFileError, match="absent"):
        read_fields(path.with_name("absent.h5"))
