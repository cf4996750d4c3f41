"""Simulated scenes as pairs: nothing on disk, a scene is a pure function of its seed."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from hfd_edge.simulate import BANDS, CLASS_COLORS, CLASS_NAMES, EO_BANDS, Scene, SceneConfig
from hfd_edge.spec import Unit
from training.pairs import DataError, Pair, SetInfo, check_split, pair_of

FIRST_SEED = {"train": 1 << 41, "select": 1 << 43, "test": 1 << 42}     # far apart: no scene is in two splits
MAX_SCENES = 1 << 20                                                    # per split and seed


class SimulatedPairs:
    """Scenes of `side_px` x `side_px`, so and so many per split. Training scenes change with `seed`, the others never do."""

    # One argument more than six: the folder is every reader's first, and this one has none.
    def __init__(self, root: Path, side_px: int = 512, train: int = 176, select: int = 8, test: int = 24, seed: int = 0,
                 scene: dict[str, Any] | None = None) -> None:
        """`scene` may hold looks, spacing_m, incidence_deg, region_px, nesz_db, speckle_correlation and border_px."""
        known = [field.name for field in fields(SceneConfig) if field.name not in ("rows", "cols", "seed")]
        unknown = [name for name in scene or {} if name not in known]
        if unknown:
            raise DataError(f"layout simulated: scene.{unknown[0]} is not known; use {', '.join(known)}")
        if not (0 < train <= MAX_SCENES and 0 < select <= MAX_SCENES and 0 < test <= MAX_SCENES and 0 <= seed < MAX_SCENES):
            raise DataError(f"layout simulated: train={train}, select={select}, test={test}, seed={seed}; a split has 1 to "
                            f"{MAX_SCENES} scenes and the seed is 0 to {MAX_SCENES - 1}")
        self._counts, self._seed = {"train": train, "select": select, "test": test}, seed
        self._side, self._scene = side_px, dict(scene or {})
        config = self._config("train", 0)
        self.info = SetInfo("simulated", BANDS, EO_BANDS, CLASS_NAMES, CLASS_COLORS, Unit.INTENSITY, "sigma0", config.looks,
                            config.spacing_m, flips=("rows",))       # rows is the flight direction; layover points along cols

    def names(self, split: str) -> tuple[str, ...]:
        return tuple(f"{split}-{number:06d}" for number in range(self._counts[check_split(split)]))

    def read(self, name: str, eo: bool = True) -> Pair:
        split, _, number = name.partition("-")
        if split not in self._counts or not number.isdecimal() or int(number) >= self._counts[split]:
            raise DataError(f"simulated pair {name!r} does not exist; names are SPLIT-NUMBER, as names(split) gives them")
        window = Scene(self._config(split, int(number))).window(0, 0, self._side, self._side, eo=eo)
        return pair_of(name, window.sar, window.eo, window.labels, window.valid)

    def _config(self, split: str, number: int) -> SceneConfig:
        first = FIRST_SEED[split] + ((self._seed << 20) if split == "train" else 0)
        return SceneConfig(self._side, self._side, seed=first + number, **self._scene)
