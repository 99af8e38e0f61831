"""Optional packages: what needs one asks for it here, and where it is missing the sentence says how to install it."""

from importlib.util import find_spec


class MissingPackage(ImportError, ValueError):
    """An optional package is not installed. Who checks for either kind of error finds it."""


def require(package: str, extra: str, what: str) -> None:
    """Make sure of a package that an extra installs, before the work that needs it begins.

    Args:
        package: its top-level module, which is not imported.
        extra: of this package (`pyproject.toml`).
        what: needs it, for the message.

    Raises:
        MissingPackage: it is not installed.

    Example:
        >>> from pyg_diffusion.extras import require
        >>> require("torch", "train", "training")
        >>> require("absent_package", "train", "training")
        Traceback (most recent call last):
        ...
        pyg_diffusion.extras.MissingPackage: training needs the package absent_package: pip install 'pyg_diffusion[train]'
    """
    if find_spec(package) is None:
        raise MissingPackage(f"{what} needs the package {package}: pip install 'pyg_diffusion[{extra}]'")
