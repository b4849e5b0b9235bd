"""Tests of a sample against the finite population that it was drawn from, in plain Python."""
import bisect
import math


def chi2_p(statistic: float, freedom: int) -> float:
    """P(χ² of `freedom` degrees ≥ statistic): the regularised upper incomplete gamma function Q(k/2, x/2), by its series or its
    continued fraction (Press et al., Numerical Recipes, §6.2)."""
    a, x = freedom / 2, statistic / 2
    if x <= 0:
        return 1.0
    scale = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        n = a
        while abs(term) > abs(total) * 1e-15:
            n += 1
            term *= x / n
            total += term
        return max(0.0, 1 - total * scale)
    b, c = x + 1 - a, 1e300
    d = h = 1 / b
    for i in range(1, 100_000):
        an = -i * (i - a)
        b += 2
        d = 1 / (an * d + b or 1e-300)
        c = b + an / c or 1e-300
        h *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return min(1.0, h * scale)


def kolmogorov_p(x: float) -> float:
    """P(K ≥ x) of Kolmogorov's distribution."""
    if x < 0.2:
        return 1.0
    return min(1.0, max(0.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 101))))


def binomial_tail(hits: int, trials: int, p: float) -> float:
    """P(at least `hits` of `trials`)."""
    return sum(math.comb(trials, k) * p ** k * (1 - p) ** (trials - k) for k in range(hits, trials + 1))


def chi2(sample: list, population: list, least: float = 5.0) -> float | None:
    """Whether categories are as frequent in the sample as in the population: hypergeometric counts, so that the usual χ² is
    multiplied by (N-1)/(N-n). Categories expected fewer than `least` times are put together. None: one category is left."""
    many = {}
    for value in population:
        many[value] = many.get(value, 0) + 1
    seen = dict.fromkeys(many, 0)
    for value in sample:
        seen[value] += 1
    n, whole = len(sample), len(population)
    cells, rest = [], [0, 0.0]
    for value, count in sorted(many.items(), key=lambda item: -item[1]):
        expected = n * count / whole
        if expected >= least:
            cells.append([seen[value], expected])
        else:
            rest = [rest[0] + seen[value], rest[1] + expected]
    if rest[1] >= least:
        cells.append(rest)
    elif cells:
        cells[-1] = [cells[-1][0] + rest[0], cells[-1][1] + rest[1]]
    if len(cells) < 2 or n in (0, whole):
        return None
    statistic = sum((o - e) ** 2 / e for o, e in cells) * (whole - 1) / (whole - n)
    return chi2_p(statistic, len(cells) - 1)


def ks(sample: list, population: list) -> float | None:
    """Whether the sample's distribution is the population's: Kolmogorov and Smirnov's largest distance, with n/(1-n/N) for n, as
    the population is finite. Equal values make it conservative. None: nothing to compare."""
    n, whole = len(sample), len(population)
    if n < 8 or n == whole:
        return None
    drawn, everyone = sorted(sample), sorted(population)
    distance = 0.0
    for value in set(drawn):
        for find in (bisect.bisect_left, bisect.bisect_right):
            distance = max(distance, abs(find(drawn, value) / n - find(everyone, value) / whole))
    effective = math.sqrt(n / (1 - n / whole))
    return kolmogorov_p(distance * (effective + 0.12 + 0.11 / effective))
