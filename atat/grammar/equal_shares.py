"""Numbers divided among names: evenly, or so that all have as much for their weight."""

import heapq


def share_out(num: int, available: dict[str, int]) -> dict[str, int]:
    """Divide `num` evenly; who has less gives all, and the others make it up.

    >>> share_out(10, {"a": 9, "b": 2, "c": 9}), share_out(10, {"a": 1, "b": 2})
    ({'a': 4, 'b': 2, 'c': 4}, {'a': 1, 'b': 2})
    """
    shares = {}
    for taken, name in enumerate(sorted(available, key=available.__getitem__)):
        shares[name] = min(available[name], num // (len(available) - taken))
        num -= shares[name]
    return {name: shares[name] for name in available}


def level(have: dict[str, int], num: int, weights: dict[str, float]) -> dict[str, int]:
    """What each shall have when more is given, to those who have least for their weight, until
    there are `num`.

    >>> level({"a": 5, "b": 0, "c": 1}, 10, {"a": 1, "b": 1, "c": 1})
    {'a': 5, 'b': 3, 'c': 2}
    >>> level({"a": 0, "b": 0}, 9, {"a": 2, "b": 1})
    {'a': 6, 'b': 3}
    """
    shares = dict(have)
    heap = [(have[name] / weights[name], place, name) for place, name in enumerate(have)]
    heapq.heapify(heap)
    for _ in range(num - sum(have.values())):
        _, place, name = heap[0]
        shares[name] += 1
        heapq.heapreplace(heap, (shares[name] / weights[name], place, name))
    return shares
