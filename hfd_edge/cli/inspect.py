"""`hfd-edge inspect`: what is in an .engine file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hfd_edge.cli.report import print_json, print_lines
from hfd_edge.text import printable

if TYPE_CHECKING:
    from hfd_edge.export.lineage import Difference
    from hfd_edge.package import Package
    from hfd_edge.spec import ModelInput

_MANY, _WIDE = 24, 200          # entries and characters of a record that `inspect` shows without --all
_LONG = ("provenance.calibration.tensors", "provenance.sensitivity", "provenance.gate")


def inspect(
    engine: Annotated[Path, typer.Argument(metavar="ENGINE", help="The .engine file.")],
    other: Annotated[Path | None, typer.Argument(metavar="[NEW]", help="With --diff: the file to hold against it.")] = None,
    diff: Annotated[bool, typer.Option(
        "--diff", help="Show in what ENGINE and NEW differ: spec, sizes, provenance, lineage.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Every range, sensitivity and figure of the gate too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one line of JSON.")] = False,
) -> None:
    """Show the spec, members, hashes and provenance of an .engine file, all hashes checked; with --diff, what differs in two.

    hfd-edge inspect model.engine

    hfd-edge inspect --diff old.engine new.engine
    """
    from hfd_edge.package import Package

    if diff != (other is not None):
        raise typer.BadParameter("--diff takes two engines: hfd-edge inspect --diff old.engine new.engine")
    if other is not None:
        return _print_differences(engine, other, everything, as_json)
    with Package.open(engine) as package:
        members = {name: len(package.read(name)) for name in package.names}
        if as_json:
            print_json({"path": str(engine), "engine_hash": package.engine_hash, "manifest": package.manifest,
                        "member_bytes": members})
            return
        print_lines(_spec_lines(package))
        typer.echo("members")
        for name, size in members.items():
            digest = package.manifest["members"].get(name, {}).get("sha256", package.engine_hash)
            typer.echo(f"  {size:>10}  {digest}  {name}")
        _print_plans(package)
        typer.echo("provenance (of the machine that exported it)")
        _print_tree(package.manifest["provenance"] if everything else _short(package.manifest["provenance"]), 2)


def _print_plans(package: Package) -> None:
    """Plans inside the package, and those of its graphs that this user has built."""
    from hfd_edge.engine.tensorrt_cache import PlanCache

    hashes = {package.manifest["members"][graph]["sha256"] for graph in package.graph_names}
    kept = [cached for cached in PlanCache().plans() if cached.key.graph_sha256 in hashes]
    rows = [*((name, package.plans.get(name)) for name in package.names if name.startswith("plans/")),
            *((str(cached.path), cached.key) for cached in kept)]
    if rows:
        typer.echo("plans (native code: those in the file run only with --trust-plans)")
    for name, key in rows:
        what = "no record of what it was built for: never loaded" if key is None else (
            f"{key.precision}, tiles {key.shape}, {key.gpu}, compute capability {key.capability}, {key.library} {key.version}, driver {key.driver}")
        typer.echo(printable(f"  {name}: {what}"))


def _spec_lines(package: Package) -> dict[str, str]:
    spec, source = package.spec, package.spec.input
    bounded = f"bounded {spec.halo_bounded_px or 'not measured'}"
    halo = (f"exact {spec.halo_px} px (reach {spec.reach_px} px), {bounded}" if spec.reach_bounded else
            f"{spec.halo_px} px, chosen by hand: the reach has no known bound, tiled may differ from whole")
    return {
        "engine": f"{spec.name}, format {'.'.join(map(str, package.manifest['format_version']))}",
        "hash": package.engine_hash,
        "bands": f"{', '.join(spec.bands)}; {source.quantity} in {source.unit}, looks {source.looks or 'not stated'}",
        "classes": ", ".join(f"{value} {name}" for value, name in enumerate(spec.classes)),
        "pixels": f"{spec.pixel_spacing_m:g} m" if spec.pixel_spacing_m else "spacing not stated",
        **({"told": f"percentiles {_list(spec.scene_percentiles)} of each band's power over the scene, as a second input"}
           if spec.scene_percentiles else {}),
        "input": f"mean {_list(source.mean)}, std {_list(source.std)}, floor {source.floor}, clip {source.clip}, filter {_filter(source)}",
        "stride": f"{spec.stride_px} px, logits every {spec.logit_stride_px} px",
        "halo": halo,
        "edge": "error of a tile's end not measured: no --stitch precision" if spec.edge_error is None else
        f"error of a tile's end measured over {len(spec.edge_error)} logits, {spec.edge_error[0]:.3g} at the end",
        "tile": f"{spec.tile_px} px {'and no other' if spec.fixed_tile else 'in training'}, "
        f"{spec.activation_bytes_per_px or 'unknown'} bytes of working memory per pixel"}


def _short(provenance: dict[str, Any]) -> dict[str, Any]:
    """What a reader looks for: of the gate one line a graph, and of long records and the training's keys their number."""
    gate, training = provenance.get("gate"), provenance.get("training")
    if isinstance(training, dict) and isinstance(training.get("config"), dict):
        provenance = {**provenance, "training": {**training, "config": f"{_leaves(training['config'])} keys (--all shows them)"}}
    graphs = gate.get("graphs") if isinstance(gate, dict) else None
    if isinstance(graphs, dict):
        told = {name: _judged(result) for name, result in graphs.items()}
        provenance = {**provenance, "gate": {**{key: value for key, value in gate.items() if key != "sensitivity"}, "graphs": told}}
    return _counted(provenance)


