"""Linear sketch and checksum of a tensor: two small summaries by which runs are compared. Numpy, and torch on a device.

Sketch: 64 sums in float64, two independent tables of 32. Entry i of a tensor adds sign * value to one bucket of each
table; bucket and sign are bits of h = mix(fold(i) ^ seed(name)), where i is the global row-major index. The sketch is
linear, so the sketches of shards add up to that of the whole tensor, those of tensors to that of the model, and the
difference of two sketches is the sketch of the difference. `length` estimates the Euclidean norm of what was sketched
with a standard deviation of 9 % (Charikar, Chen, Farach-Colton 2002: 2/k of the squared norm for k buckets).

Checksum: the sum modulo 2**64 of a hash of (index, bits of the value). Equal checksums mean equal tensors, up to a chance
of 2**-64; it does not depend on the order of summation, and the checksums of shards add up.

    mix(x):   x ^= x >> 16; x *= 0x7feb352d; x ^= x >> 15; x *= 0x846ca68b; x ^= x >> 16        (all in 32 bits);
    fold(i):  low 32 bits of i + 0x9e3779b1 * (i >> 32);
    seed:     mix of the 32-bit FNV-1a hash of the name in UTF-8;
    bits of h: 0-4 bucket of table 1, 5 its sign (1: minus), 6-10 bucket of table 2, 11 its sign.

    p = mix(fold(i) + 0x9e3779b1)
    low = mix(p ^ x), high = mix(0x9e3779b1 * p + x)   for the bits x of a value of up to 32 bits;
    low = mix(low ^ y), high = mix(high + y)           then, for the upper 32 bits y of a value of 64 bits;
    checksum = sum of low + 2**32 * high.

`sketch.ts` of the npm package is the same in TypeScript; `fixtures/sketch/cases.json` holds both to the same numbers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Union

import numpy as np

#: Numbers in a sketch: two tables of 32.
SIZE = 64
_TABLE = 32
_GOLDEN = 0x9E3779B1
_MASK = 0xFFFFFFFF
#: Entries that are handled at a time: the temporaries of so many stay in the cache.
_CHUNK = 1 << 15
#: Tensors of up to so many entries are hashed together.
_SMALL = 1 << 11
#: Chunks of a tensor whose p is kept: 4 MB, and a quarter of the time of a checksum.
_KEPT_CHUNKS = 32


class Box(NamedTuple):
    """Where a shard lies in its tensor: the shape of the whole tensor, and the first index of the shard in each axis."""

    shape: tuple[int, ...]
    start: tuple[int, ...]


#: Where the values lie in the whole tensor: the flat row-major index of the first of a contiguous range, or a box.
Place = Union[int, Box]


def seed_of(name: str) -> int:
    """32-bit seed of a tensor's name: the mixed FNV-1a hash of its UTF-8 bytes."""
    value = 0x811C9DC5
    for byte in name.encode("utf8", "surrogatepass"):
        value = (value ^ byte) * 0x01000193 & _MASK
    return int(_mix(np.array([value], np.uint32))[0])


def _mix(x: np.ndarray, free: np.ndarray | None = None) -> np.ndarray:
    """Mixes an array of uint32 in place; `free` is memory of its size for what lies between."""
    free = np.empty_like(x) if free is None else free
    x ^= np.right_shift(x, _SIXTEEN, out=free)
    x *= np.uint32(0x7FEB352D)
    x ^= np.right_shift(x, _FIFTEEN, out=free)
    x *= np.uint32(0x846CA68B)
    x ^= np.right_shift(x, _SIXTEEN, out=free)
    return x


_FIFTEEN, _SIXTEEN = np.uint32(15), np.uint32(16)
_RANGE = np.arange(_CHUNK, dtype=np.uint32)


def _folded_range(start: int, count: int) -> np.ndarray:
    """fold(i) of `count` consecutive indices, at most a chunk of them."""
    if (start + count - 1) >> 32 == start >> 32:
        return _RANGE[:count] + np.uint32((start + _GOLDEN * (start >> 32)) & _MASK)
    return _folded(np.arange(start, start + count, dtype=np.uint64))


