"""The speckle filters once more: float64, pixel by pixel, slow, obvious. These are the specification; nothing here is clever.

Every filter takes one band (rows, cols) and where it is valid, and gives (result float64, NaN where not valid; margin float64).
The margin says how far a pixel is from a decision that rounding may turn (inf: there is none): comparisons skip small ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

LARGEST = 1e16                                          # a larger number is no intensity
NEVER = np.inf


def is_valid(image: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Where a measurement is: allowed by the mask, a number, and of a size that can be squared in float32."""
    with np.errstate(invalid="ignore"):
        valid = np.abs(image) <= LARGEST
    return valid if mask is None else valid & (np.asarray(mask) != 0)


def window(image: np.ndarray, valid: np.ndarray, row: int, col: int, radius: int, border: str) -> tuple[np.ndarray, np.ndarray]:
    """The window around a pixel and which of its pixels count: beyond the border none ("mask"), or the nearest ("nearest")."""
    rows, cols = (np.arange(at - radius, at + radius + 1) for at in (row, col))
    inside = ((rows >= 0) & (rows < image.shape[0]))[:, None] & ((cols >= 0) & (cols < image.shape[1]))
    rows, cols = rows.clip(0, image.shape[0] - 1), cols.clip(0, image.shape[1] - 1)
    values, counts = image[np.ix_(rows, cols)].astype(np.float64), valid[np.ix_(rows, cols)]
    return values, counts & inside if border == "mask" else counts


def moments(values: np.ndarray) -> tuple[float, float]:
    """Mean and variance (divided by n - 1; 0 of a single value)."""
    return float(np.mean(values)), float(np.var(values, ddof=1)) if len(values) > 1 else 0.0


def _windows(image: np.ndarray, valid: np.ndarray, radius: int, border: str) -> Iterator[tuple]:
    for row, col in np.argwhere(valid):
        yield (row, col), *window(image, valid, row, col, radius, border), float(image[row, col])


def _by_moments(formula: Callable[[float, float, float], tuple[float, float]]) -> Callable:
    """A filter that knows mean, variance and centre alone; formula gives (result, margin)."""
    def run(image, valid, radius=3, border="mask"):
        result, margin = np.full(image.shape, np.nan), np.full(image.shape, NEVER)
        for at, values, counts, centre in _windows(image, valid, radius, border):
            result[at], margin[at] = formula(*moments(values[counts]), centre)
        return result, margin
    return run


def noise_share(mean: float, variance: float, cu2: float) -> float:
    """Share of the window's variance that speckle explains: Cu^2 / Ci^2, at most 1."""
    return min(1.0, cu2 * mean ** 2 / variance) if variance > 0 else 1.0


def boxcar(image, valid, radius=3, border="mask"):
    """The mean."""
    return _by_moments(lambda mean, variance, centre: (mean, NEVER))(image, valid, radius, border)


def lee(image, valid, looks, radius=3, border="mask"):
    """mean + k (centre - mean), k = 1 - Cu^2 / Ci^2, at least 0."""
    def formula(mean, variance, centre):
        return mean + (1 - noise_share(mean, variance, 1 / looks)) * (centre - mean), NEVER
    return _by_moments(formula)(image, valid, radius, border)


def kuan_value(mean: float, variance: float, centre: float, cu2: float) -> float:
    """As Lee, with k / (1 + Cu^2)."""
    return mean + (1 - noise_share(mean, variance, cu2)) / (1 + cu2) * (centre - mean)


def kuan(image, valid, looks, radius=3, border="mask"):
    """The linear estimate of least mean square error under multiplicative noise."""
    return _by_moments(lambda *m: (kuan_value(*m, 1 / looks), NEVER))(image, valid, radius, border)


def enhanced_lee(image, valid, looks, radius=3, border="mask"):
    """The mean where Ci <= Cu, the pixel where Ci >= Cmax, between them W mean + (1 - W) centre. Below Cmax W is so steep
    that a dark pixel hangs on the last digits of Ci: the margin is one over the factor by which a change of Ci grows."""
    cu, cmax = np.sqrt(1 / looks), np.sqrt(1 + 2 / looks)

    def formula(mean, variance, centre):
        ci = np.sqrt(variance) / abs(mean) if mean != 0 else (0.0 if variance == 0 else np.inf)
        if ci <= cu:
            return mean, NEVER
        if ci >= cmax:
            return centre, NEVER
        weight = np.exp(-(ci - cu) / (cmax - ci))
        result = weight * mean + (1 - weight) * centre
        steepness = weight * abs(mean - centre) * ci * (cmax - cu) / (cmax - ci) ** 2
        return result, abs(result) / steepness if steepness > 0 else NEVER
    return _by_moments(formula)(image, valid, radius, border)


