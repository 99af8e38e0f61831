"""`python -m pyg_diffusion.cli`."""

import sys

from . import main

sys.exit(main())
