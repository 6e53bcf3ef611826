"""Reads pickled annotations without running code in them.

A pickle is a program: an ordinary unpickler imports and calls whatever the file names, so a downloaded one can do all
that its user can. Here a file may only build plain values (None, booleans, numbers, strings, bytes, lists, tuples,
dicts, sets) and numpy arrays and scalars of numbers or strings. Anything else is refused before it is looked up.

What remains possible is to use up memory: sizes that a file merely claims are refused, but one that is written to
exhaust the unpickler's own tables ends in a MemoryError at best. It still runs nothing.
"""

import math
import pickle
import re
import reprlib
from pathlib import Path
from typing import IO, Any, NoReturn

from affect.config import DataError

MOST_BYTES = 2**31
"""Larger files are refused: annotations have some ten megabytes, and what is larger by this much holds features."""

BUILTINS = ("builtins", "__builtin__")
"""Python 3's name and Python 2's."""
NUMPY = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
"""numpy.core is what numpy below 2 writes, numpy._core what numpy 2 does."""
NDARRAY = "numpy.ndarray"
"""Stands for the type itself, which a file only names and never needs to have."""
DTYPE = re.compile(r"b1|[iu][1248]|f[248]|f16|c8|c16|c32|[SU]\d{1,6}")
"""Booleans, numbers and strings by their size. Not objects (O), which hide more pickles, nor raw bytes (V)."""


def load(path: Path, *, most_bytes: int = MOST_BYTES) -> object:
    """The value in a pickle of any protocol, those of Python 2 included.

    Strings of Python 2 are taken as UTF-8; where the file has bytes that are not (a numpy array's), all its strings are
    taken as Latin-1. Arrays are instances of a subclass of numpy.ndarray, scalars are plain Python numbers and strings.
    Raises DataError, naming the file, where it is absent, larger than `most_bytes`, damaged, or asks for anything that
    is neither a plain value nor such an array.
    """
    try:
        size = path.stat().st_size
        if size > most_bytes:
            raise DataError(
                f"{path} has {size:,} bytes, and at most {most_bytes:,} are read: name the file of the annotations, not"
                " that of the features"
            )
        try:
            return _load(path, "utf-8")
        except (_NotUtf8, UnicodeDecodeError):
            return _load(path, "latin1")
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}): put the file there, or correct the dataset's root"
        ) from error


class _NotUtf8(Exception):
    """An array's bytes came as a string, and not one that is the same in UTF-8 and Latin-1."""


def _load(path: Path, encoding: str) -> object:
    with path.open("rb") as file:
        try:
            return _Unpickler(file, path, encoding).load()
        except (DataError, OSError, _NotUtf8):
            raise
        except UnicodeDecodeError as error:
            if encoding == "utf-8":
                raise
            raise _damaged(path, error) from error
        # Of every kind, since the unpickler raises whatever a damaged file makes it stumble over.
        except Exception as error:
            raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} is not a whole pickle ({type(error).__name__}: {str(error)[:200]}): get the file again from its"
        " publisher"
    )