def _leaves(record: Any) -> int:
    return sum(map(_leaves, record.values())) if isinstance(record, dict) and record else 1


def _judged(result: Any) -> Any:
    try:
        return f"{result['flip_rate']:.3%} of {result['pixels']} labels flip, bound {result['flip_bound']:.3%}: {'passed' if result['passed'] else 'failed'}"
    except (KeyError, TypeError, ValueError):
        return result


def _counted(record: dict[str, Any]) -> dict[str, Any]:
    """Long objects, lists and texts as their length."""
    found = {}
    for key, value in record.items():
        if isinstance(value, (dict, list)) and len(value) > _MANY:
            found[key] = f"{len(value)} entries (--all shows them)"
        elif isinstance(value, dict):
            found[key] = _counted(value)
        else:
            text = str(value)
            found[key] = value if len(text) <= _WIDE else f"{text[:_WIDE]}... ({len(text)} characters, --all shows them)"
    return found


def _shown(difference: Difference) -> bool:
    """Whether it is worth a line of its own: of the gate the share of labels that flip, and no ranges."""
    where = difference.where
    return where in _LONG or not where.startswith(_LONG) or where.endswith((".flip_rate", ".flip_bound"))


def _print_differences(old: Path, new: Path, everything: bool, as_json: bool) -> None:
    from hfd_edge.export.lineage import differences, relation
    from hfd_edge.package import Package

    with Package.open(old) as first, Package.open(new) as second:
        found, how = differences(first, second, counted=not (everything or as_json)), relation(first, second)
    if as_json:
        print_json({"old": str(old), "new": str(new), "relation": how,
                    "differences": [{"where": d.where, "old": d.old, "new": d.new} for d in found]})
        return
    typer.echo(printable(f"{old} -> {new}: {how}"))
    shown = [difference for difference in found if everything or _shown(difference)]
    for difference in shown:
        typer.echo(printable(difference.where))
        typer.echo(printable(f"  - {'not there' if difference.old is None else difference.old}"))
        typer.echo(printable(f"  + {'not there' if difference.new is None else difference.new}"))
    if len(shown) < len(found):
        typer.echo(f"and {len(found) - len(shown)} of calibration ranges, sensitivity and the gate's figures (--all shows them)")
    if not found:
        typer.echo("no differences")


def _list(values: tuple[float, ...]) -> str:
    return "[" + ", ".join(f"{v:.6g}" for v in values) + "]"


def _print_tree(record: Any, indent: int) -> None:
    for key, value in record.items():
        if isinstance(value, dict) and value:
            typer.echo(printable(f"{'':{indent}}{key}"))
            _print_tree(value, indent + 2)
        else:
            typer.echo(printable(f"{'':{indent}}{key}: {value}"))


def _filter(source: ModelInput) -> str:
    if source.speckle_filter == "none":
        return "none"
    from hfd_edge.errors import RadiometryError
    from hfd_edge.source.filter import filter_of, words_of

    try:
        words = words_of(filter_of(source))
    except RadiometryError as error:
        return f"{source.speckle_filter}, which cannot run: {error}"
    return words if source.filter_bright or source.speckle_filter != "lee_sigma" else words.rpartition(", bright")[0] + ", bright from each scene)"
