"""Statistics on arrays. They know neither AnnData nor patients' tables, and nothing else of the package."""
