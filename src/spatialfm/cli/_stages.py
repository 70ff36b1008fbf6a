"""All stages, in their order."""

from __future__ import annotations

from . import embed, niches, patients, phenotype, read, report, segment, signatures, survival
from ._stage import Stage

MODULES = (read, segment, embed, phenotype, signatures, niches, patients, survival, report)
STAGES: dict[str, Stage] = {module.STAGE.name: module.STAGE for module in MODULES}
