"""Networks by name: for recipes, which read their options off the constructor, and for cards, which build them again."""

import inspect
import re
from collections.abc import Mapping, Sequence
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, Field, create_model

from ..registry import Registry
from ..sections import Section
from .base import NetworkBase
from .energy_net import EnergyNet

ASKED = "quantities of the data to condition on"


class NetworkOptions(Section):
    """The `model` section of a recipe: options of a network, and these."""

    model_config = ConfigDict(use_attribute_docstrings=False)  # their class describes them

    if TYPE_CHECKING:  # declared where they stand in each, which is their order
        kind: str
        conditions: list[str]


class NetworkKind:
    """A class of networks, and what of its constructor is whose business.

    Arguments that follow from the data (`facts`) come from the task; all others are options of a recipe, in the
    constructor's order, with its defaults and the descriptions of the class's docstring. A recipe names its `conditions`: a
    constructor whose `conditions` are a tuple gets the names, one whose are an int their number, one without takes none.

    Args:
        network: annotated with int, float, bool, str and tuples of them; with a default for every option.
        facts: those that the constructor has not are left out.
        energy: the network is the f of an `EnergyNet`.
        tasks: names of tasks that take it, beside those that name it themselves.
        on_atoms: the class that takes its place where `atoms`, one of the facts, is true: nodes are atoms of a
            `MoleculeData`. It takes the same options.

    Example:
        >>> from pyg_diffusion.nn import MLPNet
        >>> from pyg_diffusion.nn.registry import NetworkKind
        >>> kind = NetworkKind(MLPNet, facts=("channels", "positions", "node_conditions", "atoms"))
        >>> kind.options("mlp")(width=8)
        mlp(kind='mlp', width=8, depth=4, conditions=[])
        >>> type(kind.make({"width": 8, "depth": 4, "conditions": ["amplitude"], "channels": 1})).__name__
        'MLPNet'
    """

    def __init__(
        self,
        network: type[NetworkBase],
        facts: Sequence[str] = (),
        energy: bool = False,
        tasks: Sequence[str] = (),
        on_atoms: type[NetworkBase] | None = None,
    ):
        self.network, self.facts, self.energy, self.tasks = network, tuple(facts), energy, tuple(tasks)
        self.on_atoms = None if on_atoms is None else NetworkKind(on_atoms, facts, energy)
        self._options: dict[str, type[NetworkOptions]] = {}
        self._types = get_type_hints(network.__init__)
        self._defaults = {
            name: parameter.default
            for name, parameter in inspect.signature(network.__init__).parameters.items()
            if name != "self"
        }

    @property
    def takes_conditions(self) -> bool:
        """Whether it can be conditioned."""
        return "conditions" in self._defaults

    @property
    def takes_node_conditions(self) -> bool:
        """Whether its nodes can be."""
        return "node_conditions" in self._defaults

    def options(self, name: str) -> type[NetworkOptions]:
        """The `model` section of a recipe whose `kind` is `name`."""
        if name not in self._options:
            self._options[name] = self._build_options(name)
        return self._options[name]

    def _build_options(self, name: str) -> type[NetworkOptions]:
        said, types = _arguments(self.network), self._types
        fields: dict[str, Any] = {"kind": (Literal[name], name)}
        for key, default in self._defaults.items():
            if key in self.facts or (key == "conditions" and types[key] is int):
                continue
            if get_origin(types[key]) is tuple:
                fields[key] = (GenericAlias(list, get_args(types[key])[:1]), list(default))
            else:
                fields[key] = (types[key], default)
        fields.setdefault("conditions", (list[str], []))
        if self._types.get("conditions") != tuple[str, ...]:
            said["conditions"] = ASKED if self.takes_conditions else "none: this network takes none"
        described: dict[str, Any] = {
            key: (Annotated[kind, Field(description=said.get(key))], default) for key, (kind, default) in fields.items()
        }
        return create_model(name, __base__=NetworkOptions, __doc__=self._summary(), **described)

    def _summary(self) -> str:
        """What it is, in a sentence or two."""
        head = inspect.cleandoc(self.network.__doc__ or self.network.__name__).split("\n\n")[0].replace("\n", " ")
        atoms = "" if self.on_atoms is None else f"; on atoms `{self.on_atoms.network.__name__}`"
        return f"`{self.network.__name__}`{atoms}{' in an `EnergyNet`' if self.energy else ''}: {head}"

    def make(self, model: Mapping[str, Any]) -> NetworkBase:
        """The untrained network of options and facts.

        Raises:
            TypeError, ValueError: they are not of this network.
        """
        if self.on_atoms is not None and model.get("atoms"):
            return self.on_atoms.make(model)
        given = {key: tuple(value) if isinstance(value, list) else value for key, value in model.items() if key != "kind"}
        names = given.pop("conditions", ())
        for fact in self.facts:
            if fact not in self._defaults:
                given.pop(fact, None)
        if self.takes_conditions:
            given["conditions"] = len(names) if self._types["conditions"] is int else names
        elif names:
            raise ValueError(f"{self.network.__name__} takes no conditions, got {', '.join(names)}")
        net = self.network(**given)
        return EnergyNet(net) if self.energy else net


def _arguments(network: type[NetworkBase]) -> dict[str, str]:
    """What the docstring's `Args:` say of each; of a class without them, those of the class it derives from."""
    for kind in network.__mro__:
        text = inspect.cleandoc(kind.__dict__.get("__doc__") or "")
        block = re.search(r"^Args:\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
        if block:
            entries = re.findall(r"^    (\w[\w, ]*): ((?:.*\n?)(?:        .*\n?)*)", block[1], re.MULTILINE)
            return {name: " ".join(about.split()).rstrip(".") for names, about in entries for name in names.split(", ")}
    return {}


NETWORKS: Registry[NetworkKind] = Registry(
    "networks",
    {
        "conformer": "pyg_diffusion.nn.conformer_net:KIND",
        "hydrogen": "pyg_diffusion.nn.hydrogen_net:KIND",
        "graph": "pyg_diffusion.nn.graph_net:KIND",
        "eps": "pyg_diffusion.nn.eps_net:KIND",
        "score": "pyg_diffusion.nn.score_net:KIND",
        "mlp": "pyg_diffusion.nn.mlp:KIND",
        "energy": "pyg_diffusion.nn.feature_net:ENERGY",
        "matrix_energy": "pyg_diffusion.nn.matrix_net:ENERGY",
        "matrix_mlp_energy": "pyg_diffusion.nn.matrix_net:MLP_ENERGY",
    },
)
