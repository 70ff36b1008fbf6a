"""``python -m spatialfm``."""

from .cli import main

raise SystemExit(main())