def gamma_map(image, valid, looks, radius=3, border="mask"):
    """Maximum a posteriori of a gamma texture under gamma speckle; the textbook's form. It jumps at Ci = sqrt(2) Cu."""
    cu2 = 1 / looks

    def formula(mean, variance, centre):
        ci2 = variance / mean ** 2 if mean != 0 else (0.0 if variance == 0 else np.inf)
        margin = abs(ci2 / (2 * cu2) - 1)
        if ci2 <= cu2 * (1 + 1e-12):                    # alpha grows without bound: the limit is the mean
            return mean, margin
        if ci2 >= 2 * cu2:
            return centre, margin
        alpha = (1 + cu2) / (ci2 - cu2)
        b = alpha - looks - 1
        return (b * mean + np.sqrt((b * mean) ** 2 + 4 * alpha * looks * max(mean * centre, 0.0))) / (2 * alpha), margin
    return _by_moments(formula)(image, valid, radius, border)


def frost(image, valid, damping=2.0, radius=3, border="mask"):
    """Mean with the weights exp(-damping Ci^2 distance); distances Euclidean, in pixels. The margin is as of enhanced Lee."""
    result, margin = np.full(image.shape, np.nan), np.full(image.shape, NEVER)
    offsets = np.arange(-radius, radius + 1)
    distance = np.hypot(offsets[:, None], offsets)
    for at, values, counts, _ in _windows(image, valid, radius, border):
        mean, variance = moments(values[counts])
        ci2 = variance / mean ** 2 if mean != 0 else (0.0 if variance == 0 else np.inf)
        with np.errstate(invalid="ignore"):
            weights = np.where(distance == 0, 1.0, np.exp(-damping * ci2 * distance))[counts]
        result[at] = (weights * values[counts]).sum() / weights.sum()
        pull = abs((weights * distance[counts] * (values[counts] - result[at])).sum() / weights.sum())
        margin[at] = abs(result[at]) / (damping * ci2 * pull) if ci2 < np.inf and damping * ci2 * pull > 0 else NEVER
    return result, margin


# Edge directions of refined Lee: three blocks of 3 x 3 against three opposite ones (numbered row by row), the two blocks whose
# likeness to the centre block chooses the side, and which pixels (rows y, columns x from the centre) lie on either side.
_DIRECTIONS = (
    ((0, 3, 6), (2, 5, 8), (3, 5), lambda y, x: x),
    ((0, 1, 2), (6, 7, 8), (1, 7), lambda y, x: y),
    ((0, 1, 3), (5, 7, 8), (0, 8), lambda y, x: y + x),
    ((1, 2, 5), (3, 6, 7), (2, 6), lambda y, x: y - x))


