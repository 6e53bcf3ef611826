"""Reads pickled annotations and features without running code in them.

A pickle is a program: an ordinary unpickler imports and calls whatever the file names. Here a file may only build plain
values (None, booleans, numbers, strings, bytes, lists, tuples, dicts, sets) and numpy arrays and scalars of numbers or
strings. Anything else is refused before it is looked up.

An allow-list of numpy's own constructors would not do: they allocate whatever size a file claims, and dtypes and arrays
believe the state that a file sets, which can point outside of the array. So sizes and types are checked here first. A
file can still use up memory with what it really holds, and end in a MemoryError.

Files of features have gigabytes, and an unpickler of the standard library holds all that it has read until its end. So
`load_mapped` leaves the bytes of arrays where they are, in the file, which it maps into memory.
"""

import math
import mmap
import os
import pickle
import re
import reprlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, NoReturn

from affect.config import DataError

if TYPE_CHECKING:
    import numpy

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
OBJECTS = re.compile(r"O[48]?")
"""Arrays of objects, which `load_mapped` gives as the list that the file has: of what is allowed anywhere else."""
IN_PLACE = 2**16
"""Fewer bytes than these are copied out of a mapped file."""


def load(path: Path, *, most_bytes: int = MOST_BYTES) -> object:
    """The value in a pickle of any protocol, including those of Python 2.

    Strings of Python 2 are decoded as UTF-8; if the file has bytes that are not UTF-8 (such as a numpy array's), all
    its strings are decoded as Latin-1. Arrays are instances of a subclass of numpy.ndarray, scalars are plain Python
    numbers and strings. Raises DataError, naming the file, if it is absent, larger than `most_bytes`, damaged, or asks
    for anything but plain values and such arrays.
    """

    def read(encoding: str) -> object:
        with path.open("rb") as file:
            return _Copying(file, encoding).load()

    return _checked(path, most_bytes, "annotations", read)


def load_mapped(path: Path) -> object:
    """The value in a pickle of features; as `load`, but for arrays and memory.

    Each array is an `ArrayOfFile`. Its numbers stay in the file where the file has them as bytes, as in protocols 3 to
    5: then this takes no memory but for the other values, whatever the size of the file, and the file has to stay as it
    is for as long as the arrays are used. Protocol 2, which has bytes as text, takes twice the size of the arrays.
    Arrays of objects, such as pandas' strings, are lists, if they have one axis.
    """

    def read(encoding: str) -> object:
        with path.open("rb") as file:
            _check_ends(file)
            return _Mapping(_File(file), encoding).load()

    return _checked(path, math.inf, "features", read)


def _check_ends(file: IO[bytes]) -> None:
    """Raises UnpicklingError for a file that neither begins as pickles do since protocol 2 nor ends with their last
    code: the letters of a table would be taken for codes, and the table for a malicious file."""
    if file.read(1) not in (b"", pickle.PROTO):
        file.seek(-1, os.SEEK_END)
        if file.read(1) != pickle.STOP:
            raise pickle.UnpicklingError("it neither begins nor ends as one")
    file.seek(0)