@functools.lru_cache(maxsize=_KEPT_CHUNKS)
def _kept_places(start: int) -> np.ndarray:
    """p of a chunk of indices from `start` on."""
    found = _mix(_folded_range(start, _CHUNK) + np.uint32(_GOLDEN))
    found.flags.writeable = False
    return found


def _places(flat: np.ndarray, shape: tuple[int, ...], place: Place) -> Iterator[tuple[int, int, np.ndarray]]:
    """(begin, end, p of the global indices) for pieces of the flat local values; those of whole tensors are kept."""
    kept = min(flat.size, _KEPT_CHUNKS * _CHUNK) if place == 0 else 0
    for begin in range(0, kept, _CHUNK):
        end = min(kept, begin + _CHUNK)
        yield begin, end, _kept_places(begin)[: end - begin]
    if kept < flat.size:
        rest = _chunks(flat.size, shape, place, kept)
        yield from ((begin, end, _mix(folded + np.uint32(_GOLDEN))) for begin, end, folded in rest)


def _folded(index: np.ndarray) -> np.ndarray:
    upper = (index >> np.uint64(32)).astype(np.uint32)
    return index.astype(np.uint32) + upper * np.uint32(_GOLDEN)


def _chunks(count: int, shape: tuple[int, ...], place: Place, first: int = 0) -> Iterator[tuple[int, int, np.ndarray]]:
    """(begin, end, fold of the global indices) for pieces of the flat local values, of a range from its entry `first` on."""
    if isinstance(place, Box):
        if len(place.shape) != len(shape) or len(place.start) != len(shape):
            raise ValueError(
                f"a shard of shape {shape} does not lie in a tensor of shape {place.shape} at {place.start}"
            )
        for begin in range(0, count, _CHUNK):
            end = min(count, begin + _CHUNK)
            local = np.unravel_index(np.arange(begin, end), shape)
            index = np.zeros(end - begin, np.uint64)
            for axis, start, whole in zip(local, place.start, place.shape):
                index = index * np.uint64(whole) + (axis + start).astype(np.uint64)
            yield begin, end, _folded(index)
        return
    for begin in range(first, count, _CHUNK):
        end = min(count, begin + _CHUNK)
        yield begin, end, _folded_range(place + begin, end - begin)


def _flat(values: Any) -> np.ndarray:
    """The values in row-major order; complex numbers as pairs of real ones. Raises TypeError for what is not a number."""
    array = np.ascontiguousarray(values).reshape(-1)
    if array.dtype.kind == "c":
        array = array.view(array.real.dtype)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"a sketch needs numbers, not {array.dtype}")
    return array


def _codes(folded: np.ndarray, seed: int) -> np.ndarray:
    """The 12 bits of each entry that name its buckets and signs."""
    folded ^= np.uint32(seed)
    return _mix(folded) & np.uint32(0xFFF)


def _from_bins(bins: np.ndarray) -> np.ndarray:
    """The sketch from the sums by code. Numpy adds whole rows one after another, so every machine and sketch.ts add in
    one order, and equal tensors have sketches that are equal to the bit."""
    square = bins.reshape(2 * _TABLE, 2 * _TABLE)
    with np.errstate(invalid="ignore"):
        first, second = square.sum(0), np.ascontiguousarray(square.T).sum(0)
        return np.concatenate([first[:_TABLE] - first[_TABLE:], second[:_TABLE] - second[_TABLE:]])


def codes(name: str, shape: tuple[int, ...], place: Place = 0) -> np.ndarray:
    """The 12-bit codes of a tensor's entries as uint16, to be kept and given to `sketch` again: two bytes an entry."""
    count = math.prod(shape)
    found = np.empty(count, np.uint16)
    seed = seed_of(name)
    for begin, end, folded in _chunks(count, shape, place):
        found[begin:end] = _codes(folded, seed)
    return found


