"""Weights on disk: tensors as safetensors, everything else as a JSON card beside them. Loading runs no code."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from .data import schema
from .denoise import Denoiser
from .nn import ConformerNet, EnergyNet, EpsNet, GraphNet, MatrixMLP, MatrixNet, MLPNet, ScoreNet
from .sde import GeometricTime, LinearSDE
from .spectral import PowerSpectrum

FORMAT = "pyg_diffusion.weights"
VERSION = 1
SHIPPED = "shipped"  # the name of the package's own weights, where a path is asked for


class WeightsError(ValueError):
    """Weights that cannot be used, and why."""


@dataclass
class Card:
    """What a weights file is.

    process, model: their constructor arguments, the model's with its `kind`; bf16: whether the network runs its matrix
    products in bf16; elements: atomic numbers seen in training; data: the kind of data and, for fields, their grid and law;
    training, metrics: where the weights come from and how good they are; domain: what else training saw of molecules, the
    atoms of the largest ("max_atoms") and the formal charges of atoms ("charges", clipped as in features); empty: unknown.
    """

    process: dict[str, Any]
    model: dict[str, Any]
    bf16: bool
    elements: list[int] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=lambda: {"kind": "molecules"})
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    domain: dict[str, Any] = field(default_factory=dict)


NETS: dict[str, Any] = {
    "conformer": ConformerNet,
    "graph": GraphNet,
    "eps": EpsNet,
    "score": ScoreNet,
    "mlp": MLPNet,
    "energy": GraphNet,
    "matrix_energy": MatrixNet,
    "matrix_mlp_energy": MatrixMLP,
}


def build_denoiser(card: Card, spectrum: PowerSpectrum) -> Denoiser:
    """The untrained denoiser that a card describes."""
    process = dict(card.process)
    sde = LinearSDE(GeometricTime(process.pop("tau_min"), process.pop("tau_max")), **process)
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in card.model.items()}
    kind = options.pop("kind", "conformer")
    if kind not in NETS:
        raise ValueError(f"no network of kind {kind!r}; there are {', '.join(NETS)}")
    conditions = options.pop("conditions", ())
    if kind == "conformer":  # it computes its conditions from the signal; the others only need their number
        options["conditions"] = conditions
    elif not kind.startswith("matrix"):
        options["conditions"] = len(conditions)
    if kind == "matrix_energy":
        del options["n"]  # it takes any
    net = NETS[kind](**options)
    return Denoiser(
        EnergyNet(net) if kind.endswith("energy") else net, sde, spectrum, card.data["kind"] == "molecules", card.bf16
    )


def union_of_domains(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The domain of a training that went on from another; unknown where either is."""
    if not (one and other):
        return {}
    charges = sorted({*one["charges"], *other["charges"]})
    return {"max_atoms": max(one["max_atoms"], other["max_atoms"]), "charges": charges}


def continue_from(denoiser: Denoiser, source: Denoiser) -> None:
    """Give a denoiser the weights of another of the same model; levels that only it knows begin as the level unknown.

    Raises:
        ValueError: the networks differ in more than their levels.
    """
    net: Any = denoiser.net
    state = dict(source.net.state_dict())
    if getattr(net, "levels", ()):
        own = net.level.weight.detach().clone()
        if "level.weight" in state:
            levels: Any = source.net.levels
            theirs = {name: k for k, name in enumerate((*levels, ""))}
            own = state["level.weight"][[theirs.get(name, theirs[""]) for name in (*net.levels, "")]]
        state["level.weight"] = own
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"the weights to begin with are of another model: {str(error).splitlines()[1].strip()}") from error


def compile_network(denoiser: Denoiser) -> None:
    """torch.compile what is worth it of a network, once for all sizes."""
    net: Any = denoiser.net
    if not hasattr(net, "trunk_compile"):
        raise ValueError(f"{type(net).__name__} is not made to be compiled; leave compile out")
    net.trunk_compile()


def save_pretrained(path: str | os.PathLike, denoiser: Denoiser, card: Card) -> None:
    """Write `path` (.safetensors, float16) and its card (.json), each moved into place when whole."""
    path = Path(path)
    state = {k: v.detach().to("cpu", torch.float16).contiguous() for k, v in denoiser.net.state_dict().items()}
    temporary = path.with_name(path.name + ".tmp")
    save_file(state, temporary)
    spectrum = denoiser.spectrum
    assert isinstance(spectrum, PowerSpectrum)
    text = {
        "format": FORMAT,
        "version": VERSION,
        "features": schema.VERSION,
        "sha256": hashlib.sha256(temporary.read_bytes()).hexdigest(),
        "spectrum": {
            "log_lambda": spectrum.log_lambda.tolist(),
            "log_power": spectrum.log_power.tolist(),
            "floor": spectrum.floor,
        },
        **asdict(card),
    }
    json_temporary = path.with_name(path.stem + ".json.tmp")
    json_temporary.write_text(json.dumps(text, indent=1) + "\n")
    temporary.chmod(json_temporary.stat().st_mode)  # safetensors writes files that only the owner can read
    os.replace(temporary, path)
    os.replace(json_temporary, path.with_suffix(".json"))


def load_pretrained(path: str | os.PathLike) -> tuple[Denoiser, Card]:
    """The denoiser of a weights file, in evaluation mode on the CPU.

    Args:
        path: a `.safetensors` file with its `.json` card beside it, a training run's folder, or `SHIPPED`.

    Raises:
        WeightsError: missing, foreign, of another version, or damaged.
    """
    path = Path(str(files("pyg_diffusion") / "weights" / "conformers.safetensors")) if path == SHIPPED else Path(path)
    path = path / "weights.safetensors" if path.is_dir() else path
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path}: expected a .safetensors file or a training run's folder")
    card_path = path.with_suffix(".json")
    for needed in (path, card_path):
        if not needed.is_file():
            raise WeightsError(f"{needed}: no such file")
    try:
        text = json.loads(card_path.read_text())
    except ValueError as error:
        raise WeightsError(f"{card_path}: not a weights card: {error}") from error
    if not isinstance(text, dict) or text.get("format") != FORMAT:
        raise WeightsError(f"{card_path}: not a weights card of this program")
    if text.get("version") != VERSION or text.get("features") != schema.VERSION:
        raise WeightsError(
            f"{card_path}: weights version {text.get('version')} with features {text.get('features')}; "
            f"this program reads {VERSION} with {schema.VERSION}: train again, or install the matching release"
        )
    if hashlib.sha256(path.read_bytes()).hexdigest() != text.get("sha256"):
        raise WeightsError(f"{path}: does not match its card (damaged, or the card of other weights)")
    try:
        card = Card(**{k: text[k] for k in Card.__dataclass_fields__ if k in text})
        knots = text["spectrum"]
        spectrum = PowerSpectrum(
            torch.tensor(knots["log_lambda"]), torch.tensor(knots["log_power"]), knots.get("floor", PowerSpectrum.FLOOR)
        )
        denoiser = build_denoiser(card, spectrum)
        denoiser.net.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"{path}: weights and card do not fit together: {error}") from error
    return denoiser.eval(), card
