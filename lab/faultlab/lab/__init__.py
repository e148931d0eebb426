"""The Python API of a standing lab (`Lab`), its watching, and what `lab doctor` tries."""
