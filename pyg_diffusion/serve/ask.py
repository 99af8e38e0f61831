"""What a client may ask, checked before anything is done; and what it means for the sampler."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..chem.finish import Finish
from ..chem.formats import SDF, parsed
from ..chem.records import Record, RecordError
from ..chem.smiles import record_from_line, split_smiles
from ..chem.text import repaired
from ..tasks.molecules.embed import OVERSAMPLE
from ..tasks.molecules.inputs import Entry
from ..tasks.molecules.presets import PRESETS
from ..tasks.molecules.sample import Request
from .limits import Limits

Surface = Literal["", "MMFF94s", "MMFF94s(eps=4)", "GFN2-xTB"]
Smiles = Annotated[str, Field(min_length=1, max_length=5000)]


class Refused(ValueError):
    """What is asked cannot be done, or is too much; the sentence is for the client."""


class Ask(BaseModel):
    """Molecules, and what is asked of each; options are those of `pyg-diffusion sample`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    smiles: list[Smiles] | Smiles | None = None
    """SMILES or InChI, each with a name behind a blank; or"""
    sdf: str | None = None
    """the text of an SDF file."""
    n: Annotated[int, Field(ge=1)] | Literal["auto"] = 10
    """Conformers of a molecule; auto: by its rotatable bonds."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Same seed, same conformers."""
    preset: Literal["", "screen", "ensemble", "docking", "nmr"] = ""
    """Options for a purpose; what is given beside it goes first."""
    level: str | None = Field(None, max_length=100)
    """Of theory, that the geometries should have."""
    stereo: Literal["sample", "enumerate"] = "sample"
    """What to do where it is unspecified."""
    max_isomers: int = Field(32, ge=1, le=1000)
    """Stereoisomers of a molecule at most."""
    attempts: int = Field(10, ge=1, le=10)
    """Draws of a conformer until it is sound."""
    oversample: float = Field(OVERSAMPLE, ge=1, le=10)
    """Draw so many times as many, and keep those that stand best for all."""
    confidence: bool = True
    """Give each conformer one."""
    relax: Surface = ""
    """Move each to the nearest minimum of this surface."""
    energies: Surface = ""
    """Write energies of this surface."""
    prune: float = Field(0.0, ge=0)
    """Leave out what is so near a better one, RMSD in Å."""
    window: float | None = Field(None, ge=0)
    """Leave out what is so far above the lowest energy, kcal/mol."""
    kelvin: float = Field(0.0, ge=0)
    """Write Boltzmann populations at this temperature."""

    @model_validator(mode="after")
    def _one_source(self) -> "Ask":
        if (self.smiles is None) == (self.sdf is None):
            raise ValueError("give either smiles or sdf")
        return self

    def _settled(self) -> dict[str, Any]:
        """The options with those of the preset, where they are not given."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        for name, value in PRESETS[self.preset].options.items() if self.preset else ():
            mine, value = {"no_confidence": ("confidence", not value), "n": ("n", value[0] if name == "n" else value)}.get(
                name, (name, value)
            )
            if mine not in self.model_fields_set:
                found[mine] = value
        return found

    def request(self) -> tuple[Request, bool]:
        """The request to the sampler, and whether confidences are wanted.

        Raises:
            Refused: options do not go together, or what they need is not installed.
        """
        found = self._settled()
        window = float("inf") if found["window"] is None else found["window"]
        try:
            finish = Finish(found["relax"], found["energies"], found["prune"], window=window, kelvin=found["kelvin"])
        except (ValueError, ImportError) as error:
            raise Refused(str(error)) from error
        n = None if found["n"] in ("auto", None) else found["n"]
        isomers = self.max_isomers if self.stereo == "enumerate" else None
        request = Request(
            n=n, seed=self.seed, attempts=self.attempts, level=self.level, oversample=found["oversample"],
            max_isomers=isomers, finish=finish,
        )  # fmt: skip
        return request, found["confidence"]

    def records(self) -> Iterator[Record]:
        """The molecules that were sent, as records; no text is ever taken for a file's name.

        Raises:
            RecordError: the text is no SDF file.
        """
        if self.sdf is not None:
            lines = iter(self.sdf.splitlines(keepends=True))
            for index, raw in enumerate(SDF.split(lines, "the upload", lambda text: None)):
                yield parsed(SDF, index, raw, False)
            return
        for index, text in enumerate([self.smiles] if isinstance(self.smiles, str) else self.smiles or ()):
            yield record_from_line(index, split_smiles(repaired(text)))


def entries_of(ask: Ask, request: Request, limits: Limits, skip: Any, say: Any) -> list[Entry]:
    """The molecules of a request as they are to be made.

    Raises:
        Refused: they are too many, too large, or none is usable.
    """
    entries: list[Entry] = []
    conformers = 0
    reasons: list[str] = []

    def fail(record: Record, reason: str) -> None:
        reasons.append(f"{record.name}: {reason}")
        skip(record.name, reason)

    try:
        for entry in request.entries_of(_few(ask.records(), limits.molecules), fail, say):
            entries.append(entry)
            conformers += request.count(entry)
            if len(entry.molecule.z) > limits.atoms:
                raise Refused(f"{entry.record.name}: {len(entry.molecule.z)} atoms; at most {limits.atoms} are taken")
            if len(entries) > limits.molecules:
                raise Refused(f"more than {limits.molecules} molecules; send them in several requests")
            if conformers > limits.conformers:
                raise Refused(f"more than {limits.conformers} conformers; ask fewer (n), or send several requests")
    except RecordError as error:
        raise Refused(str(error)) from error
    if not entries:
        raise Refused("; ".join(reasons[:5]) or "there is no molecule in the request")
    return entries


def _few(records: Iterator[Record], most: int) -> Iterator[Record]:
    """The records, refused once they are more than `most` molecules could need: conformers of one count once."""
    for index, record in enumerate(records):
        if index >= 50 * most:
            raise Refused(f"more than {50 * most} records; send them in several requests")
        yield record
