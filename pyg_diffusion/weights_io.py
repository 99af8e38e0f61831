"""Weights on disk: tensors as safetensors, everything else as a JSON card beside them. Loading runs no code."""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator, with_config
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import nn
from typing_extensions import TypedDict

from .data import schema
from .denoise import Denoiser
from .files import replacing
from .nn import NETWORKS, NetworkBase
from .sde import SCHEDULES, LinearSDE, Schedule, TabulatedTime, make_schedule
from .spectral import PowerSpectrum
from .weights_path import BEST as BEST
from .weights_path import LAST as LAST
from .weights_path import SHIPPED as SHIPPED
from .weights_path import WeightsError as WeightsError
from .weights_path import weights_path

FORMAT = "pyg_diffusion.weights"
VERSION = 1
SECOND, COARSE = "second.", "coarse."  # how the names of tensors of the second stage and of the coarser resolution begin

_EXACT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


@with_config(_EXACT)
class ProcessArguments(TypedDict, total=False):
    """Of `LinearSDE` and its schedule (`sde.make_schedule`), which cards of before 0.7 do not name: it was geometric.
    `knots` are the values of a schedule that was someone's own function."""

    gamma: float
    lambda0: float
    noise: Literal["white", "matched"]
    tau_min: float
    tau_max: float
    schedule: str
    knots: list[float]


@with_config(_EXACT)
class Domain(TypedDict, total=False):
    """Atoms of the largest molecule in training, and formal charges of atoms, clipped as in features; {} where unknown."""

    max_atoms: int
    charges: list[int]