def sketch(values: Any, name: str, place: Place = 0, kept_codes: np.ndarray | None = None) -> np.ndarray:
    """The sketch of a tensor or of a shard of it: 64 float64.

    values      array of any shape; `place` says where it lies where it is a shard (default: it is the whole tensor)
    name        of the tensor, the same on all ranks
    kept_codes  what `codes` gave for the same name, shape and place: saves the hashing

    An entry that is NaN or infinite makes its two buckets so; the others stay. Raises TypeError for what is not a number,
    ValueError for a box of other dimensions.
    """
    array = np.asarray(values)
    flat = _flat(array)
    bins = np.zeros(4096)
    if kept_codes is not None:
        for begin in range(0, flat.size, _CHUNK):
            part = slice(begin, begin + _CHUNK)
            bins += np.bincount(kept_codes[part], flat[part], 4096)
        return _from_bins(bins)
    seed = seed_of(name)
    with np.errstate(invalid="ignore"):
        for begin, end, folded in _chunks(flat.size, _shape_of(array), place):
            bins += np.bincount(_codes(folded, seed), flat[begin:end], 4096)
    return _from_bins(bins)


def _shape_of(array: np.ndarray) -> tuple[int, ...]:
    return (*array.shape, 2) if array.dtype.kind == "c" else array.shape


def checksum(values: Any, place: Place = 0) -> int:
    """64-bit checksum of a tensor or of a shard of it, of its indices and bits. Those of shards add up modulo 2**64.

    The bits are those of the value in its own type, so a float32 and the bfloat16 of the same value differ, and so do
    0 and -0. A type that numpy lacks is given as its words (bfloat16 as uint16).
    """
    array = np.asarray(values)
    flat = _flat(array)
    width = flat.dtype.itemsize
    bits = flat.view(f"u{width}")
    total = 0
    # Memory is taken once: to allocate it for each operation takes a quarter of the time.
    size = min(flat.size, _CHUNK)
    lows, highs, spare = np.empty(size, np.uint32), np.empty(size, np.uint32), np.empty(size, np.uint32)
    for begin, end, p in _places(flat, _shape_of(array), place):
        count = end - begin
        low, high, free = lows[:count], highs[:count], spare[:count]
        part = bits[begin:end]
        x = part if width == 4 else part.astype(np.uint32)
        np.multiply(p, np.uint32(_GOLDEN), out=high)
        high += x
        np.bitwise_xor(p, x, out=low)
        _mix(low, free)
        _mix(high, free)
        if width == 8:
            y = (part >> np.uint64(32)).astype(np.uint32)
            high += y
            low ^= y
            _mix(low, free)
            _mix(high, free)
        total += int(low.sum(dtype=np.uint64)) + (int(high.sum(dtype=np.uint64)) << 32)
    return total & 0xFFFFFFFFFFFFFFFF