def _checked(path: Path, most_bytes: float, kind: str, read: Callable[[str], object]) -> object:
    """What `read` makes of the file with an encoding of the strings of Python 2; errors as `load` says."""
    try:
        size = path.stat().st_size
        if size > most_bytes:
            raise DataError(
                f"{path} has {size:,} bytes, and at most {most_bytes:,} are read: name the file of the annotations, not"
                " that of the features"
            )
        try:
            return read("utf-8")
        except UnicodeError:
            return read("latin1")
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}): put the file there, or correct the dataset's root"
        ) from error
    except _Refused as error:
        raise DataError(
            f"{path} asks for {str(error)[:100]}, and a file of {kind} needs only plain values and numpy arrays of"
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


class _Refused(Exception):
    """Names what a file asks for and neither annotations nor features need."""


def _refuse(request: str) -> NoReturn:
    raise _Refused(request)


class _Allowed:
    """What a file gets in place of the constructors that it names; a base of unpicklers.

    A file can also set attributes of what it is given. So constructors are bound methods, immutable types, and objects
    made for one file: no file can change what the next one is given.
    """

    def __init__(self, file: Any, encoding: str):
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

    def empty_array(self, kind: object, shape: object, typecode: object) -> object:
        if kind != NDARRAY or shape != (0,):
            _refuse("a numpy array that is made otherwise than numpy does")
        return self.new_array()

    def of_state(self, state: Any) -> Any:
        """The array that a file sets as the state of an empty one."""
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            _refuse("a numpy array that is made otherwise than numpy does")
        shape, dtype, fortran, content = state[-4:]
        return self.array(dtype, shape, content, "F" if fortran else "C")

    def array(self, dtype: object, shape: object, content: object, order: str) -> Any:
        """A plain array, once its claims are checked."""
        import numpy

        if not isinstance(dtype, _Dtype):
            _refuse("a numpy array without a type")
        if isinstance(content, str):  # Python 2 wrote an array's bytes as a string
            # ASCII is the same in UTF-8 and Latin-1; for other bytes the file is read again as Latin-1.
            content = content.encode("ascii" if self.encoding == "utf-8" else "latin1")
        if not isinstance(content, (bytes, bytearray, memoryview)):
            _refuse("a numpy array that is not made of bytes")
        kind = numpy.dtype(dtype.order + dtype.name)
        sizes = (shape,) if isinstance(shape, int) else shape
        if not isinstance(sizes, tuple) or not all(isinstance(n, int) and n >= 0 for n in sizes):
            _refuse(f"a numpy array of the shape {reprlib.repr(shape)}")
        if math.prod(sizes) * kind.itemsize != len(content):
            _refuse(f"a numpy array of the shape {reprlib.repr(shape)} made of {len(content):,} bytes")
        # A view of what a file cannot change any more: bytes, or the mapped file itself.
        fixed = content if isinstance(content, memoryview) else bytes(content)
        return numpy.frombuffer(fixed, kind).reshape(sizes, order="F" if order == "F" else "C")


# Two unpicklers, since that in C copies what it reads and holds it until its end, which features of gigabytes do not
# bear. The one in Python, which can be given a mapped file, needs eight times as long for annotations (7.2 instead of
# 0.9 s for 30 MB of protocol 2).
class _Copying(_Allowed, pickle.Unpickler):
    """Copies what it reads into memory."""

    def frombuffer(self, content: object, dtype: object, shape: object, order: str) -> object:
        return self.array(dtype, shape, content, order).copy(order).view(self.arrays())

    def new_array(self) -> object:
        arrays = self.arrays()
        return arrays.__new__(arrays, (0,), "b1")

    def arrays(self) -> Any:
        """The type of arrays: it checks the state that a file sets."""
        if self.array_type is None:
            import numpy

            of_state = self.of_state

            class Array(numpy.ndarray):
                __slots__ = ()

                def __setstate__(self, state: Any) -> None:
                    checked = of_state(state)
                    super().__setstate__((1, checked.shape, checked.dtype, False, checked.tobytes()))

            self.array_type = Array
        return self.array_type


class ArrayOfFile:
    """Stands for an array of a mapped file: `value` is the array, read-only, or the list of an array of objects."""

    __slots__ = ("_of_state", "value")

    def __init__(self, of_state: Callable[[Any], Any], value: "numpy.ndarray | list | None" = None):
        self._of_state = of_state
        self.value = value

    def __setstate__(self, state: Any) -> None:
        self.value = self._of_state(state)


class _File:
    """What the unpickler needs of a file, which is mapped into memory. It ends with the last view of it."""

    def __init__(self, file: IO[bytes]):
        if not file.read(1):
            raise EOFError("Ran out of input")
        self.content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        self.at = 0

    def read(self, count: int) -> bytes | memoryview:
        """The next bytes; where they are many, as a view."""
        view = self.content[self.at : self.at + count]
        if len(view) < count and count > 1:  # one byte is the next instruction, or the end of the file
            raise EOFError("Ran out of input")
        self.at += count
        return view if count >= IN_PLACE else bytes(view)

    def readline(self) -> bytes:
        """Up to and with the next line feed."""
        end = self.content.obj.find(b"\n", self.at) + 1
        if not end:
            raise EOFError("Ran out of input")
        line, self.at = bytes(self.content[self.at : end]), end
        return line


class _Mapping(_Allowed, pickle._Unpickler):
    """Leaves the bytes of arrays in the file."""

    dispatch: ClassVar = dict(pickle._Unpickler.dispatch)

    def dtype(self, name: str, align: object = False, copy: object = True) -> "_Dtype":
        if isinstance(name, str) and OBJECTS.fullmatch(name):
            return _Dtype(name)
        return super().dtype(name, align, copy)

    def frombuffer(self, content: object, dtype: object, shape: object, order: str) -> object:
        return ArrayOfFile(self.of_state, self.array(dtype, shape, content, order))

    def new_array(self) -> object:
        return ArrayOfFile(self.of_state)

    def array(self, dtype: object, shape: object, content: object, order: str) -> Any:
        if not isinstance(dtype, _Dtype) or not OBJECTS.fullmatch(dtype.name):
            return super().array(dtype, shape, content, order)
        if not isinstance(content, list) or shape != (len(content),):
            _refuse(f"an array of objects of the shape {reprlib.repr(shape)}")
        return content

    def load_binstring(self) -> None:
        (count,) = struct.unpack("<i", self.read(4))
        if count < 0:
            raise pickle.UnpicklingError("a string of fewer than no bytes")
        self.append(bytes(self.read(count)).decode(self.encoding))

    def load_bytearray8(self) -> None:
        (count,) = struct.unpack("<Q", self.read(8))
        content = self.read(count)
        self.append(content if isinstance(content, memoryview) else bytearray(content))

    dispatch[pickle.BINSTRING[0]] = load_binstring
    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8


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
