"""The library that everything else of the project stands on; it imports nothing of the rest."""
