"""Where a plan comes from: the user's cache, the package if its plans are trusted, or a build, said aloud; or an error that tells why not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from hfd_edge.engine.tensorrt_build import BuildOptions, PlanShapes, build_plan, plan_key
from hfd_edge.engine.tensorrt_cache import PlanCache
from hfd_edge.engine.tensorrt_capabilities import TensorRT, target_gpu
from hfd_edge.errors import EngineError
from hfd_edge.package import Package
from hfd_edge.package.plans import PlanKey

BUILDS = ("auto", "never")


def say_aloud(text: str) -> None:
    """To the standard error: what happens by itself and takes long is not done in silence."""
    print(f"hfd-edge: {text}", file=sys.stderr, flush=True)


def check_policy(build: str, trust_plans: bool) -> None:
    """Raise EngineError where a word stands for neither: "no" would trust native code."""
    if build not in BUILDS:
        raise EngineError(f"build={build!r}: it must be one of {', '.join(BUILDS)}")
    if not isinstance(trust_plans, (bool, np.bool_)):
        raise EngineError(f"trust_plans={trust_plans!r}: it must be True or False")


@dataclass(frozen=True, slots=True)
class PlanPolicy:
    """Which plans may run."""

    build: str = "auto"             # "never" refuses where a plan is missing
    trust_plans: bool = False       # plans inside the package may run too
    options: BuildOptions = BuildOptions()
    cache: PlanCache = field(default_factory=PlanCache)
    say: Callable[[str], None] = say_aloud

    def __post_init__(self) -> None:
        check_policy(self.build, self.trust_plans)


@dataclass(frozen=True, slots=True)
class Found:
    """A plan that may run here."""

    key: PlanKey
    plan: bytes | memoryview
    source: str         # "cache", "package" or "built"


def find_plan(trt: TensorRT, package: Package, graph: str, shapes: PlanShapes, policy: PlanPolicy, device: int = 0) -> Found:
    """The plan for a graph, shapes, this TensorRT and this GPU; built and kept where there is none.

    Raises:
        EngineError: there is none and policy.build is "never", or it cannot be built.
        DeviceError: there is no such GPU.
    """
    key = plan_key(package, graph, shapes, trt, target_gpu(trt, device))
    if (found := ready_plan(package, key, policy)) is not None:
        return found
    if policy.build == "never":
        raise EngineError(f"there is no plan of {graph} for tiles of {key.shape} on this machine{_why(package, key, policy)}: build='never' "
                          f"builds none; run {build_command(package, key)}")
    with policy.cache.building(key):
        if (found := ready_plan(package, key, policy)) is not None:         # another process built it while this one waited
            return found
        policy.say(f"building a plan of {graph} for tiles of {key.shape} on {key.gpu} with {key.library} {key.version}"
                   f"{_why(package, key, policy)}; this can take minutes, once")
        return Found(key, build_and_keep(trt, package, key, policy), "built")


def build_and_keep(trt: TensorRT, package: Package, key: PlanKey, policy: PlanPolicy) -> bytes:
    """Build a plan and put it into the cache; whoever calls holds the key's lock."""
    options = policy.options
    if options.timing_cache is None and trt.timing_cache:
        options = replace(options, timing_cache=policy.cache.timing_cache(key))
    built = build_plan(trt, package, key, options)
    path = policy.cache.put(key, built.plan)
    policy.say(f"built in {built.seconds:.1f} s: {len(built.plan) / 1e6:.1f} MB in {path}; all plans together "
               f"{policy.cache.size_bytes() / 1e6:.1f} MB")
    return built.plan


def build_command(package: Package, key: PlanKey) -> str:
    """What makes this plan."""
    return (f"hfd-edge build {package.path} --precision {key.precision} --tile {key.rows},{key.cols} --max-batch {key.batch}")


def ready_plan(package: Package, key: PlanKey, policy: PlanPolicy) -> Found | None:
    """The plan with this key that may run here, without building any."""
    if (plan := policy.cache.find(key, policy.say)) is not None:
        return Found(key, plan, "cache")
    if policy.trust_plans:
        name = next((name for name, embedded in package.plans.items() if embedded == key), None)
        if name is not None:
            return Found(key, package.read(name), "package")
    return None


def _why(package: Package, key: PlanKey, policy: PlanPolicy) -> str:
    """Why the plans that are there do not do, for a message."""
    reasons = []
    if key in package.plans.values() and not policy.trust_plans:
        reasons.append("the package holds one that fits, which is native code and runs only with trust_plans=True (--trust-plans)")
    elif package.plans:
        other = min(package.plans.values(), key=lambda own: len(own.differences(key)))
        reasons.append(f"the package's plan is for {', '.join(other.differences(key)[:4])}")
    if (other := policy.cache.nearest(key)) is not None:
        reasons.append(f"the cache's plan is for {', '.join(other.differences(key)[:4])}")
    return f" ({'; '.join(reasons)})" if reasons else ""
