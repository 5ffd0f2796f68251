"""Rows of values in which every pair of two parameters' values occurs: a covering array, made greedily."""

from collections.abc import Sequence
from itertools import combinations, product

Choice = tuple[int, str]  # a parameter's number, and a value of it
Forbidden = Sequence[frozenset[str]]  # values that no row holds together


def pairs_of(domains: Sequence[Sequence[str]], forbidden: Forbidden = ()) -> set[frozenset[Choice]]:
    """All pairs of values of two parameters but those that hold something forbidden."""
    return {
        frozenset(((i, a), (j, b)))
        for (i, left), (j, right) in combinations(enumerate(domains), 2)
        for a, b in product(left, right)
        if allowed({a, b}, forbidden)
    }


def singles_of(domains: Sequence[Sequence[str]], forbidden: Forbidden = ()) -> set[frozenset[Choice]]:
    """All values."""
    return {
        frozenset(((number, value),))
        for number, values in enumerate(domains)
        for value in values
        if allowed({value}, forbidden)
    }


def allowed(values: set[str], forbidden: Forbidden) -> bool:
    """Whether values hold nothing that is forbidden."""
    return not any(one <= values for one in forbidden)


def cover(
    domains: Sequence[Sequence[str]], wanted: set[frozenset[Choice]], forbidden: Forbidden = ()
) -> list[tuple[str, ...]]:
    """Rows, a value for each parameter, that together hold everything wanted and nothing forbidden.

    Each row starts from something not yet held, and takes parameter by parameter the value that adds the most.
    """
    left, rows = set(wanted), []
    while left:
        row: dict[int, str] = dict(iter(min(left, key=sorted)))
        for number, values in enumerate(domains):
            if number in row:
                continue
            fitting = [value for value in values if allowed({*row.values(), value}, forbidden)]
            gains = [_held(left, {**row, number: value}, number) for value in fitting]
            row[number] = fitting[gains.index(max(gains))]
        left -= {one for one in left if one <= row.items()}
        rows.append(tuple(row[number] for number in range(len(domains))))
    return rows


def _held(left: set[frozenset[Choice]], row: dict[int, str], number: int) -> int:
    """Number of things of which the row's parameter of this number makes the row hold the whole."""
    own = (number, row[number])
    return sum(one in left for one in (frozenset((own, other)) for other in row.items()))
