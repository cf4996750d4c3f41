"""Engines: what runs a graph of a package. One protocol (`base.py`), one file for each library, imported only when used."""