def checksums(arrays: Sequence[np.ndarray]) -> list[int]:
    """`checksum` of each of several whole tensors. Small ones of 32 bits are hashed together, as to call numpy takes longer."""
    found = [0] * len(arrays)
    together: list[tuple[int, np.ndarray]] = []
    for k, array in enumerate(arrays):
        flat = _flat(array)
        if flat.dtype.itemsize == 4 and 0 < flat.size <= _SMALL:
            together.append((k, flat.view(np.uint32)))
        else:
            found[k] = checksum(array)
    for begin in range(0, len(together), _CHUNK // _SMALL):
        part = together[begin : begin + _CHUNK // _SMALL]
        p, begins = _hashed_indices(tuple(bits.size for _, bits in part))
        x = np.concatenate([bits for _, bits in part])
        free = np.empty_like(x)
        high = _mix(p * np.uint32(_GOLDEN) + x, free)
        sums = [
            np.add.reduceat(one, begins, dtype=np.uint64) for one in (_mix(np.bitwise_xor(p, x, out=x), free), high)
        ]
        for (k, _), low, upper in zip(part, *(one.tolist() for one in sums)):
            found[k] = (low + (upper << 32)) & 0xFFFFFFFFFFFFFFFF
    return found


@functools.lru_cache(maxsize=32)
def _hashed_indices(sizes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The hash of every entry's index in tensors of these sizes, one after another, and where each begins."""
    hashed = _mix(np.concatenate([_RANGE[:size] for size in sizes]) + np.uint32(_GOLDEN))
    return hashed, np.cumsum([0, *sizes[:-1]])


def length(sums: np.ndarray) -> float:
    """Estimate of the Euclidean norm of what was sketched, with a standard deviation of 9 %; NaN where a bucket is NaN
    and infinite where one is infinite."""
    with np.errstate(over="ignore"):
        return float(np.sqrt(np.square(np.asarray(sums, np.float64)).sum() / 2))


def sketch_on_device(values: Any, name: str, place: Place = 0) -> Any:
    """`sketch` of a torch tensor where it lies: a torch tensor of 64 float64 on the same device, without waiting for it.

    A device without float64 (mps) is read to main memory. On CUDA the order of summation is not fixed (atomic adds), so
    equal tensors may differ by 1e-16 of their norm there; whether they are equal is what the checksum says.
    """
    import torch

    values, place = _torch_values(values, place)
    if values.device.type == "mps":
        return torch.from_numpy(sketch(values.cpu().numpy(), name, place))
    shape, flat = tuple(values.shape), values.reshape(-1)
    bins = torch.zeros(4096, dtype=torch.float64, device=flat.device)
    seed = seed_of(name)
    for begin in range(0, flat.numel(), _DEVICE_CHUNK):
        part = flat[begin : begin + _DEVICE_CHUNK]
        code = _torch_mix(_torch_folded(begin, part.numel(), shape, place, flat.device) ^ seed) & 0xFFF
        bins.index_add_(0, code, part.to(torch.float64))
    square = bins.reshape(2, _TABLE, 2, _TABLE)
    second, first = square.sum((2, 3)), square.sum((0, 1))
    return torch.cat([first[0] - first[1], second[0] - second[1]])


def checksum_on_device(values: Any, place: Place = 0) -> Any:
    """`checksum` of a torch tensor where it lies: a torch int64 of the same 64 bits, without waiting for it."""
    import torch

    values, place = _torch_values(values, place)
    if values.device.type == "mps":
        total = checksum(_torch_bits(values).cpu().numpy(), place)
        return torch.tensor(total - (1 << 64) if total >> 63 else total)
    shape, bits = tuple(values.shape), _torch_bits(values).reshape(-1)
    total = torch.zeros((), dtype=torch.int64, device=bits.device)
    wide, mask = bits.dtype == torch.int64, _WORD.get(bits.element_size(), _MASK)
    for begin in range(0, bits.numel(), _DEVICE_CHUNK):
        part = bits[begin : begin + _DEVICE_CHUNK].to(torch.int64)
        p = _torch_mix(_torch_folded(begin, part.numel(), shape, place, bits.device) + _GOLDEN & _MASK)
        x = part & mask
        low, high = _torch_mix(p ^ x), _torch_mix(p * _GOLDEN + x & _MASK)
        if wide:
            y = part >> 32 & _MASK
            low, high = _torch_mix(low ^ y), _torch_mix(high + y & _MASK)
        total += low.sum() + (high.sum() << 32)
    return total


_DEVICE_CHUNK = 1 << 24
_WORD = {1: 0xFF, 2: 0xFFFF}


def _torch_values(values: Any, place: Place) -> tuple[Any, Place]:
    import torch

    values = values.detach()
    if values.is_complex():
        place = Box((*place.shape, 2), (*place.start, 0)) if isinstance(place, Box) else 2 * place
        values = torch.view_as_real(values)
    return values.contiguous(), place


def _torch_bits(values: Any) -> Any:
    import torch

    if values.dtype == torch.bool:
        return values.view(torch.uint8)
    return values.view({1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()])


def _torch_mix(x: Any) -> Any:
    """`_mix` of an int64 tensor that holds 32 bits."""
    x = x ^ x >> 16
    x = x * 0x7FEB352D & _MASK
    x = x ^ x >> 15
    x = x * 0x846CA68B & _MASK
    return x ^ x >> 16


def _torch_folded(begin: int, count: int, shape: tuple[int, ...], place: Place, device: Any) -> Any:
    import torch

    index = torch.arange(begin, begin + count, dtype=torch.int64, device=device)
    if isinstance(place, Box):
        if len(place.shape) != len(shape) or len(place.start) != len(shape):
            raise ValueError(
                f"a shard of shape {shape} does not lie in a tensor of shape {place.shape} at {place.start}"
            )
        left, stride, found = index, 1, torch.zeros_like(index)
        for local, start, whole in reversed(list(zip(shape, place.start, place.shape))):
            found = found + (left % local + start) * stride
            left, stride = left // local, stride * whole
        index = found
    else:
        index = index + place
    return (index & _MASK) + (index >> 32) * _GOLDEN & _MASK
