"""`hfd-edge build` and `hfd-edge plan`: TensorRT plans of an engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hfd_edge.cli.options import JsonOption, QuietOption, parse_memory
from hfd_edge.cli.report import print_json, print_lines, progress_bar

if TYPE_CHECKING:
    from hfd_edge.engine.tensorrt_build import Progress
    from hfd_edge.engine.tensorrt_request import BuildRequest

_ENGINE = typer.Argument(metavar="ENGINE", help="The .engine file.")
_PRECISION = typer.Option(help="fp16, int8, fp32, or auto: fp16 where the engine holds it.")
_TILE = typer.Option(metavar="PX[,PX]", help="Rows and columns of a tile with its halo; default: what a run takes by itself.")
_BATCH = typer.Option("--max-batch", help="Tiles of a batch; default: what a run takes by itself.", min=1, max=1024)
_WORKSPACE = typer.Option(help="Memory that a kernel may use besides its tensors: 512M, 2G, or bytes.")
_TIMING = typer.Option(help="TensorRT's timings, read and written; default: kept with the plans.")
_LIBRARY = typer.Option(help="tensorrt or tensorrt_rtx; default: the full TensorRT where it is installed.")
_DEVICE = typer.Option(help="cuda:0, cuda:1, ...")


def build(  # an option of the command line is an argument here: more than six are meant
    engine: Annotated[Path, _ENGINE],
    precision: Annotated[str, _PRECISION] = "auto",
    tile: Annotated[str | None, _TILE] = None,
    max_batch: Annotated[int | None, _BATCH] = None,
    workspace: Annotated[str, _WORKSPACE] = "1G",
    embed: Annotated[bool, typer.Option("--embed", help="Also put the plan into the engine file, for machines exactly like this one.")] = False,
    timing_cache: Annotated[Path | None, _TIMING] = None,
    library: Annotated[str | None, _LIBRARY] = None,
    device: Annotated[str, _DEVICE] = "cuda:0",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compile an engine's graph for the GPU of this machine, for usual and wide tiles; plans are kept for this user, and found by every later run.

    hfd-edge build model.engine --precision fp16
    """
    from hfd_edge.engine.tensorrt_cache import PlanCache
    from hfd_edge.engine.tensorrt_request import make_plans
    from hfd_edge.package import Package
    from hfd_edge.package.again import embed_plans

    with Package.open(engine) as package, _building(quiet or as_json) as progress:
        request = _request(precision, tile, max_batch, library, device, _options(workspace, timing_cache, progress))
        made = make_plans(package, request, quiet)
        members = embed_plans(package, {found.key: bytes(found.plan) for found in made}) if embed else ()
    cache = PlanCache()
    if as_json:
        print_json({"plans": [{"key": found.key.to_dict(), "plan_bytes": len(found.plan), "source": found.source} for found in made],
                    "embedded": list(members), "cache": str(cache.folder), "cache_bytes": cache.size_bytes()})
    elif not quiet:
        key = made[0].key
        print_lines({**{f"plan {number + 1}": f"{found.key.graph}, {found.key.precision}, tiles {found.key.shape}, {len(found.plan) / 1e6:.1f} MB "
                                              f"({found.source})" for number, found in enumerate(made)},
                     "for": f"{key.gpu}, compute capability {key.capability}, {key.library} {key.version}, driver {key.driver}",
                     "cache": f"{cache.folder}, {cache.size_bytes() / 1e6:.1f} MB in all",
                     **({"embedded": f"{', '.join(members)}; runs only with --trust-plans"} if members else {})})


def plan(  # as above
    engine: Annotated[Path, _ENGINE],
    output: Annotated[Path, typer.Option("--output", "-o", help="The plan to write; a record, OUTPUT.json, goes beside it.")],
    precision: Annotated[str, _PRECISION] = "auto",
    tile: Annotated[str | None, _TILE] = None,
    max_batch: Annotated[int | None, _BATCH] = None,
    workspace: Annotated[str, _WORKSPACE] = "1G",
    library: Annotated[str | None, _LIBRARY] = None,
    device: Annotated[str, _DEVICE] = "cuda:0",
    triton: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Also write this model of a Triton repository.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a bare TensorRT plan for trtexec, Triton or DeepStream. hfd_edge itself runs the .engine file.

    hfd-edge plan model.engine -o model.plan
    """
    from hfd_edge.engine.tensorrt_bare import check_free, trtexec_command, write_bare, write_triton
    from hfd_edge.engine.tensorrt_request import make_plan
    from hfd_edge.package import Package

    with Package.open(engine) as package, _building(quiet or as_json) as progress:
        request = _request(precision, tile, max_batch, library, device, _options(workspace, None, progress))
        check_free(output, triton, overwrite, engine)
        found = make_plan(package, request, quiet)
        files = [*write_bare(output, package, found.key, found.plan, overwrite),
                 *(write_triton(triton, package, found.key, found.plan, overwrite) if triton else [])]
        command = trtexec_command(output, package, found.key)
    if as_json:
        print_json({"key": found.key.to_dict(), "files": list(map(str, files)), "try": command})
    elif not quiet:
        print_lines({"written": ", ".join(map(str, files)), "try": command})


def _request(precision: str, tile: str | None, batch: int | None, library: str | None, device: str, options: object) -> BuildRequest:
    from hfd_edge.engine.tensorrt_request import BuildRequest

    kind, _, number = device.partition(":")
    if kind != "cuda" or not (number or "0").isdigit():
        raise typer.BadParameter(f"--device {device[:40]!r}: a plan is for a GPU; give cuda:0")
    return BuildRequest(precision, _parse_tile(tile), batch, library, int(number or 0), options)


def _options(workspace: str, timing_cache: Path | None, progress: Progress | None) -> object:
    from hfd_edge.engine.tensorrt_build import BuildOptions

    return BuildOptions(parse_memory(workspace, "--workspace"), timing_cache, progress)


def _parse_tile(text: str | None) -> tuple[int, int] | None:
    """"512" or "512,768" as rows and columns."""
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) > 2 or not all(part.strip().isdigit() for part in parts):
        raise typer.BadParameter(f"--tile {text[:40]!r}: give pixels, or rows and columns such as 512,768")
    return int(parts[0]), int(parts[-1])


@contextmanager
def _building(quiet: bool) -> Iterator[Progress | None]:
    """TensorRT's phases as a bar; builds nest, so the bar begins anew with each."""
    with progress_bar("building", quiet, "steps") as bar:
        yield None if bar is None else lambda phase, done, total: bar(done, total)