class Card(BaseModel):
    """What a weights file is.

    Attributes:
        process, model: their constructor arguments, the model's with its `kind` and what followed from the data.
        bf16: whether the network runs its matrix products in bf16.
        elements: atomic numbers seen in training.
        data: the kind of data, and what its task needs to know of them.
        training, metrics: where the weights come from and how good they are.
        domain: what else training saw of molecules.
        hydrogens: of weights of two stages the model, training and metrics of the second, whose tensors stand in the same
            file; empty: there is none.
        coarse: of weights of several resolutions the `card` and the `spectrum` of the one above, whose tensors stand in the
            same file, and the `power` spectrum that finer signals are estimated from coarser ones by; empty: there is none.
        centered: the global translation is no part of the signal. Cards of before 0.7 do not say; it was so of molecules.
    """

    model_config = ConfigDict(strict=True, extra="ignore")

    process: ProcessArguments
    model: dict[str, Any]
    bf16: bool
    elements: list[int] = []
    data: dict[str, Any]
    training: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    domain: Domain = {}
    hydrogens: dict[str, Any] = {}
    coarse: dict[str, Any] = {}
    centered: bool

    @model_validator(mode="before")
    @classmethod
    def _of_before(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {"centered": bool(values.get("elements")), **values}

    @property
    def sampling(self) -> dict[str, Any]:
        """What the recipe says of sampling (`train.recipe.Sample`); {} where there is none."""
        recipe = self.training.get("recipe", {})
        return recipe.get("sample", {}) if isinstance(recipe, dict) else {}

    @field_validator("data")
    @classmethod
    def _has_a_kind(cls, data: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(data.get("kind"), str):
            raise ValueError("the data is of no known kind")
        return data

    @field_validator("domain")
    @classmethod
    def _is_whole(cls, domain: Domain) -> Domain:
        if len(domain) not in (0, 2):
            raise ValueError("max_atoms and charges go together")
        return domain


def build_denoiser(card: Card, spectrum: PowerSpectrum) -> Denoiser:
    """The untrained denoiser that a card describes."""
    process = card.process
    if "knots" in process:
        schedule: Schedule = TabulatedTime(process["knots"])
    else:
        name = process.get("schedule", "geometric")
        if name not in SCHEDULES:  # a function is not called for: a card runs no code
            raise ValueError(f"no schedule {name!r}; there are {', '.join(SCHEDULES)}")
        schedule = make_schedule(name, process["tau_min"], process["tau_max"])
    sde = LinearSDE(schedule, process["gamma"], process["lambda0"], process["noise"])
    denoiser = Denoiser(_network(card.model), sde, spectrum, card.centered, card.bf16)
    if card.hydrogens:
        denoiser.second = _network(card.hydrogens["model"]).requires_grad_(False)
    if card.coarse:
        above = Card.model_validate(card.coarse["card"])
        denoiser.coarse = build_denoiser(above, spectrum_of(card.coarse["spectrum"])).requires_grad_(False)
    return denoiser


def _network(model: dict[str, Any]) -> NetworkBase:
    kind = model.get("kind", next(iter(NETWORKS)))
    if kind not in NETWORKS:
        raise ValueError(f"no network of kind {kind!r}; there are {', '.join(NETWORKS)}")
    return NETWORKS[kind].make(model)


def standing(card: Card) -> str:
    """Where in its training a model stands: "step 4000, validation loss 0.1234", or what the card knows of it.

    Example:
        >>> from pyg_diffusion.weights_io import Card, standing
        >>> standing(Card(process={}, model={}, bf16=False, data={"kind": "fields"}, training={"steps": 400}))
        'step 400'
    """
    steps, loss = card.training.get("steps"), card.metrics.get("val/loss")
    known = [] if steps is None else [f"step {steps}"]
    if isinstance(loss, float):
        known.append(f"validation loss {loss:.4f}")
    return ", ".join(known)


def union_of_domains(one: Domain, other: Domain) -> Domain:
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
    net, theirs = denoiser.net, source.net
    state, name = dict(theirs.state_dict()), "level.weight"
    if net.levels:
        own = net.state_dict()[name].clone()
        if name in state:
            number = {level: k for k, level in enumerate((*theirs.levels, ""))}
            own = state[name][[number.get(level, number[""]) for level in (*net.levels, "")]]
        state[name] = own
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"the weights to begin with are of another model: {str(error).splitlines()[1].strip()}") from error


def save_pretrained(path: str | os.PathLike, denoiser: Denoiser, card: Card) -> None:
    """Write `path` (.safetensors, float16) and its card (.json) as one: killed at any time, it leaves a pair that loads.

    Two files cannot be renamed at once. So the card is there before its weights, as `.json.new`, which a reader takes where
    the weights are its own.
    """
    path = Path(path)
    state = {k: v.detach().to("cpu", torch.float16).contiguous() for k, v in _tensors(denoiser).items()}
    spectrum = denoiser.spectrum
    assert isinstance(spectrum, PowerSpectrum)
    new = path.with_suffix(".json.new")
    if path.exists() and new.exists():
        with suppress(WeightsError):  # what an earlier save was killed before, unless these were no weights of ours
            card_path, _ = _card_of(path, hashlib.sha256(path.read_bytes()).hexdigest())
            os.replace(card_path, path.with_suffix(".json"))
    with replacing(path) as temporary:
        save_file(state, temporary)
        text = {
            "format": FORMAT,
            "version": VERSION,
            "features": schema.VERSION,
            "sha256": hashlib.sha256(temporary.read_bytes()).hexdigest(),
            "spectrum": spectrum_knots(spectrum),
            **card.model_dump(),
        }
        with replacing(new) as card_file:
            card_file.write_text(json.dumps(text, indent=1) + "\n")
        temporary.chmod(new.stat().st_mode)  # safetensors writes files that only the owner can read
    os.replace(new, path.with_suffix(".json"))


def _tensors(denoiser: Denoiser) -> dict[str, torch.Tensor]:
    """By name, those of the second stage behind `SECOND`, those of the coarser resolution behind `COARSE`."""
    second = {} if denoiser.second is None else denoiser.second.state_dict(prefix=SECOND)
    coarse = {} if denoiser.coarse is None else _tensors(denoiser.coarse)
    return {**denoiser.net.state_dict(), **second, **{COARSE + name: value for name, value in coarse.items()}}


def _fill(denoiser: Denoiser, state: dict[str, torch.Tensor]) -> None:
    """Give a denoiser its tensors, as `_tensors` names them; RuntimeError where they are not its own."""
    second, coarse = (
        {k.removeprefix(prefix): v for k, v in state.items() if part is not None and k.startswith(prefix)}
        for prefix, part in ((SECOND, denoiser.second), (COARSE, denoiser.coarse))
    )
    taken = {*(SECOND + k for k in second), *(COARSE + k for k in coarse)}
    denoiser.net.load_state_dict({k: v for k, v in state.items() if k not in taken})
    if denoiser.second is not None:
        denoiser.second.load_state_dict(second)
    if denoiser.coarse is not None:
        _fill(denoiser.coarse, coarse)


def join_stages(first: str | os.PathLike, second: str | os.PathLike, path: str | os.PathLike) -> None:
    """Write weights of two stages, `path` with one card, from those of each (`data.hydrogens: second`).

    Raises:
        WeightsError: weights that cannot be read, or are not such stages, or that tell other levels of theory apart.
    """
    (denoiser, card), (other, theirs) = load_pretrained(first), load_pretrained(second)
    for stage, found, kind in ((first, card, "conformer"), (second, theirs, "hydrogen")):
        if found.model.get("kind", "conformer") != kind or found.data.get("hydrogens") != "second":
            raise WeightsError(f"{stage}: not a stage of model.kind {kind} that was trained with data.hydrogens: second")
    if new := sorted(set(card.model["levels"]) - set(theirs.model["levels"])):
        raise WeightsError(f"{second}: does not know the level of theory {new[0]}, which {first} does")
    assert isinstance(other.net, nn.Module)
    denoiser.second = other.net
    card.hydrogens = {"model": theirs.model, "training": theirs.training, "metrics": theirs.metrics}
    save_pretrained(path, denoiser, card)


def load_pretrained(path: str | os.PathLike) -> tuple[Denoiser, Card]:
    """The denoiser of a weights file, in evaluation mode on the CPU.

    Args:
        path: a `.safetensors` file with its `.json` card beside it, a training run's folder or `RUN:best`, or `SHIPPED`; see
            `weights_path`.

    Raises:
        WeightsError: missing, foreign, of another version, or damaged.
    """
    path = weights_path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    content = path.read_bytes()
    card_path, text = _card_of(path, hashlib.sha256(content).hexdigest())
    try:
        state = {k: v.float() for k, v in load(content).items()}
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"{path}: not a readable .safetensors file: {_line(error)}") from error
    try:
        card, spectrum = _parsed(text, state)
    except (KeyError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        missing = f"there is no {error}" if isinstance(error, KeyError) else _line(error)
        raise WeightsError(f"{card_path}: a damaged card, or one of another program: {missing}") from error
    try:
        denoiser = build_denoiser(card, spectrum)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        what = f"model {card.model} and process {card.process}"
        raise WeightsError(f"{card_path}: a damaged card, or one of another program: {what:.300} make no network") from error
    try:
        _fill(denoiser, state)
    except RuntimeError as error:
        raise WeightsError(f"{path}: weights and card do not fit together: {_line(error)}") from error
    return denoiser.eval(), card


def _line(error: Exception) -> str:
    """What an error says, on one line that is not too long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[min(1, len(lines) - 1)] if lines else type(error).__name__  # torch's first line names but the class
    return text if len(text) <= 200 else text[:197] + "..."


def _read_card(path: Path) -> dict[str, Any]:
    """A card of this version, its parts not yet looked at."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    try:
        text = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise WeightsError(f"{path}: not a weights card: {_line(error)}") from error
    if not isinstance(text, dict) or text.get("format") != FORMAT:
        raise WeightsError(f"{path}: not a weights card of this program")
    if text.get("version") != VERSION or text.get("features") != schema.VERSION:
        raise WeightsError(
            f"{path}: weights version {text.get('version')} with features {text.get('features')}; "
            f"this program reads {VERSION} with {schema.VERSION}: train again, or install the matching release"
        )
    return text


def _card_of(path: Path, digest: str) -> tuple[Path, dict[str, Any]]:
    """The card of the weights with this digest: beside them, or where a save left it that was killed or goes on."""
    card, problem = path.with_suffix(".json"), None
    for candidate in (card, path.with_suffix(".json.new"), card):  # once more: a save may have ended meanwhile
        try:
            text = _read_card(candidate)
        except WeightsError as error:
            problem = problem or error
            continue
        if text.get("sha256") == digest:
            return candidate, text
        problem = problem or WeightsError(f"{path}: does not match its card (damaged, or the card of other weights)")
    assert problem is not None
    raise problem


def _parsed(text: dict[str, Any], state: dict[str, torch.Tensor]) -> tuple[Card, PowerSpectrum]:
    """Card and spectrum from JSON, for the weights in `state`.

    Raises:
        KeyError, TypeError, ValueError: something is missing, of another type, or out of range.
    """
    try:
        card = Card.model_validate(text)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        raise ValueError(
            f"{'.'.join(str(part) for part in found['loc'])} is {found['input']!r:.40}: {found['msg']}"
        ) from error
    models = [card.model, card.hydrogens.get("model", {})]
    above = card.coarse
    while above:
        models.append(above["card"]["model"])
        above = above["card"].get("coarse")
    for model in models:
        _check_size(model, state)
    return card, spectrum_of(text["spectrum"])


def spectrum_knots(spectrum: PowerSpectrum) -> dict[str, Any]:
    """A power spectrum for JSON."""
    return {
        "log_lambda": spectrum.log_lambda.tolist(),
        "log_power": spectrum.log_power.tolist(),
        "floor": spectrum.floor,
    }


def spectrum_of(knots: Any) -> PowerSpectrum:
    """A power spectrum from JSON.

    Raises:
        ValueError: it is none.
    """
    try:
        log_lambda, log_power = (torch.tensor(knots[name], dtype=torch.float32) for name in ("log_lambda", "log_power"))
        floor = float(knots.get("floor", PowerSpectrum.FLOOR))
        spectrum = PowerSpectrum(log_lambda, log_power, floor)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ValueError(f"a spectrum is needed, and {knots!r:.60} is none") from error
    if not bool(log_lambda.isfinite().all() & log_power.isfinite().all()) or not 0 < floor <= 1:
        raise ValueError("the spectrum's knots must be finite, and its floor in (0, 1]")
    return spectrum


def _check_size(model: Any, state: dict[str, torch.Tensor]) -> None:
    """Raise where a card's model has values of other types, or is far larger than its weights: it must not even be built."""
    if not isinstance(model, dict):
        raise TypeError(f"a model should be a dict, is {model!r:.40}")
    largest = max((n for v in state.values() for n in v.shape), default=0)
    for name, value in model.items():
        parts = value if isinstance(value, list) else [value]
        if name in ("conditions", "levels"):
            good = isinstance(value, list) and all(isinstance(part, str) for part in parts)
        elif name == "kind":
            good = isinstance(value, str)
        else:
            numbers = [part for part in parts if type(part) in (int, float)]
            good = len(numbers) == len(parts) or type(value) is bool
            good = good and all(0 <= n <= max(largest, 64) for n in numbers)
            good = good and (name not in ("depth", "depths") or sum(numbers) <= len(state))
        if not good:
            raise ValueError(f"model.{name} is {value!r:.40}, which these weights cannot be of")