def _block_means(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Means of nine 3 x 3 blocks at a distance of 2; one without a valid pixel is like the centre block."""
    means = np.empty(9)
    for number in (4, *range(9)):
        at = (slice(2 * (number // 3), 2 * (number // 3) + 3), slice(2 * (number % 3), 2 * (number % 3) + 3))
        means[number] = values[at][counts[at]].mean() if counts[at].any() else means[4]
    return means


def refined_lee(image, valid, looks, border="mask"):
    """7 x 7: mean and variance of the half window along the strongest edge, on the centre's side of it; Kuan's gain."""
    result, margin = np.full(image.shape, np.nan), np.full(image.shape, NEVER)
    y, x = np.mgrid[-3:4, -3:4]
    for at, values, counts, centre in _windows(image, valid, 3, border):
        means = _block_means(values, counts)
        strengths = [abs(means[list(a)].sum() - means[list(b)].sum()) for a, b, _, _ in _DIRECTIONS]
        best = int(np.argmax(strengths))
        (first, second), side_of = _DIRECTIONS[best][2:]
        near, far = abs(means[first] - means[4]), abs(means[second] - means[4])
        half = (side_of(y, x) <= 0 if near <= far else side_of(y, x) >= 0) & counts
        result[at] = kuan_value(*moments(values[half]), centre, 1 / looks)
        scale = np.abs(means).sum() or 1.0
        others = sorted(strengths)[-2]
        close = min(strengths[best] - others, abs(near - far)) / scale
        margin[at] = close
    return result, margin


def bright_targets(image: np.ndarray, valid: np.ndarray, bright: float) -> np.ndarray:
    """Bright pixels beside (or being) a bright pixel that has more than five bright ones in its own 3 x 3."""
    is_bright = valid & (np.where(valid, image, 0) > bright)
    strong = is_bright & (_count_3x3(is_bright) > 5)
    return is_bright & (_count_3x3(strong) > 0)


def _count_3x3(plane: np.ndarray) -> np.ndarray:
    padded = np.pad(plane.astype(int), 1)
    return sum(padded[r:r + plane.shape[0], c:c + plane.shape[1]] for r in range(3) for c in range(3))


def lee_sigma(image, valid, looks, bright, sigma_range, radius=3, border="mask"):
    """Lee et al. 2009: bright targets stay; the others are Kuan's estimate from those pixels of the window that lie in
    [low, high] times an a-priori mean (Kuan, 3 x 3). sigma_range = (low, high, noise^2 of the truncated speckle)."""
    low, high, noise2 = sigma_range
    result, margin = np.full(image.shape, np.nan), np.full(image.shape, NEVER)
    kept = _kept_at_border(image, valid, bright, border)
    for at, values, counts, centre in _windows(image, valid, radius, border):
        if kept[at]:
            result[at] = centre
            continue
        near, near_counts = window(image, valid, *at, 1, border)
        prior = kuan_value(*moments(near[near_counts]), centre, 1 / looks)
        among = values[counts]
        taken = among[(among >= low * prior) & (among <= high * prior)]
        result[at] = kuan_value(*moments(taken), centre, noise2) if taken.size else prior
        ends = np.array([low * prior, high * prior])
        margin[at] = np.min(np.abs(among[:, None] - ends) / (np.abs(ends) + 1e-300))
    return result, margin


def _kept_at_border(image: np.ndarray, valid: np.ndarray, bright: float, border: str) -> np.ndarray:
    """Targets; with "nearest" the image goes on beyond its border."""
    if border == "mask":
        return bright_targets(image, valid, bright)
    padded = bright_targets(np.pad(image, 2, mode="edge"), np.pad(valid, 2, mode="edge"), bright)
    return padded[2:-2, 2:-2]


def local_enl(image, valid, radius=7):
    """mean^2 / variance where the whole window is valid and its mean and variance are above 0, else NaN."""
    result = np.full(image.shape, np.nan)
    for at, values, counts, _ in _windows(image, valid, radius, "mask"):
        mean, variance = moments(values[counts])
        if counts.all() and mean > 0 and variance > 0:
            result[at] = mean ** 2 / variance
    return result


def enl_pairs(log2_enl, apart=15, bins=512, low=-2.0, high=10.0):
    """(bins, bins) counts of pairs of a (rows, cols) plane: (here, `apart` to the right) and (here, `apart` below)."""
    table = np.zeros((bins, bins), int)
    index = np.floor((log2_enl - low) * bins / (high - low))
    inside = (log2_enl >= low) & (log2_enl < high)
    rows, cols = log2_enl.shape
    for row in range(rows):
        for col in range(cols):
            for other in ((row, col + apart), (row + apart, col)):
                if other[0] < rows and other[1] < cols and inside[row, col] and inside[other]:
                    table[int(index[row, col]), int(index[other])] += 1
    return table


def enl_of_pairs(pairs, share=0.05, least=4500):
    """The mode of one window of each pair, over the pairs whose other window has the most looks: whole bins from the top, until `share`
    of all pairs and `least` of them are taken."""
    both = pairs + pairs.T
    taken, wanted, counts = 0, max(share * both.sum(), least), np.zeros(len(both), int)
    for line in both[::-1]:
        if taken >= wanted:
            break
        taken, counts = taken + line.sum(), counts + line
    return enl_mode(counts)


def enl_mode(counts: np.ndarray, low: float = -2.0, high: float = 10.0) -> float:
    """Mode of a histogram of log2(ENL): two box sums of 21 bins, highest bin (the lowest on a tie), parabola through three."""
    smooth = np.convolve(np.convolve(counts, np.ones(21, int)), np.ones(21, int))[20:-20].astype(float)
    best = int(np.argmax(smooth))
    shift = 0.0
    if 0 < best < len(smooth) - 1:
        left, middle, right = smooth[best - 1:best + 2]
        bend = left - 2 * middle + right
        shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float(2 ** (low + (best + 0.5 + shift) * (high - low) / len(counts)))
