"""``python -m spatialfm.cli``."""

from ._main import main

raise SystemExit(main())
