"""Reads pickled annotations without running code in them.

A pickle is a program: an ordinary unpickler imports and calls whatever the file names. Here a file may only build plain
values (None, booleans, numbers, strings, bytes, lists, tuples, dicts, sets) and numpy arrays and scalars of numbers or
strings. Anything else is refused before it is looked up.

An allow-list of numpy's own constructors would not do: they allocate whatever size a file claims, and dtypes and arrays
believe the state that a file sets, which can point outside of the array. So sizes and types are checked here first. A
file can still use up memory with what it really holds, and end in a MemoryError.
"""

import math
import pickle
import re
import reprlib
from pathlib import Path
from typing import IO, Any, NoReturn

from affect.config import DataError

MOST_BYTES = 2**31
"""Larger files are refused: annotations have some ten megabytes, so a larger file holds features."""

BUILTINS = ("builtins", "__builtin__")
"""The names in Python 3 and Python 2."""
NUMPY = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
"""Versions of numpy below 2 write numpy.core, later ones numpy._core."""
NDARRAY = "numpy.ndarray"
"""Stands for the type itself, which a file only names."""
DTYPE = re.compile(r"b1|[iu][1248]|f[248]|f16|c8|c16|c32|[SU]\d{1,6}")
"""Booleans, numbers and strings by their size. Not objects (O), which hold more pickles, nor raw bytes (V)."""


