"""Statistics on arrays, independent of AnnData, patients' tables and the rest of the package."""
