"""Pickles of others are read, and nothing in them runs."""

import builtins
import os
import pickle
import sys
from collections import OrderedDict

import numpy as np
import pytest

from affect.config import DataError
from affect.data import pickles


def without_file(value):
    """A value of load_mapped, with arrays in place of what stands for them."""
    if isinstance(value, pickles.ArrayOfFile):
        return value.value
    if isinstance(value, dict):
        return {key: without_file(each) for key, each in value.items()}
    return [without_file(each) for each in value] if isinstance(value, list) else value


@pytest.fixture(params=["copied", "mapped"])
def load(tmp_path, request):
    """Loads these bytes as annotations are loaded, and as features are."""

    def loaded(content: bytes, **options):
        path = tmp_path / "data_folds.pkl"
        path.write_bytes(content)
        if request.param == "mapped":
            return without_file(pickles.load_mapped(path))
        return pickles.load(path, **options)

    loaded.kind = {"copied": "annotations", "mapped": "features"}[request.param]
    return loaded


class Calls:
    """Pickled, it is a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


ARRAYS = {
    "matrix": np.arange(6).reshape(2, 3),
    "by column": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "words": np.array(["ab", "c", "é"]),
    "bytes": np.array([b"a", b"bc"]),
    "truth": np.array([True, False]),
    "big endian": np.arange(3, dtype=">i4"),
    "empty": np.zeros((0, 3), np.float32),
    "single": np.array(5.0),
    "complex": np.array([1j], np.complex64),
}


# --- what is read ---


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_and_arrays_of_every_protocol(load, protocol):
    plain = [
        1,
        2**70,
        2.5,
        None,
        True,
        "é",
        b"\xe9",
        b"",
        (1, ()),
        {1, 2},
        frozenset([3]),
        1j,
        bytearray(b"q"),
        {"a": []},
    ]
    found = load(pickle.dumps({"plain": plain, "arrays": ARRAYS, "ordered": OrderedDict(b=1, a=2)}, protocol))
    assert found["plain"] == plain
    assert [type(value) for value in found["plain"]] == [type(value) for value in plain]
    assert list(found["ordered"]) == ["b", "a"]
    for name, array in ARRAYS.items():
        assert isinstance(found["arrays"][name], np.ndarray)
        # Protocols below 5 give numbers in the machine's own byte order, as numpy does.
        kinds = [each.dtype.newbyteorder("=") for each in (found["arrays"][name], array)]
        assert kinds[0] == kinds[1] and found["arrays"][name].shape == array.shape, name
        assert np.array_equal(found["arrays"][name], array), name


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_numpy_scalars_are_plain_numbers_and_strings(load, protocol):
    found = load(pickle.dumps([np.float32(1.5), np.int64(3), np.bool_(True), np.str_("é")], protocol))
    assert found == [1.5, 3, True, "é"]
    assert [type(value) for value in found] == [float, int, bool, str]


def test_strings_of_python_2(load):
    # {"abc": "café"} with byte strings: in UTF-8, and in Latin-1.
    assert load(b"\x80\x02}q\x00U\x03abcq\x01U\x05caf\xc3\xa9q\x02s.") == {"abc": "café"}
    assert load(b"\x80\x02}q\x00U\x03abcq\x01U\x04caf\xe9q\x02s.") == {"abc": "café"}


@pytest.mark.parametrize("numbers", [[1, -1, 233], [1, 2, 3], [-22077, 0, 0]])
def test_arrays_of_python_2(load, numbers):
    # Their bytes came as a string. Those of -22077 are the UTF-8 of é, which is another string in Latin-1.
    raw = np.array(numbers, "<i2").tobytes()
    assert (
        load(
            b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
            b"(K\x01K\x03\x85cnumpy\ndtype\nU\x02i2K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
            b"\x89U" + bytes([len(raw)]) + raw + b"tb."
        ).tolist()
        == numbers
    )


# --- what is refused ---


def test_a_payload_is_named_and_does_not_run(load, tmp_path):
    marker = tmp_path / "ran"
    for payload in (
        Calls(os.system, f"touch {marker}"),
        Calls(builtins.eval, f"open({str(marker)!r}, 'w')"),
        Calls(builtins.exec, f"open({str(marker)!r}, 'w')"),
        Calls(builtins.open, str(marker), "w"),
        Calls(builtins.getattr, "x", "upper"),
        Calls(pickle.loads, pickle.dumps(1)),
        Calls(np.fromfile, str(marker)),
        Calls(np.load, str(marker)),
    ):
        for protocol in (0, 2, 4):
            content = pickle.dumps({"train": [payload]}, protocol)
            asks = rf"data_folds\.pkl asks for \S+, and a file of {load.kind} needs only"
            with pytest.raises(DataError, match=asks):
                load(content)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Calls(builtins.open, str(marker), "w"))).close()
    assert marker.exists(), "the payload would not have done anything anyway"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", r"os\.system"),
        (b"(S'true'\nios\nsystem\n.", r"os\.system"),
        (b"\x80\x04\x8c\x05numpy\x94\x8c\x14ndarray.__subclasses\x94\x93.", r"numpy\.ndarray\.__subclasses"),
        (b"\x80\x04\x8c\x08builtins\x94\x8c\x0dset.__class__\x94\x93.", r"builtins\.set\.__class__"),
        (b"cnumpy\nload\n.", r"numpy\.load"),
        (b"ccopy_reg\n_reconstructor\n.", r"copy_reg\._reconstructor"),
        (b"S'somewhere'\nQ.", "an object outside of the file"),
        (b"c_codecs\nencode\n(S'x'\nS'zip'\ntR.", "the codec zip"),
    ],
)
def test_nothing_else_is_looked_up(load, content, name):
    with pytest.raises(DataError, match=f"data_folds.pkl asks for {name}, .* it may be malicious and is not read"):
        load(content)


def test_a_refused_module_is_not_imported(load):
    sys.modules.pop("this", None)
    with pytest.raises(DataError, match=r"asks for this\.s,"):
        load(b"cthis\ns\n.")
    assert "this" not in sys.modules


@pytest.mark.parametrize(
    ("array", "name"),
    [
        (np.zeros(2, [("x", "i4")]), "'V4'"),
        (np.array(["2020-01-01"], "M8[D]"), "'M8'"),
    ],
)
def test_arrays_of_objects_and_the_like(load, array, name):
    with pytest.raises(DataError, match=f"data_folds.pkl asks for a numpy array of the type {name}"):
        load(pickle.dumps(array))


def test_arrays_of_objects_are_lists_in_features_alone(tmp_path):
    path = tmp_path / "features.pkl"
    for protocol in (2, 4, 5):
        path.write_bytes(pickle.dumps(np.array([{"a": 1}, "b"], object), protocol))
        with pytest.raises(DataError, match=r"features\.pkl asks for a numpy array of the type 'O8'"):
            pickles.load(path)
        assert pickles.load_mapped(path).value == [{"a": 1}, "b"]
    path.write_bytes(pickle.dumps(np.array([["a"], ["b"]], object)))
    with pytest.raises(DataError, match=r"asks for an array of objects of the shape \(2, 1\)"):
        pickles.load_mapped(path)
    path.write_bytes(pickle.dumps(np.array([Calls(os.system, "true")], object)))
    with pytest.raises(DataError, match=r"asks for posix\.system"):
        pickles.load_mapped(path)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_mapped_arrays_are_left_in_the_file(tmp_path, protocol):
    path = tmp_path / "features.pkl"
    array = np.arange(100_000.0)
    path.write_bytes(pickle.dumps({"first": array, "second": array + 1}, protocol))
    found = {name: stands.value for name, stands in pickles.load_mapped(path).items()}
    assert np.array_equal(found["first"], array) and np.array_equal(found["second"], array + 1)
    with path.open("r+b") as file:
        file.seek(path.read_bytes().index(array.tobytes()))
        file.write(np.float64(7).tobytes())
    assert found["first"][0] == 7, "it was copied"
    with pytest.raises(ValueError, match="read-only"):
        found["first"][0] = 1


def array_pickle(shape=b"(K\x02t", kind=b"i2", state=b"(K\x03U\x01<NNNK\x01K\x01K\x00t", raw=b"abcd"):
    return (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01" + shape
        + b"cnumpy\ndtype\nU" + bytes([len(kind)]) + kind + b"K\x00K\x01\x87R" + state + b"b\x89U" + bytes([len(raw)])
        + raw + b"tb."
    )  # fmt: skip


def test_what_an_array_claims_has_to_be_what_it_has(load):
    assert load(array_pickle()).tolist() == [0x6261, 0x6463]
    for shape in (b"(J\xff\xff\xff\x7ft", b"(K\x03t", b"(J\xfe\xff\xff\xfft", b"(U\x01xt", b"N"):
        with pytest.raises(DataError, match="asks for a numpy array of the shape "):
            load(array_pickle(shape=shape))
    # numpy's own dtype would believe these fields, which lie outside of the array.
    with pytest.raises(DataError, match=r"is not a whole pickle .* a numpy type with fields"):
        load(array_pickle(state=b"(K\x03U\x01<NU\x01x}K\x01K\x01K\x00t"))
    with pytest.raises(DataError, match="asks for a numpy array that is made otherwise than numpy does"):
        load(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I1000000000000\ntS'b'\ntR.")


@pytest.mark.parametrize(
    "content",
    [
        b"c__builtin__\nbytearray\n(I1000000000000\ntR.",
        b"c__builtin__\nbytes\n(I1000000000000\ntR.",
        b"\x80\x04\x8e\x00\x00\x00\x00\x00\x00\x00\x10abc.",
    ],
)
def test_a_claimed_size_takes_no_memory(load, content):
    with pytest.raises(DataError, match=r"data_folds\.pkl is not a whole pickle"):
        load(content)


def test_what_one_file_changes_is_not_seen_by_the_next(load):
    # BUILD sets attributes of whatever is on the stack, here of the functions that make arrays.
    for name in (b"dtype", b"_reconstruct", b"scalar", b"ndarray"):
        try:
            load(b"\x80\x02cnumpy\n" + name + b"\nN}U\x0c__defaults__K\x01\x85s\x86b.")
        except DataError as refusal:
            assert "is not a whole pickle" in str(refusal)
        assert np.array_equal(load(pickle.dumps(ARRAYS["matrix"])), ARRAYS["matrix"])


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_truncated_files(load, protocol):
    whole = pickle.dumps({"train": [1, 2.5, "abc", ARRAYS["matrix"]], "dev": [4]}, protocol)
    for length in range(0, len(whole), 5):
        with pytest.raises(DataError, match=r"data_folds\.pkl"):
            load(whole[:length])
    with pytest.raises(DataError, match=r"data_folds\.pkl is not a whole pickle \(EOFError: .*: get the file again"):
        load(b"")
    with pytest.raises(DataError, match="is not a whole pickle"):
        load(b"id,label\n1,2\n")


def test_files_that_cannot_be_read(tmp_path):
    path = tmp_path / "data_folds.pkl"
    path.write_bytes(pickle.dumps(1000))
    with pytest.raises(
        DataError, match=r"nowhere\.pkl cannot be read \(No such file or directory\): put the file there"
    ):
        pickles.load(tmp_path / "nowhere.pkl")
    with pytest.raises(DataError, match="cannot be read"):
        pickles.load(tmp_path)
    with pytest.raises(DataError, match="has 15 bytes, and at most 5 are read: name the file of the annotations"):
        pickles.load(path, most_bytes=5)