def load(path: Path, *, most_bytes: int = MOST_BYTES) -> object:
    """The value in a pickle of any protocol, including those of Python 2.

    Strings of Python 2 are decoded as UTF-8; if the file has bytes that are not UTF-8 (such as a numpy array's), all
    its strings are decoded as Latin-1. Arrays are instances of a subclass of numpy.ndarray, scalars are plain Python
    numbers and strings. Raises DataError, naming the file, if it is absent, larger than `most_bytes`, damaged, or asks
    for anything but plain values and such arrays.
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
        except UnicodeError:
            return _load(path, "latin1")
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}): put the file there, or correct the dataset's root"
        ) from error
    except _Refused as error:
        raise DataError(
            f"{path} asks for {str(error)[:100]}, and a file of annotations needs only plain values and numpy arrays of"
            " numbers or strings: it may be malicious and is not read; get it again from its publisher, or save what"
            " you trust as plain values"
        ) from error
    # Of every kind, since the unpickler raises whatever a damaged file makes it stumble over.
    except Exception as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} is not a whole pickle ({type(error).__name__}: {str(error)[:200]}): get the file again from its"
            " publisher"
        ) from error


def _load(path: Path, encoding: str) -> object:
    with path.open("rb") as file:
        return _Unpickler(file, encoding).load()


class _Refused(Exception):
    """Names what a file asks for and annotations do not need."""


def _refuse(request: str) -> NoReturn:
    raise _Refused(request)


class _Unpickler(pickle.Unpickler):
    """Gives a file our own constructors in place of those that it names.

    A file can also set attributes of what it is given. So constructors are bound methods, immutable types, and objects
    made for one file: no file can change what the next one is given.
    """

    def __init__(self, file: IO[bytes], encoding: str):
        super().__init__(file, encoding=encoding)
        self.encoding = encoding
        self.array_type: Any = None
        plain = {
            "set": set,
            "frozenset": frozenset,
            "complex": complex,
            "bytes": self.empty_bytes,
            "bytearray": self.make_bytearray,
        }
        arrays = {
            "ndarray": NDARRAY,
            "dtype": self.dtype,
            "_reconstruct": self.empty_array,
            "scalar": self.scalar,
            "_frombuffer": self.frombuffer,
        }
        self.allowed = {(module, name): value for module in BUILTINS for name, value in plain.items()}
        self.allowed |= {(module, name): value for module in NUMPY for name, value in arrays.items()}
        self.allowed |= {("_codecs", "encode"): self.encode, ("collections", "OrderedDict"): self.make_dict}

    def find_class(self, module: str, name: str) -> Any:
        return self.allowed.get((module, name)) or _refuse(f"{module}.{name}")

    def persistent_load(self, pid: object) -> NoReturn:
        _refuse("an object outside of the file")

    def make_dict(self, pairs: Any = ()) -> dict[Any, Any]:
        # An OrderedDict has attributes that a file could set.
        return dict(pairs)

    def empty_bytes(self) -> bytes:
        # How Python 3 writes b"" for Python 2. A number as argument would allocate that many bytes.
        return b""

    def make_bytearray(self, content: bytes | str = b"", encoding: str = "latin1") -> bytearray:
        return bytearray(self.encode(content, encoding) if isinstance(content, str) else memoryview(content))

    def encode(self, text: str, encoding: str = "latin1") -> bytes:
        # How Python 3 writes bytes for Python 2. Other codecs can expand a little into a lot.
        return text.encode("latin1") if encoding in ("latin1", "latin-1") else _refuse(f"the codec {encoding}")

    def dtype(self, name: str, align: object = False, copy: object = True) -> "_Dtype":
        if not isinstance(name, str) or not DTYPE.fullmatch(name):
            _refuse(f"a numpy array of the type {reprlib.repr(name)}")
        return _Dtype(name)

    def scalar(self, dtype: object, content: object) -> object:
        return self.array(dtype, (), content, "C").item()

    def frombuffer(self, content: object, dtype: object, shape: object, order: str) -> object:
        return self.array(dtype, shape, content, order).copy(order).view(self.arrays())

    def empty_array(self, kind: object, shape: object, typecode: object) -> object:
        if kind != NDARRAY or shape != (0,):
            _refuse("a numpy array that is made otherwise than numpy does")
        arrays = self.arrays()
        return arrays.__new__(arrays, (0,), "b1")

    def array(self, dtype: object, shape: object, content: object, order: str) -> Any:
        """A plain array, once its claims are checked."""
        import numpy

        if not isinstance(dtype, _Dtype):
            _refuse("a numpy array without a type")
        if isinstance(content, str):  # Python 2 wrote an array's bytes as a string
            # ASCII is the same in UTF-8 and Latin-1; for other bytes the file is read again as Latin-1.
            content = content.encode("ascii" if self.encoding == "utf-8" else "latin1")
        if not isinstance(content, (bytes, bytearray)):
            _refuse("a numpy array that is not made of bytes")
        kind = numpy.dtype(dtype.order + dtype.name)
        sizes = (shape,) if isinstance(shape, int) else shape
        if not isinstance(sizes, tuple) or not all(isinstance(n, int) and n >= 0 for n in sizes):
            _refuse(f"a numpy array of the shape {reprlib.repr(shape)}")
        if math.prod(sizes) * kind.itemsize != len(content):
            _refuse(f"a numpy array of the shape {reprlib.repr(shape)} made of {len(content):,} bytes")
        return numpy.frombuffer(bytes(content), kind).reshape(sizes, order="F" if order == "F" else "C")

    def arrays(self) -> Any:
        """The type of arrays: it checks the state that a file sets."""
        if self.array_type is None:
            import numpy

            array = self.array

            class Array(numpy.ndarray):
                __slots__ = ()

                def __setstate__(self, state: Any) -> None:
                    if not isinstance(state, tuple) or len(state) not in (4, 5):
                        _refuse("a numpy array that is made otherwise than numpy does")
                    shape, dtype, fortran, content = state[-4:]
                    checked = array(dtype, shape, content, "F" if fortran else "C")
                    super().__setstate__((1, checked.shape, checked.dtype, bool(fortran), checked.tobytes("A")))

            self.array_type = Array
        return self.array_type


class _Dtype:
    """Stands for a numpy.dtype, until an array is made."""

    __slots__ = ("name", "order")

    def __init__(self, name: str):
        self.name = name
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, subtype, names, fields …); only types with fields have the last three.
        if not isinstance(state, tuple) or state[1] not in ("<", ">", "|", "=") or state[2:5] != (None, None, None):
            raise pickle.UnpicklingError("a numpy type with fields")
        self.order = state[1]