class _Unpickler(pickle.Unpickler):
    """Hands out constructors of its own instead of what a file names.

    A file can also set attributes of what it is handed. Therefore these are bound methods, immutable types, and objects
    made for one loading: nothing that a file changes is seen by the next.
    """

    def __init__(self, file: IO[bytes], path: Path, encoding: str):
        super().__init__(file, encoding=encoding)
        self._path = path
        self._encoding = encoding
        self._array_type: Any = None
        self._allowed = self._constructors()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            self._refuse(f"{module}.{name}")
        return self._allowed[module, name]

    def _constructors(self) -> dict[tuple[str, str], Any]:
        plain = {
            "set": set,
            "frozenset": frozenset,
            "complex": complex,
            "bytes": self._no_bytes,
            "bytearray": self._bytearray,
        }
        arrays = {
            "ndarray": NDARRAY,
            "dtype": self._dtype,
            "_reconstruct": self._reconstruct,
            "scalar": self._scalar,
            "_frombuffer": self._frombuffer,
        }
        return (
            {(module, name): made for module in BUILTINS for name, made in plain.items()}
            | {(module, name): made for module in NUMPY for name, made in arrays.items()}
            | {("_codecs", "encode"): self._encode, ("collections", "OrderedDict"): self._dict}
        )

    def persistent_load(self, pid: object) -> NoReturn:
        self._refuse("an object outside of the file")

    def _refuse(self, what: str) -> NoReturn:
        raise DataError(
            f"{self._path} asks for {what[:100]}, and a file of annotations needs only plain values and numpy arrays of"
            " numbers or strings: it may be malicious and is not read; get it again from its publisher, or save what"
            " you trust as plain values"
        )

    def _dict(self, pairs: Any = ()) -> dict[Any, Any]:
        # Dictionaries keep their order, and an OrderedDict has attributes that a file could set.
        return dict(pairs)

    def _no_bytes(self) -> bytes:
        # Python 3 writes an empty bytes so for Python 2; with an argument it would take as much memory as is claimed.
        return b""

    def _bytearray(self, content: bytes | str = b"", encoding: str = "latin1") -> bytearray:
        return bytearray(self._encode(content, encoding) if isinstance(content, str) else memoryview(content))

    def _encode(self, text: str, encoding: str = "latin1") -> bytes:
        # How Python 3 writes bytes for Python 2. Any other codec could be one that expands a little into a lot.
        if encoding not in ("latin1", "latin-1"):
            self._refuse(f"the codec {encoding}")
        return text.encode("latin1")

    def _dtype(self, name: str, align: object = False, copy: object = True) -> "_Dtype":
        if not isinstance(name, str) or not DTYPE.fullmatch(name):
            self._refuse(f"a numpy array of the type {reprlib.repr(name)}")
        return _Dtype(name)

    def _raw(self, content: object) -> bytes:
        """An array's bytes, which Python 2 wrote as a string."""
        if isinstance(content, str):
            if self._encoding == "utf-8" and not content.isascii():
                raise _NotUtf8
            return content.encode("latin1")
        if not isinstance(content, (bytes, bytearray)):
            self._refuse("a numpy array that is not made of bytes")
        return bytes(content)

    def _scalar(self, dtype: object, content: object) -> object:
        return self._array(dtype, (), content, "C").item()

    def _frombuffer(self, content: object, dtype: object, shape: object, order: str) -> object:
        return self._array(dtype, shape, content, order).copy(order).view(self._arrays())

    def _array(self, dtype: object, shape: object, content: object, order: str) -> Any:
        """A plain array, after its claims are checked; _refuse is for what numpy would not have written."""
        import numpy

        if not isinstance(dtype, _Dtype):
            self._refuse("a numpy array without a type")
        raw, kind = self._raw(content), numpy.dtype(dtype.order + dtype.name)
        sizes = (shape,) if isinstance(shape, int) else shape
        if not isinstance(sizes, tuple) or not all(isinstance(n, int) and n >= 0 for n in sizes):
            self._refuse(f"a numpy array of the shape {reprlib.repr(shape)}")
        if math.prod(sizes) * kind.itemsize != len(raw):
            self._refuse(f"a numpy array of the shape {reprlib.repr(shape)} made of {len(raw):,} bytes")
        return numpy.frombuffer(raw, kind).reshape(sizes, order="F" if order == "F" else "C")

    def _reconstruct(self, kind: object, shape: object, typecode: object) -> object:
        import numpy

        if kind != NDARRAY or shape != (0,):
            self._refuse("a numpy array that is made otherwise than numpy does")
        return numpy.ndarray.__new__(self._arrays(), (0,), "b1")

    def _arrays(self) -> Any:
        """The type of the arrays: one that checks the state a file sets, since numpy itself trusts it."""
        if self._array_type is None:
            import numpy

            outer = self

            class Array(numpy.ndarray):
                __slots__ = ()

                def __setstate__(self, state: Any) -> None:
                    if not isinstance(state, tuple) or len(state) not in (4, 5):
                        outer._refuse("a numpy array that is made otherwise than numpy does")
                    shape, dtype, fortran, content = state[-4:]
                    checked = outer._array(dtype, shape, content, "F" if fortran else "C")
                    super().__setstate__((1, checked.shape, checked.dtype, bool(fortran), checked.tobytes("A")))

            self._array_type = Array
        return self._array_type


class _Dtype:
    """Stands for a numpy.dtype until an array is made, since numpy's own trusts the state that a file sets."""

    __slots__ = ("name", "order")

    def __init__(self, name: str):
        self.name = name
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, and what only types with fields have: subtype, names, fields …)
        if not isinstance(state, tuple) or state[1] not in ("<", ">", "|", "=") or state[2:5] != (None, None, None):
            raise pickle.UnpicklingError("a numpy type with fields")
        self.order = state[1]
